// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's memory through the map at `svsm_launch::GUEST_VA`.
//!
//! # Soundness
//! Pages that the guest lent to the SVSM (the pool's, states of vCPUs) are reached through this map
//! too, and objects of Rust's lie in them. That a copy touches none of these is the caller's to vouch for
//! ([`GuestMemory`]; `memory::custody` tells who may). What is checked here is that addresses are in the map, so that no other
//! memory of the SVSM's is touched; where the map has no page, or the host took it, there is a fault, which is fixed up.

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
    unsafe fn read(&self, gpa: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        let from = self.locate(gpa, bytes.len())?;
        // SAFETY: the destination is exclusively borrowed, the source is in the map and no object, as the caller says.
        let done = unsafe { cpu::copy(bytes.as_mut_ptr().addr(), from, bytes.len()) };
        if done { Ok(()) } else { Err(Fault) }
    }

    unsafe fn write(&self, gpa: u64, bytes: &[u8]) -> Result<(), Fault> {
        let to = self.locate(gpa, bytes.len())?;
        // SAFETY: the source is borrowed, the destination is in the map and no object, as the caller says.
        let done = unsafe { cpu::copy(to, bytes.as_ptr().addr(), bytes.len()) };
        if done { Ok(()) } else { Err(Fault) }
    }

    unsafe fn swap_u8(&self, gpa: u64, value: u8) -> Result<u8, Fault> {
        let at = self.locate(gpa, 1)?;
        // SAFETY: the byte is in the map, and no object, as the caller says.
        unsafe { cpu::swap_u8(at, value) }.ok_or(Fault)
    }

    unsafe fn zero(&self, page: Page) -> Result<(), Fault> {
        let bytes = page.size().bytes() as usize;
        let at = self.locate(page.gpa(), bytes)?;
        // SAFETY: the page is in the map, and no object lies in it, as the caller says.
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
