// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's memory through the map at `svsm_launch::GUEST_VA`.
//!
//! # Soundness
//! The map is not part of the SVSM's own memory: no reference and no object of Rust's ever lies in
//! it, so whatever is written there changes no value that the compiler knows. Addresses are checked to be
//! in the map here; that they are the guest's is the caller's to check, a mistake there is a
//! fault, which is fixed up.

use super::{Fault, GuestMemory, Page};
use crate::cpu;
use svsm_launch::GUEST_VA;

/// The map.
#[derive(Debug)]
pub struct DirectMap {
    end: u64,
}

impl DirectMap {
    /// The map of guest-physical addresses below `end`.
    ///
    /// # Safety
    /// Nothing else is mapped between `GUEST_VA` and `GUEST_VA` + `end`.
    pub const unsafe fn new(end: u64) -> Self {
        Self { end }
    }

    /// Where `bytes` bytes at `gpa` are mapped.
    fn locate(&self, gpa: u64, bytes: usize) -> Result<usize, Fault> {
        let end = gpa.checked_add(bytes as u64).ok_or(Fault)?;
        if end <= self.end {
            Ok((GUEST_VA + gpa) as usize)
        } else {
            Err(Fault)
        }
    }
}

impl GuestMemory for DirectMap {
    fn read(&self, gpa: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        let from = self.locate(gpa, bytes.len())?;
        // SAFETY: the destination is exclusively borrowed, the source is in the map.
        let done = unsafe { cpu::copy(bytes.as_mut_ptr().addr(), from, bytes.len()) };
        if done { Ok(()) } else { Err(Fault) }
    }

    fn write(&self, gpa: u64, bytes: &[u8]) -> Result<(), Fault> {
        let to = self.locate(gpa, bytes.len())?;
        // SAFETY: the source is borrowed, the destination is in the map.
        let done = unsafe { cpu::copy(to, bytes.as_ptr().addr(), bytes.len()) };
        if done { Ok(()) } else { Err(Fault) }
    }

    fn swap_u8(&self, gpa: u64, value: u8) -> Result<u8, Fault> {
        let at = self.locate(gpa, 1)?;
        // SAFETY: the byte is in the map.
        unsafe { cpu::swap_u8(at, value) }.ok_or(Fault)
    }

    fn zero(&self, page: Page) -> Result<(), Fault> {
        let bytes = page.size().bytes() as usize;
        let at = self.locate(page.gpa(), bytes)?;
        // SAFETY: the page is in the map.
        if unsafe { cpu::zero(at, bytes) } {
            Ok(())
        } else {
            Err(Fault)
        }
    }

    fn address(&self, gpa: u64) -> usize {
        (GUEST_VA + gpa) as usize
    }
}
