// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page state change (56421, 4.1.6): the list in the GHCB's shared buffer.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The most entries that fit in the shared buffer.
pub const MAX_ENTRIES: usize = 253;

/// Bytes of the list's head.
pub const HEADER_SIZE: u64 = size_of::<Header>() as u64;
/// Bytes of an entry.
pub const ENTRY_SIZE: u64 = size_of::<Entry>() as u64;
/// 4K pages in a 2M entry.
pub const PAGES_IN_2M: u16 = 512;

/// Operation: make private.
pub const OP_PRIVATE: u8 = 1;
/// Operation: make shared.
pub const OP_SHARED: u8 = 2;
/// Operation: split a 2M page of the RMP into 4K pages.
pub const OP_PSMASH: u8 = 3;
/// Operation: merge 4K pages of the RMP into one of 2M.
pub const OP_UNSMASH: u8 = 4;

/// Head of the list.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Header {
    /// Index of the next entry to work on; the hypervisor moves it on.
    pub cur_entry: u16,
    /// Index of the last entry.
    pub end_entry: u16,
    /// Zero.
    pub reserved: u32,
}

/// One entry: bits 11:0 current 4K page in a 2M entry, 51:12 guest frame number, 55:52 operation,
/// 56 set for 2M.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Entry(pub u64);

impl Entry {
    /// An entry for the page at `gpa` (aligned to its size).
    pub const fn new(gpa: u64, op: u8, huge: bool) -> Self {
        Self((gpa & 0x000F_FFFF_FFFF_F000) | ((op as u64 & 0xF) << 52) | ((huge as u64) << 56))
    }

    /// Guest-physical address of the page.
    pub const fn gpa(self) -> u64 {
        self.0 & 0x000F_FFFF_FFFF_F000
    }

    /// Number of 4K pages that are done already.
    pub const fn current_page(self) -> u16 {
        (self.0 & 0xFFF) as u16
    }

    /// Operation, one of the `OP_` numbers or something else.
    pub const fn op(self) -> u8 {
        ((self.0 >> 52) & 0xF) as u8
    }

    /// Whether the entry is for a 2M page.
    pub const fn huge(self) -> bool {
        self.0 & (1 << 56) != 0
    }

    /// Bits that must be zero.
    pub const fn reserved(self) -> u64 {
        self.0 & !((1 << 57) - 1)
    }
}

/// Errors in bits 63:32 of SW_EXITINFO2: the request itself is wrong. Low half: 1 = header invalid,
/// 2 = entry invalid.
pub const ERROR_INVALID: u64 = 1 << 32;
/// The header is out of range.
pub const INVALID_HEADER: u64 = 1;
/// The entry is out of range or unknown.
pub const INVALID_ENTRY: u64 = 2;
/// Bits 63:32 of SW_EXITINFO2: the hypervisor failed; try again later.
pub const ERROR_GENERIC: u64 = 0x100 << 32;
