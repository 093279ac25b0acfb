// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a rule wants done that is not an answer: the bare-metal half does it.

use snp_defs::rmp::RmpSize;

/// Something to do to pages or to a vCPU. Addresses of pages are aligned to 4K, or to the size that is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trick {
    /// Nothing: a rule acted, and what it did was an answer.
    Acted,
    /// RMPUPDATE: the page is shared.
    Unassign(u64),
    /// RMPUPDATE: the page is the guest's, not validated.
    Reassign(u64, RmpSize),
    /// Another host page, or the first one again, with its own RMP entry.
    Exchange(u64),
    /// The page is gone for good.
    Withhold(u64, RmpSize),
    /// The host page behind the second address is assigned to the first one.
    Remap(u64, u64),
    /// The nested tables lead from the first address to the host page behind the second.
    DoubleMap(u64, u64),
    /// An event for the VMPL at hand.
    Inject(u8),
    /// #HV for the VMPL at hand.
    Signal,
    /// A VMPL of the vCPU at hand runs, unasked.
    Resume(u8),
    /// The VMPL at hand is stopped after each of so many instructions, and its GHCB, here, written to.
    Scribble(u64, u32),
    /// The host ends the machine.
    Stop,
    /// What must never happen has happened.
    Breach(Breach),
}

/// What a guest, or its SVSM, must never let a host have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    /// Two texts were encrypted under one key with one counter.
    CounterUsedTwice {
        /// Number of the key.
        vmpck: u8,
        /// The counter.
        counter: u64,
    },
}

impl core::fmt::Display for Breach {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::CounterUsedTwice { vmpck, counter } => write!(
                f,
                "two messages under key {vmpck} have the number {counter}, and not the same text"
            ),
        }
    }
}
