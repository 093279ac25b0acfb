// SPDX-License-Identifier: MIT OR Apache-2.0
//! The word of a page.

use snp_defs::VMPL_COUNT;
use snp_defs::rmp::Permissions;

/// State of one page, or of a whole 2M block that is not split.
///
/// | bits | |
/// |---|---|
/// | 0 | assigned to the guest |
/// | 1 | validated |
/// | 2 | immutable |
/// | 3 | VMSA |
/// | 4 | in use: a VMSA that a vCPU runs |
/// | 5 | shared by the host's attribute (unassigned pages only) |
/// | 8 | lead only: the block is split, each page has its own state |
/// | 9 | lead only: the block is locked |
/// | 31:24 to 55:48 | permissions of VMPL1 to VMPL3; VMPL0 has all on an assigned page |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entry(u64);

/// Bits of the lead that belong to the block, not to its first page.
pub(super) const BLOCK_BITS: u64 = SPLIT | LOCK;
pub(super) const SPLIT: u64 = 1 << 8;
pub(super) const LOCK: u64 = 1 << 9;

const ASSIGNED: u64 = 1 << 0;
const VALIDATED: u64 = 1 << 1;
const IMMUTABLE: u64 = 1 << 2;
const VMSA: u64 = 1 << 3;
const IN_USE: u64 = 1 << 4;
const SHARED: u64 = 1 << 5;

impl Entry {
    /// Private by attribute, not assigned: how all guest memory starts.
    pub const INITIAL: Self = Self(0);
    /// Shared: unassigned, and the host was asked for it.
    pub const SHARED: Self = Self(SHARED);
    /// Freshly assigned: not validated, VMPL0 alone has permissions (APM vol. 2, 15.36.7).
    pub const ASSIGNED: Self = Self(ASSIGNED);

    /// From a word of the table.
    pub const fn from_word(word: u64) -> Self {
        Self(word & !BLOCK_BITS)
    }

    /// The word, without what belongs to the block.
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The page belongs to the guest.
    pub const fn assigned(self) -> bool {
        self.0 & ASSIGNED != 0
    }

    /// The guest validated the page.
    pub const fn validated(self) -> bool {
        self.0 & VALIDATED != 0
    }

    /// The host may not change the entry (the firmware holds the page).
    pub const fn immutable(self) -> bool {
        self.0 & IMMUTABLE != 0
    }

    /// The page may be run as a VMSA.
    pub const fn vmsa(self) -> bool {
        self.0 & VMSA != 0
    }

    /// A vCPU runs the VMSA.
    pub const fn in_use(self) -> bool {
        self.0 & IN_USE != 0
    }

    /// The host was asked to share the page.
    pub const fn shared(self) -> bool {
        self.0 & SHARED != 0
    }

    /// What `vmpl` may do with the page; nothing on a page that is not assigned, and for a VMPL that
    /// does not exist.
    pub const fn permissions(self, vmpl: u8) -> Permissions {
        if !self.assigned() || vmpl as usize >= VMPL_COUNT {
            Permissions::empty()
        } else if vmpl == 0 {
            Permissions::all()
        } else {
            Permissions::from_bits_truncate((self.0 >> Self::shift(vmpl)) as u8)
        }
    }

    /// With other permissions for `vmpl` (1 to 3; VMPL0's can't be changed).
    pub const fn with_permissions(self, vmpl: u8, permissions: Permissions) -> Self {
        if vmpl == 0 || vmpl as usize >= VMPL_COUNT {
            return self;
        }
        let mask = 0xFF << Self::shift(vmpl);
        Self((self.0 & !mask) | ((permissions.bits() as u64) << Self::shift(vmpl)))
    }

    /// With another validated bit.
    pub const fn with_validated(self, on: bool) -> Self {
        self.with(VALIDATED, on)
    }

    /// With another VMSA bit.
    pub const fn with_vmsa(self, on: bool) -> Self {
        self.with(VMSA, on)
    }

    /// With another in-use mark.
    pub const fn with_in_use(self, on: bool) -> Self {
        self.with(IN_USE, on)
    }

    /// With another immutable bit.
    pub const fn with_immutable(self, on: bool) -> Self {
        self.with(IMMUTABLE, on)
    }

    const fn with(self, bit: u64, on: bool) -> Self {
        Self(if on { self.0 | bit } else { self.0 & !bit })
    }

    const fn shift(vmpl: u8) -> u32 {
        16 + 8 * vmpl as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_page_is_vmpl0s_alone() {
        let entry = Entry::ASSIGNED;
        assert_eq!(entry.permissions(0), Permissions::all());
        for vmpl in 1..=4 {
            assert!(entry.permissions(vmpl).is_empty());
        }
        assert!(Entry::SHARED.permissions(0).is_empty());
    }

    #[test]
    fn permissions_of_a_vmpl_do_not_spill() {
        let entry = Entry::ASSIGNED
            .with_permissions(2, Permissions::FULL)
            .with_permissions(3, Permissions::READ);
        assert!(entry.permissions(1).is_empty());
        assert_eq!(entry.permissions(2), Permissions::FULL);
        assert_eq!(entry.permissions(3), Permissions::READ);
        assert_eq!(entry.with_permissions(0, Permissions::empty()), entry);
        assert_eq!(entry.word() & BLOCK_BITS, 0);
    }
}
