// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the host does to the table: RMPUPDATE, PSMASH, and the page state changes made of them.
//!
//! [`Rmp::assign`] and [`Rmp::unassign`] are RMPUPDATE as hardware has it, for the loader and for a
//! host that misbehaves. [`Rmp::make_private`] and [`Rmp::make_shared`] are what an honest host makes
//! of a guest's request: what is as wished already stays untouched, and a 2M page is split where a part
//! of it changes.

use snp_defs::rmp::RmpSize;

use super::block::{Locked, PAGES};
use super::entry::Entry;
use super::{Access, Decision, Rmp};
use crate::snp::refusal::Refusal;

/// What an honest host does about an RMP fault before the access is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostDuty {
    /// Assign the page to the guest; its contents become undefined.
    Assign {
        /// First byte, aligned to `size`.
        gpa: u64,
        /// How much.
        size: RmpSize,
    },
    /// Split the 2M page around this address.
    Psmash {
        /// Any address in the page.
        gpa: u64,
    },
}

/// Why the host's operation is refused. (RMPUPDATE and PSMASH in APM vol. 3: EAX.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostError {
    /// No guest memory, or not enough for a 2M page.
    NotMemory,
    /// The address is not aligned to the size.
    Unaligned,
    /// The firmware holds the page.
    Immutable,
    /// A vCPU runs the page as a VMSA.
    InUse,
    /// A 4K request inside a 2M page, or a 2M request over assigned 4K pages.
    Overlap,
    /// PSMASH of what is no 2M page, or unsmash of pages that differ.
    NotUniform,
}

/// Something that changed. The caller acts on it while the block is still locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Change {
    /// First byte of the range, aligned to `size`.
    pub gpa: u64,
    /// Bytes of the range: one page of this size.
    pub size: RmpSize,
    /// What happened.
    pub kind: ChangeKind,
    /// No page of the range was assigned or shared before: its backing was never used.
    pub fresh: bool,
}

/// Kinds of change, as the trace has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// The page belongs to the guest now, not validated.
    Assigned,
    /// The page is shared now.
    Unassigned,
    /// A 2M page was split.
    Split,
    /// 512 pages became one of 2M.
    Merged,
    /// PVALIDATE set the validated bit.
    Validated,
    /// PVALIDATE cleared the validated bit.
    Rescinded,
    /// RMPADJUST changed permissions or the VMSA bit.
    Adjusted {
        /// A permission was taken away.
        revokes: bool,
    },
}

impl Change {
    /// Leaves over the range may allow too much now, in either view: clear them in all VMPLs' tables.
    pub const fn revokes(&self) -> bool {
        match self.kind {
            ChangeKind::Assigned | ChangeKind::Unassigned | ChangeKind::Rescinded => true,
            ChangeKind::Adjusted { revokes } => revokes,
            ChangeKind::Split | ChangeKind::Merged | ChangeKind::Validated => false,
        }
    }

    /// The host changed memory that vCPUs may have translations for: it flushes all of them before it
    /// goes on. (After an instruction of the guest the flush is the guest's duty.)
    pub const fn flush(&self) -> bool {
        matches!(self.kind, ChangeKind::Assigned | ChangeKind::Unassigned) && !self.fresh
    }

    /// The contents are undefined now (APM vol. 2, 15.36.5; 56421, SNP page state change).
    pub const fn undefined(&self) -> bool {
        matches!(self.kind, ChangeKind::Assigned | ChangeKind::Unassigned)
    }

    /// Overwrite the backing of the view that the page is in from now on, so that nobody can count on
    /// its contents. Fresh memory is left alone, or all of QEMU's memory would be touched before the
    /// guest's first instruction; it reads zero (a deviation).
    pub const fn scramble(&self) -> bool {
        self.undefined() && !self.fresh
    }
}

