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
use super::{Change, ChangeKind, Rmp};

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

    /// How an honest host assigns the page around `gpa`: with 2M where nothing in the block was
    /// touched, else with 4K.
    pub(super) fn assignment(
        &self,
        gpa: u64,
        entry: Entry,
        size: RmpSize,
        whole: bool,
    ) -> HostDuty {
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
