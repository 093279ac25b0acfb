// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages: how they are named, who has them, and where they are mapped.

pub(crate) mod custody;
mod page;
mod pages;
mod pool;
mod tracker;

#[cfg(any(target_os = "none", test))]
mod tables;

#[cfg(target_os = "none")]
mod direct_map;
#[cfg(target_os = "none")]
pub(crate) mod region;

#[cfg(target_os = "none")]
pub use direct_map::DirectMap;
pub use page::{ADDRESS_BITS, Access, Frame, Page, PageSize};
pub use pages::{MAX_PAGES, Pages};
pub use pool::{PAGE, PageBox, Pool};
pub use tracker::{Refused, State, Tracker, Unsuitable};

/// An access to the guest's memory did not succeed: the host took the page, or another vCPU of the
/// guest gave it away. What was read until then is undefined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault;

/// The guest's memory as the SVSM reads and writes it. Other vCPUs and the host change it at any time, so
/// there are copies only, never references. [`crate::guest::View`] is the safe way to it.
///
/// # Safety of its verbs
/// Some pages of the guest's memory are lent to the SVSM, and objects of Rust's lie in them. The caller of a verb
/// vouches that none lies in what is read or written, for as long as that takes: the pages are busy by his
/// doing, on their way from or to the guest; or the tracker calls them [`State::Valid`] and his mark
/// keeps them so; or no page was lent yet. An address that is not the guest's memory at all is an error.
pub trait GuestMemory: Sync {
    /// Copies from the guest. Each byte is read once.
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn read(&self, gpa: u64, bytes: &mut [u8]) -> Result<(), Fault>;
    /// Copies to the guest.
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn write(&self, gpa: u64, bytes: &[u8]) -> Result<(), Fault>;
    /// Swaps a byte, atomically.
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn swap_u8(&self, gpa: u64, value: u8) -> Result<u8, Fault>;
    /// Fills a page with zeroes.
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn zero(&self, page: Page) -> Result<(), Fault>;
    /// Virtual address of guest-physical address `gpa`, for the state pages of vCPUs.
    fn address(&self, gpa: u64) -> usize;
}