impl Rmp<'_> {
    /// RMPUPDATE that assigns a page: not validated, permissions for VMPL0 alone, contents undefined,
    /// whatever it was before.
    ///
    /// # Errors
    /// As hardware refuses.
    pub fn assign(&self, gpa: u64, size: RmpSize) -> Result<Change, HostError> {
        self.update(gpa, size, Entry::ASSIGNED, ChangeKind::Assigned)
    }

    /// RMPUPDATE that takes a page from the guest and makes it shared.
    ///
    /// # Errors
    /// As hardware refuses.
    pub fn unassign(&self, gpa: u64, size: RmpSize) -> Result<Change, HostError> {
        self.update(gpa, size, Entry::SHARED, ChangeKind::Unassigned)
    }

    fn update(
        &self,
        gpa: u64,
        size: RmpSize,
        entry: Entry,
        kind: ChangeKind,
    ) -> Result<Change, HostError> {
        let mut block = self.locked(gpa, size)?;
        let fresh = is_fresh(&block, gpa, size);
        match size {
            RmpSize::Size4K => {
                let (old, old_size) = block.get(gpa);
                if old.assigned() && old_size == RmpSize::Size2M {
                    return Err(HostError::Overlap);
                }
                may_change(old)?;
                block.set_page(gpa, entry);
            }
            RmpSize::Size2M => {
                if block.is_split() && block.any(Entry::assigned) {
                    return Err(HostError::Overlap);
                }
                may_change(block.get(gpa).0)?;
                block.set_block(entry);
            }
        }
        Ok(Change {
            gpa,
            size,
            kind,
            fresh,
        })
    }

    /// An honest host makes a page private at the guest's request. `changed` is called for each piece
    /// that changed, with the block locked; pages that were private already keep state and contents.
    ///
    /// # Errors
    /// Nothing changed.
    pub fn make_private(
        &self,
        gpa: u64,
        size: RmpSize,
        changed: &mut dyn FnMut(Change),
    ) -> Result<(), HostError> {
        self.convert(
            gpa,
            size,
            Entry::ASSIGNED,
            ChangeKind::Assigned,
            &|old| old.assigned(),
            changed,
        )
    }

    /// An honest host makes a page shared at the guest's request; as [`Rmp::make_private`] otherwise.
    ///
    /// # Errors
    /// Nothing changed: the page, or one of a 2M page, is immutable or runs as a VMSA.
    pub fn make_shared(
        &self,
        gpa: u64,
        size: RmpSize,
        changed: &mut dyn FnMut(Change),
    ) -> Result<(), HostError> {
        self.convert(
            gpa,
            size,
            Entry::SHARED,
            ChangeKind::Unassigned,
            &|old| old.shared(),
            changed,
        )
    }

    fn convert(
        &self,
        gpa: u64,
        size: RmpSize,
        entry: Entry,
        kind: ChangeKind,
        done: &dyn Fn(Entry) -> bool,
        changed: &mut dyn FnMut(Change),
    ) -> Result<(), HostError> {
        let mut block = self.locked(gpa, size)?;
        if size == RmpSize::Size4K {
            let (old, old_size) = block.get(gpa);
            if !done(old) {
                may_change(old)?;
                if old.assigned() && old_size == RmpSize::Size2M {
                    changed(split(gpa));
                }
                block.set_page(gpa, entry);
                changed(Change {
                    gpa,
                    size,
                    kind,
                    fresh: old == Entry::INITIAL,
                });
            }
            return Ok(());
        }
        if block.any(|old| !done(old) && may_change(old).is_err()) {
            return Err(HostError::InUse);
        }
        if !block.any(done) && self.largest == RmpSize::Size2M {
            let fresh = is_fresh(&block, gpa, size);
            block.set_block(entry);
            changed(Change {
                gpa,
                size,
                kind,
                fresh,
            });
            return Ok(());
        }
        for page in (0..PAGES as u64).map(|n| gpa + n * RmpSize::Size4K.bytes()) {
            let old = block.get(page).0;
            if !done(old) {
                block.set_page(page, entry);
                changed(Change {
                    gpa: page,
                    size: RmpSize::Size4K,
                    kind,
                    fresh: old == Entry::INITIAL,
                });
            }
        }
        Ok(())
    }

    /// PSMASH: splits the 2M page at `gpa` into 512 pages of the same state.
    ///
    /// # Errors
    /// Not a 2M page that is assigned, or immutable or in use.
    pub fn psmash(&self, gpa: u64) -> Result<Change, HostError> {
        let mut block = self.locked(gpa & !(RmpSize::Size2M.bytes() - 1), RmpSize::Size2M)?;
        let (entry, size) = block.get(gpa);
        if !entry.assigned() || size != RmpSize::Size2M {
            return Err(HostError::NotUniform);
        }
        may_change(entry)?;
        block.split();
        Ok(split(gpa))
    }

    /// The firmware's page unsmash: merges 512 pages of one state into a 2M page (56860, 8.18).
    ///
    /// # Errors
    /// The pages differ, or are not assigned, or immutable or in use.
    pub fn unsmash(&self, gpa: u64) -> Result<Change, HostError> {
        let gpa = gpa & !(RmpSize::Size2M.bytes() - 1);
        let mut block = self.locked(gpa, RmpSize::Size2M)?;
        let entry = block.uniform().ok_or(HostError::NotUniform)?;
        if !entry.assigned() || !block.is_split() {
            return Err(HostError::NotUniform);
        }
        may_change(entry)?;
        block.set_block(entry);
        Ok(Change {
            gpa,
            size: RmpSize::Size2M,
            kind: ChangeKind::Merged,
            fresh: false,
        })
    }

    /// Does what an honest host does about an RMP fault. When the state changed meanwhile, nothing
    /// happens; the access that is tried again finds out.
    pub fn serve(&self, duty: HostDuty, changed: &mut dyn FnMut(Change)) {
        match duty {
            HostDuty::Assign { gpa, size } => {
                // A 2M page that was begun in pieces meanwhile is assigned in pieces.
                let _ = self.make_private(gpa, size, changed);
            }
            HostDuty::Psmash { gpa } => {
                if let Ok(change) = self.psmash(gpa) {
                    changed(change);
                }
            }
        }
    }

    /// The firmware takes or releases a page (immutable bit).
    ///
    /// # Errors
    /// No memory, or the sizes do not fit.
    pub fn set_immutable(&self, gpa: u64, size: RmpSize, on: bool) -> Result<(), HostError> {
        self.edit(gpa, size, |entry| entry.with_immutable(on))
    }

    /// The firmware adds a page at launch: assigned, validated, with these permissions for VMPL1 to
    /// VMPL3 and this VMSA bit (56860, 8.17).
    ///
    /// # Errors
    /// As [`Rmp::assign`].
    pub fn launch(
        &self,
        gpa: u64,
        size: RmpSize,
        permissions: [snp_defs::rmp::Permissions; 3],
        vmsa: bool,
    ) -> Result<(), HostError> {
        let _ = self.assign(gpa, size)?;
        self.edit(gpa, size, |entry| {
            (1..=3u8)
                .zip(permissions)
                .fold(entry, |entry, (vmpl, permissions)| {
                    entry.with_permissions(vmpl, permissions)
                })
                .with_validated(true)
                .with_vmsa(vmsa)
        })
    }

    /// Changes the entry of a page that has exactly this size.
    fn edit(
        &self,
        gpa: u64,
        size: RmpSize,
        change: impl Fn(Entry) -> Entry,
    ) -> Result<(), HostError> {
        let mut block = self.locked(gpa, size)?;
        let (entry, old_size) = block.get(gpa);
        if old_size != size {
            return Err(HostError::Overlap);
        }
        match size {
            RmpSize::Size4K => block.set_page(gpa, change(entry)),
            RmpSize::Size2M => block.set_block(change(entry)),
        }
        Ok(())
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

    /// Locks the block of a page, after the checks that every operation shares.
    pub(super) fn locked(&self, gpa: u64, size: RmpSize) -> Result<Locked<'_>, HostError> {
        if gpa & (size.bytes() - 1) != 0 {
            return Err(HostError::Unaligned);
        }
        let block = self.block(gpa).ok_or(HostError::NotMemory)?;
        if size == RmpSize::Size2M && !block.whole() {
            return Err(HostError::NotMemory);
        }
        Ok(block.lock())
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
}

/// Refuses what hardware refuses to RMPUPDATE and PSMASH.
pub(super) fn may_change(entry: Entry) -> Result<(), HostError> {
    if entry.immutable() {
        Err(HostError::Immutable)
    } else if entry.in_use() {
        Err(HostError::InUse)
    } else {
        Ok(())
    }
}

fn split(gpa: u64) -> Change {
    Change {
        gpa: gpa & !(RmpSize::Size2M.bytes() - 1),
        size: RmpSize::Size2M,
        kind: ChangeKind::Split,
        fresh: false,
    }
}

/// Nothing of the page was assigned or shared before.
fn is_fresh(block: &Locked<'_>, gpa: u64, size: RmpSize) -> bool {
    match size {
        RmpSize::Size4K => block.get(gpa).0 == Entry::INITIAL,
        RmpSize::Size2M => !block.any(|entry| entry != Entry::INITIAL),
    }
}
