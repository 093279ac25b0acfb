// SPDX-License-Identifier: MIT OR Apache-2.0
//! What enters the launch digest (56860, 8.17.2: SNP_LAUNCH_UPDATE and table "PAGE_INFO").

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a launch digest (SHA-384).
pub const DIGEST_SIZE: usize = 48;

/// Page type: contents are measured.
pub const PAGE_TYPE_NORMAL: u8 = 1;
/// Page type: a VMSA; measured.
pub const PAGE_TYPE_VMSA: u8 = 2;
/// Page type: zeros; the address is measured.
pub const PAGE_TYPE_ZERO: u8 = 3;
/// Page type: encrypted, the contents are not measured.
pub const PAGE_TYPE_UNMEASURED: u8 = 4;
/// Page type: the firmware writes the secrets page; the address is measured.
pub const PAGE_TYPE_SECRETS: u8 = 5;
/// Page type: the firmware checks the CPUID page; the address is measured.
pub const PAGE_TYPE_CPUID: u8 = 6;

/// Guest-physical address under which KVM has VMSAs measured that it makes itself.
pub const KVM_VMSA_GPA: u64 = 0xFFFF_FFFF_F000;

/// One link of the digest's chain: the next digest is the SHA-384 of this structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PageInfo {
    /// The digest so far.
    pub digest_cur: [u8; DIGEST_SIZE],
    /// SHA-384 of the contents (normal pages and VMSAs), else zero.
    pub contents: [u8; DIGEST_SIZE],
    /// Bytes of this structure: 0x70.
    pub length: u16,
    /// One of the `PAGE_TYPE_` numbers.
    pub page_type: u8,
    /// Bit 0: part of the initial migration image.
    pub imi_page: u8,
    /// Permissions of VMPL3.
    pub vmpl3_perms: u8,
    /// Permissions of VMPL2.
    pub vmpl2_perms: u8,
    /// Permissions of VMPL1.
    pub vmpl1_perms: u8,
    /// Zero.
    pub reserved: u8,
    /// Guest-physical address of the page.
    pub gpa: u64,
}

const _: () = assert!(size_of::<PageInfo>() == 0x70);
