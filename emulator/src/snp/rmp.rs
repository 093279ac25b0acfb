// SPDX-License-Identifier: MIT OR Apache-2.0
//! The reverse map table: for each page of guest memory, to whom it belongs, whether the guest
//! validated it, and what each VMPL may do with it (APM vol. 2, 15.36.3 to 15.36.7).
//!
//! Three parties use it:
//! * the **guest**, by PVALIDATE, RMPADJUST and RMPQUERY ([`instruction`]);
//! * the **host**, by RMPUPDATE, PSMASH and what follows from its requests ([`host`]);
//! * the **processor**, at each nested page fault ([`Rmp::check`]).
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

use snp_defs::rmp::{Permissions, RmpSize};

use super::rule::Rule;

pub mod block;
pub mod entry;
pub mod exchange;
pub mod host;
pub mod instruction;

pub use entry::Entry;
pub use host::{Change, ChangeKind, HostDuty, HostError};
pub use instruction::{Adjusted, Caller, Instruction, Operand, Queried, Validated};

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

/// What an access is, as far as the RMP cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Guest-physical address without the C-bit.
    pub gpa: u64,
    /// The C-bit of the mapping through which the access goes (set also where the architecture makes
    /// an access private: paging off).
    pub c_bit: bool,
    /// Who.
    pub vmpl: u8,
    /// A write.
    pub write: bool,
    /// An instruction fetch.
    pub fetch: bool,
    /// The access comes from CPL 3.
    pub user: bool,
    /// A walk of the guest's page tables (it writes when it sets accessed and dirty bits).
    pub table: bool,
}

/// What is to be done about a nested page fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The access is allowed: enter this leaf and resume.
    Map(Leaf),
    /// Raise #VC with error code 0x404, PAGE_NOT_VALIDATED (APM vol. 2, 15.36.10).
    NotValidated,
    /// No memory there: memory-mapped I/O, #VC with the nested fault's code. The C-bit does not matter.
    Mmio,
    /// The processor exits to the host with an RMP fault; this is what an honest host then does.
    Host(HostDuty),
    /// End the run and name the rule.
    Violation(Rule),
}

/// A leaf of a nested page table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// First guest-physical address, aligned to `size`.
    pub gpa: u64,
    /// A 2M leaf is possible: every page of it has the same state.
    pub size: RmpSize,
    /// In the private view (C-bit set) or in the shared one.
    pub private: bool,
    /// What the leaf may allow. Nested tables know one bit for execution: see
    /// [`Leaf::execute_differs`].
    pub rights: Permissions,
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

    /// What is to be done about an access. To enter a leaf, use [`Rmp::check_then`].
    pub fn check(&self, access: &Access) -> Decision {
        match self.block(access.gpa) {
            None => Decision::Mmio,
            Some(block) => {
                let (entry, size) = block.read(access.gpa);
                self.decide(access, entry, size, block.whole())
            }
        }
    }

    /// The processor's check (APM vol. 2, 15.36.10), and the honest host's view of a failed one.
    fn decide(&self, access: &Access, entry: Entry, size: RmpSize, whole: bool) -> Decision {
        let gpa = access.gpa;
        if !access.c_bit {
            return if entry.assigned() {
                Decision::Violation(Rule::SharedAccessToPrivate { gpa })
            } else if access.fetch || access.table {
                Decision::Violation(Rule::FetchOrWalkFromShared { gpa })
            } else if !entry.shared() {
                Decision::Violation(Rule::SharedAccessToUnshared { gpa })
            } else {
                leaf(gpa, size, false, Permissions::READ | Permissions::WRITE)
            };
        }
        if !entry.assigned() {
            return Decision::Host(self.assignment(gpa, entry, size, whole));
        }
        if !entry.validated() {
            return Decision::NotValidated;
        }
        let rights = entry.permissions(access.vmpl);
        if !rights.contains(access.needs()) {
            let vmpl = access.vmpl;
            return Decision::Violation(Rule::VmplPermission { gpa, vmpl });
        }
        leaf(gpa, size, true, rights)
    }

    /// How an honest host assigns the page around `gpa`: with 2M where nothing in the block was
    /// touched, else with 4K.
    fn assignment(&self, gpa: u64, entry: Entry, size: RmpSize, whole: bool) -> HostDuty {
        let huge =
            whole && size == RmpSize::Size2M && !entry.shared() && self.largest == RmpSize::Size2M;
        let size = if huge {
            RmpSize::Size2M
        } else {
            RmpSize::Size4K
        };
        HostDuty::Assign {
            gpa: gpa & !(size.bytes() - 1),
            size,
        }
    }
}

impl Access {
    /// The permissions that the access takes.
    fn needs(&self) -> Permissions {
        let mut needs = if self.fetch {
            if self.user {
                Permissions::EXECUTE_USER
            } else {
                Permissions::EXECUTE_SUPERVISOR
            }
        } else {
            Permissions::READ
        };
        needs.set(Permissions::WRITE, self.write);
        needs
    }
}

fn leaf(gpa: u64, size: RmpSize, private: bool, rights: Permissions) -> Decision {
    Decision::Map(Leaf {
        gpa: gpa & !(size.bytes() - 1),
        size,
        private,
        rights,
    })
}

impl Leaf {
    /// User and supervisor may not both execute: nested tables can't express it, since their user bit
    /// governs data as well (a deviation; the leaf should follow the access that faulted).
    pub fn execute_differs(&self) -> bool {
        self.rights.contains(Permissions::EXECUTE_USER)
            != self.rights.contains(Permissions::EXECUTE_SUPERVISOR)
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
