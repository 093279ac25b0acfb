// SPDX-License-Identifier: MIT OR Apache-2.0
//! The secrets page (56860, 8.17.2.5: PAGE_TYPE_SECRETS), with the part that an SVSM fills for its guest
//! (SVSM specification 58019, section 4: discovery).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a VM platform communication key.
pub const VMPCK_SIZE: usize = 32;

/// The page.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SecretsPage {
    /// Version of the layout: 3, or 4 with the TSC factor.
    pub version: u32,
    /// Bit 0: the initial migration image is enabled.
    pub imi_en: u32,
    /// Family, model and stepping, as CPUID leaf 1 EAX.
    pub fms: u32,
    /// Zero.
    pub reserved: u32,
    /// Guest OS visible workarounds.
    pub gosvw: [u8; 16],
    /// Keys for guest messages, one for each VMPL.
    pub vmpck: [[u8; VMPCK_SIZE]; 4],
    /// What the guest keeps here; Linux has the sequence number of each key at the start.
    pub os_area: OsArea,
    /// One bit for each eight bytes of a VMSA that register protection tweaks.
    pub vmsa_tweak_bitmap: [u8; 64],
    /// SVSM: first guest-physical address of its memory.
    pub svsm_base: u64,
    /// SVSM: bytes of its memory; 0 where there is none.
    pub svsm_size: u64,
    /// SVSM: guest-physical address of the first vCPU's calling area.
    pub svsm_caa: u64,
    /// SVSM: greatest version of the core protocol.
    pub svsm_max_version: u32,
    /// SVSM: VMPL of the guest.
    pub svsm_guest_vmpl: u8,
    /// Zero.
    pub reserved1: [u8; 3],
    /// Factor between mean and nominal TSC frequency.
    pub tsc_factor: u32,
    /// Zero.
    pub padding: [u8; 3740],
}

/// The 96 bytes that firmware leaves to the guest (Linux: `struct secrets_os_area`).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct OsArea {
    /// Low half of the last message sequence number of each key.
    pub msg_seqno: [u32; 4],
    /// Guest-physical address of the AP jump table.
    pub ap_jump_table: u64,
    /// Zero.
    pub reserved: [u8; 40],
    /// The guest's.
    pub guest_usage: [u8; 32],
}

const _: () = {
    assert!(size_of::<SecretsPage>() == 4096);
    assert!(core::mem::offset_of!(SecretsPage, vmpck) == 0x20);
    assert!(core::mem::offset_of!(SecretsPage, os_area) == 0xA0);
    assert!(core::mem::offset_of!(SecretsPage, vmsa_tweak_bitmap) == 0x100);
    assert!(core::mem::offset_of!(SecretsPage, svsm_base) == 0x140);
    assert!(core::mem::offset_of!(SecretsPage, svsm_guest_vmpl) == 0x15C);
    assert!(core::mem::offset_of!(SecretsPage, tsc_factor) == 0x160);
};
