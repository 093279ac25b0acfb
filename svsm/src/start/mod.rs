// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens once, before the guest runs: the launch page is checked against itself and against what the host
//! says, and the guest's memory is brought into the machine.
#![forbid(unsafe_code)]

pub(crate) mod host_map;
pub(crate) mod layout;
pub(crate) mod populate;

use core::fmt;

/// Why the machine can't start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartError {
    /// The launch page contradicts itself, or this SVSM.
    Layout(&'static str),
    /// The host's memory map does not have this guest-physical address, which the launch page has.
    NotInHostMap(u64),
    /// The host does not hold a page as it has to be.
    Page(crate::memory::Page, crate::platform::PageError),
    /// The host refuses to.
    Host(crate::platform::HostError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(what) => write!(f, "launch page: {what}"),
            Self::NotInHostMap(gpa) => write!(f, "the host has no memory at {gpa:#x}"),
            Self::Page(page, error) => {
                write!(f, "page {:#x} ({:?}): {error:?}", page.gpa(), page.size())
            }
            Self::Host(error) => write!(f, "the host holds no private memory: {error:?}"),
        }
    }
}
