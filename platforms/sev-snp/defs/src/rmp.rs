// SPDX-License-Identifier: MIT OR Apache-2.0
//! The reverse map table and its instructions (24593, 15.36.3 and volume 3: PVALIDATE, RMPADJUST,
//! RMPQUERY).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

bitflags::bitflags! {
    /// What a VMPL may do with a page.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Permissions: u8 {
        /// Read.
        const READ = 1 << 0;
        /// Write.
        const WRITE = 1 << 1;
        /// Execute at CPL 3.
        const EXECUTE_USER = 1 << 2;
        /// Execute at CPL 0 to 2.
        const EXECUTE_SUPERVISOR = 1 << 3;
        /// Supervisor shadow stack.
        const SHADOW_STACK = 1 << 4;
    }
}

impl Permissions {
    /// Read, write and execute at every CPL: what an SVSM grants to its guest.
    pub const FULL: Self = Self::READ
        .union(Self::WRITE)
        .union(Self::EXECUTE_USER)
        .union(Self::EXECUTE_SUPERVISOR);
}

/// Size of a page in the RMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum RmpSize {
    /// 4 KiB.
    Size4K = 0,
    /// 2 MiB.
    Size2M = 1,
}

impl RmpSize {
    /// Bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Size4K => 4096,
            Self::Size2M => 2 << 20,
        }
    }
}

/// EAX after PVALIDATE, RMPADJUST or RMPQUERY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum RmpResult {
    /// Done.
    Success = 0,
    /// An operand is wrong.
    FailInput = 1,
    /// The VMPL has not the right to do so.
    FailPermission = 2,
    /// The page is in use by another vCPU (a VMSA that runs).
    FailInUse = 3,
    /// The sizes of the page table entry, the RMP entry and the request do not fit.
    FailSizeMismatch = 6,
}

/// RDX of RMPADJUST and RMPQUERY: bits 7:0 the VMPL, 15:8 permissions, 16 the VMSA bit.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct RmpAttributes(pub u64);

impl RmpAttributes {
    /// Attributes for `vmpl`.
    pub const fn new(vmpl: u8, permissions: Permissions, vmsa: bool) -> Self {
        Self(vmpl as u64 | ((permissions.bits() as u64) << 8) | ((vmsa as u64) << 16))
    }

    /// The VMPL whose permissions are meant.
    pub const fn vmpl(self) -> u8 {
        self.0 as u8
    }

    /// The permissions; bits that mean nothing are kept.
    pub const fn permissions(self) -> Permissions {
        Permissions::from_bits_retain((self.0 >> 8) as u8)
    }

    /// The VMSA bit.
    pub const fn vmsa(self) -> bool {
        self.0 & (1 << 16) != 0
    }
}

/// Opcode bytes of PVALIDATE.
pub const OPCODE_PVALIDATE: [u8; 4] = [0xF2, 0x0F, 0x01, 0xFF];
/// Opcode bytes of RMPADJUST.
pub const OPCODE_RMPADJUST: [u8; 4] = [0xF3, 0x0F, 0x01, 0xFE];
/// Opcode bytes of RMPQUERY.
pub const OPCODE_RMPQUERY: [u8; 4] = [0xF3, 0x0F, 0x01, 0xFD];
/// Opcode bytes of INVLPGB.
pub const OPCODE_INVLPGB: [u8; 3] = [0x0F, 0x01, 0xFE];
/// Opcode bytes of TLBSYNC.
pub const OPCODE_TLBSYNC: [u8; 3] = [0x0F, 0x01, 0xFF];
/// Opcode bytes of VMGEXIT.
pub const OPCODE_VMGEXIT: [u8; 4] = [0xF3, 0x0F, 0x01, 0xD9];
