// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages: how they are named, who has them, and where they are mapped.

pub(crate) mod custody;
mod page;
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
pub use pool::{MAX_PAGES, PAGE, PageBox, Pages, Pool};
pub use tracker::{Cursor, Refused, State, Tracker, Unsuitable};

/// An access to the guest's memory did not succeed: the host took the page, or another vCPU of the
/// guest gave it away. What was read until then is undefined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault;

/// The guest's memory as the SVSM reads and writes it. Other vCPUs and the host change it at any time, so
/// there are copies only, never references. An address that is not the guest's is not checked here but
/// by [`crate::guest::View`].
pub trait GuestMemory: Sync {
    /// Copies from the guest. Each byte is read once.
    fn read(&self, gpa: u64, bytes: &mut [u8]) -> Result<(), Fault>;
    /// Copies to the guest.
    fn write(&self, gpa: u64, bytes: &[u8]) -> Result<(), Fault>;
    /// Swaps a byte, atomically.
    fn swap_u8(&self, gpa: u64, value: u8) -> Result<u8, Fault>;
    /// Fills a page with zeroes.
    fn zero(&self, page: Page) -> Result<(), Fault>;
    /// Virtual address of guest-physical address `gpa`, for the state pages of vCPUs.
    fn address(&self, gpa: u64) -> usize;
}
