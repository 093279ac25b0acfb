// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core protocol (58019, 6).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Number of the protocol.
pub const PROTOCOL: u32 = 0;
/// The version that is spoken.
pub const VERSION: u32 = 1;

/// Move this vCPU's calling area.
pub const REMAP_CA: u32 = 0;
/// Validate or invalidate pages.
pub const PVALIDATE: u32 = 1;
/// Turn a page into a vCPU's state.
pub const CREATE_VCPU: u32 = 2;
/// Turn it back.
pub const DELETE_VCPU: u32 = 3;
/// Give pages to the SVSM.
pub const DEPOSIT_MEM: u32 = 4;
/// Take pages back.
pub const WITHDRAW_MEM: u32 = 5;
/// Ask for a protocol's versions.
pub const QUERY_PROTOCOL: u32 = 6;
/// Virtual top of memory.
pub const CONFIGURE_VTOM: u32 = 7;

/// Head of a list of pages (PVALIDATE, DEPOSIT_MEM, WITHDRAW_MEM); 8-byte aligned, and the list ends in the same 4K page.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ListHeader {
    /// Number of entries.
    pub entries: u16,
    /// Index of the next entry to work on; the SVSM moves it on.
    pub next: u16,
    /// Zero.
    pub reserved: u32,
}

/// The most entries that fit behind a header in one page.
pub const LIST_MAX_ENTRIES: usize = 511;

/// An entry of PVALIDATE: bits 1:0 size (0 = 4K, 1 = 2M), 2 validate, 3 ignore "no change",
/// 11:4 zero, 63:12 page number.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct PvalidateEntry(pub u64);

impl PvalidateEntry {
    /// An entry for the page at `gpa`.
    pub const fn new(gpa: u64, huge: bool, validate: bool, ignore_unchanged: bool) -> Self {
        Self(
            (gpa & !0xFFF)
                | huge as u64
                | ((validate as u64) << 2)
                | ((ignore_unchanged as u64) << 3),
        )
    }

    /// Size field: 0 = 4K, 1 = 2M, else reserved.
    pub const fn size(self) -> u8 {
        (self.0 & 3) as u8
    }

    /// Validate, or invalidate.
    pub const fn validate(self) -> bool {
        self.0 & 4 != 0
    }

    /// Whether "no change" counts as success.
    pub const fn ignore_unchanged(self) -> bool {
        self.0 & 8 != 0
    }

    /// Bits that must be zero.
    pub const fn reserved(self) -> u64 {
        self.0 & 0xFF0
    }

    /// Guest-physical address.
    pub const fn gpa(self) -> u64 {
        self.0 & !0xFFF
    }
}

/// PVALIDATE failed: this plus the instruction's own result.
pub const PVALIDATE_FAIL: u64 = 0;
/// The pages are of another size (the instruction's FAIL_SIZEMISMATCH).
pub const PVALIDATE_FAIL_SIZE_MISMATCH: u64 = 6;
/// PVALIDATE changed nothing, and the entry does not say to ignore that.
pub const PVALIDATE_FAIL_UNCHANGED: u64 = 0x10;
/// PVALIDATE failed with a result that the manual does not have.
pub const PVALIDATE_FAIL_UNKNOWN: u64 = 0x11;
/// The vCPU executes, or is the caller (DELETE_VCPU; RMPADJUST's FAIL_INUSE).
pub const FAIL_IN_USE: u64 = 3;

/// Head of the list that WITHDRAW_MEM fills; addresses of 4K pages follow it (58019, table 8).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct WithdrawHeader {
    /// Number of entries.
    pub entries: u16,
    /// Not used.
    pub unused: [u8; 6],
}

/// RCX of QUERY_PROTOCOL and its result: the protocol or the greatest version in bits 63:32, the wanted or the least
/// version in bits 31:0 (58019, 6.7).
pub const fn query(high: u32, low: u32) -> u64 {
    ((high as u64) << 32) | low as u64
}

/// RCX of CONFIGURE_VTOM: the query (58019, table 9).
pub const VTOM_QUERY: u64 = 1 << 0;
/// RCX of CONFIGURE_VTOM: turn it on. Also the bit of the answer that says that it can be.
pub const VTOM_ENABLE: u64 = 1 << 1;
/// RCX of CONFIGURE_VTOM, to configure: bits that must be zero.
pub const VTOM_RESERVED: u64 = 0xFE0;
