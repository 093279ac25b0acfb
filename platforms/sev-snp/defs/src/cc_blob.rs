// SPDX-License-Identifier: MIT OR Apache-2.0
//! The structure by which firmware tells Linux where secrets and CPUID pages are
//! (Linux `arch/x86/include/asm/sev.h`, `struct cc_blob_sev_info`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// "AMDE", little endian.
pub const MAGIC: u32 = 0x4544_4D41;
/// The only version so far.
pub const VERSION: u16 = 1;
/// Type of the `setup_data` entry that holds the 32-bit address of a [`CcBlob`] (Linux boot
/// protocol, `SETUP_CC_BLOB`).
pub const SETUP_CC_BLOB: u32 = 7;

/// Where secrets and CPUID pages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CcBlob {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`VERSION`].
    pub version: u16,
    /// Zero.
    pub reserved: u16,
    /// Guest-physical address of the secrets page.
    pub secrets_gpa: u64,
    /// Bytes of the secrets page.
    pub secrets_len: u32,
    /// Zero.
    pub reserved1: u32,
    /// Guest-physical address of the CPUID page.
    pub cpuid_gpa: u64,
    /// Bytes of the CPUID page.
    pub cpuid_len: u32,
    /// Zero.
    pub reserved2: u32,
}

const _: () = assert!(size_of::<CcBlob>() == 40);
