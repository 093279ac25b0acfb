// SPDX-License-Identifier: MIT OR Apache-2.0
//! The reverse map table: for each page of guest memory, to whom it belongs, whether the guest
//! validated it, and what each VMPL may do with it (APM vol. 2, 15.36.3 to 15.36.7).
//!
//! Four parties use it:
//! * the **guest**, by PVALIDATE, RMPADJUST and RMPQUERY ([`instruction`]);
//! * the **firmware**, at launch and for pages that it holds ([`firmware`]);
//! * the **host**, by RMPUPDATE, PSMASH and what follows from its requests ([`host`]);
//! * the **processor**, at each nested page fault and at VMRUN ([`processor`]).
//!
//! # Storage
//! One atomic word for each 4K page, in guest-physical order, over memory that the caller supplies.
//! Zero is the initial state of guest memory: private by the host's attribute, not assigned. The
//! words of one 2M block are governed by the block's first word, the *lead*: until the block is split,
//! the lead alone describes all of it, so that work on a 2M page costs one word. A block that is
//! assigned and not split is a 2M page of the RMP.
//!
//! # Locks
//! Each block has a lock, a bit of its lead. Whoever changes anything in the block holds it; readers
//! hold nothing, and read again if the lead moved meanwhile. There is no lock beyond the block.

use core::sync::atomic::AtomicU64;

use snp_defs::rmp::RmpSize;

use self::block::Locked;

pub mod block;
pub mod change;
pub mod entry;
pub mod exchange;
pub mod firmware;
pub mod host;
pub mod instruction;
pub mod processor;

pub use change::{Change, ChangeKind};
pub use entry::Entry;
pub use host::{HostDuty, HostError};
pub use instruction::{Adjusted, Caller, Instruction, Operand, Queried, Validated};
pub use processor::{Access, Decision, Leaf};

/// A contiguous piece of guest memory. Regions do not overlap; both ends are page-aligned.
#[derive(Debug, Clone, Copy)]
pub struct Region<'a> {
    /// Guest-physical address of the first page.
    pub base: u64,
    /// One word for each page.
    pub words: &'a [AtomicU64],
}

/// The table.
#[derive(Debug, Clone, Copy)]
pub struct Rmp<'a> {
    regions: &'a [Region<'a>],
    largest: RmpSize,
}

impl<'a> Rmp<'a> {
    /// A table over `regions`. `largest`: the largest page that the host assigns on its own.
    pub const fn new(regions: &'a [Region<'a>], largest: RmpSize) -> Self {
        Self { regions, largest }
    }

    /// The entry that governs `gpa`, and its size; none where there is no guest memory.
    pub fn entry(&self, gpa: u64) -> Option<(Entry, RmpSize)> {
        Some(self.block(gpa)?.read(gpa))
    }

    /// Whether the host may read and write `[gpa, gpa + length)` as shared memory of the guest.
    pub fn is_shared(&self, gpa: u64, length: u64) -> bool {
        let Some(end) = gpa.checked_add(length) else {
            return false;
        };
        let mut at = gpa & !(RmpSize::Size4K.bytes() - 1);
        while at < end {
            match self.entry(at) {
                Some((entry, _)) if entry.shared() => at += RmpSize::Size4K.bytes(),
                _ => return false,
            }
        }
        true
    }

    /// Locks the block of a page, after the checks that every operation shares.
    fn locked(&self, gpa: u64, size: RmpSize) -> Result<Locked<'_>, HostError> {
        if gpa & (size.bytes() - 1) != 0 {
            return Err(HostError::Unaligned);
        }
        let block = self.block(gpa).ok_or(HostError::NotMemory)?;
        if size == RmpSize::Size2M && !block.whole() {
            return Err(HostError::NotMemory);
        }
        Ok(block.lock())
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
