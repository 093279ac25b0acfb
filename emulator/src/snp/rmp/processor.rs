// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the processor does with the table: its check of each access (APM vol. 2, 15.36.10), and
//! VMRUN's mark on the VMSA that it runs.

use snp_defs::rmp::{Permissions, RmpSize};

use super::{Entry, HostDuty, Rmp};
use crate::snp::refusal::Refusal;
use crate::snp::rule::Rule;

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

impl Rmp<'_> {
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

    /// [`Rmp::check`], with the block locked while `act` enters the leaf: a change that takes the
    /// right away again comes after it, and finds the leaf. `act` may not use the table.
    pub fn check_then<R>(&self, access: &Access, act: impl FnOnce(Decision) -> R) -> R {
        let Some(block) = self.block(access.gpa) else {
            return act(Decision::Mmio);
        };
        let whole = block.whole();
        let locked = block.lock();
        let (entry, size) = locked.get(access.gpa);
        let result = act(self.decide(access, entry, size, whole));
        drop(locked);
        result
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

    /// VMRUN's mark in the RMP: the page at `gpa` is in use.
    ///
    /// # Errors
    /// No VMSA page, or in use already.
    pub fn claim_vmsa(&self, gpa: u64) -> Result<(), Refusal> {
        let mut block = self
            .locked(gpa, RmpSize::Size4K)
            .map_err(|_| Refusal::NotAVmsa)?;
        let (entry, size) = block.get(gpa);
        // A VMSA in a 2M page of the RMP is none that this machine runs: RMPADJUST marks single pages.
        if !entry.assigned()
            || !entry.validated()
            || !entry.vmsa()
            || entry.immutable()
            || size != RmpSize::Size4K
        {
            return Err(Refusal::NotAVmsa);
        }
        if entry.in_use() {
            return Err(Refusal::Busy);
        }
        block.set_page(gpa, entry.with_in_use(true));
        Ok(())
    }

    /// The end of [`Rmp::claim_vmsa`].
    pub fn release_vmsa(&self, gpa: u64) {
        if let Ok(mut block) = self.locked(gpa, RmpSize::Size4K) {
            let (entry, size) = block.get(gpa);
            if size == RmpSize::Size4K {
                block.set_page(gpa, entry.with_in_use(false));
            }
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
