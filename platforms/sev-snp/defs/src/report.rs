// SPDX-License-Identifier: MIT OR Apache-2.0
//! The attestation report (56860, table "ATTESTATION_REPORT").

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a report.
pub const REPORT_SIZE: usize = 0x4A0;
/// Bytes of the report that are signed.
pub const SIGNED_SIZE: usize = 0x2A0;
/// Signature algorithm: ECDSA P-384 with SHA-384.
pub const ALGO_ECDSA_P384_SHA384: u32 = 1;

/// The report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AttestationReport {
    /// Version of the layout: 2 to 5.
    pub version: u32,
    /// The guest's security version number.
    pub guest_svn: u32,
    /// The guest's policy.
    pub policy: u64,
    /// Family id from the ID block.
    pub family_id: [u8; 16],
    /// Image id from the ID block.
    pub image_id: [u8; 16],
    /// VMPL that was asked for.
    pub vmpl: u32,
    /// [`ALGO_ECDSA_P384_SHA384`].
    pub signature_algo: u32,
    /// TCB in force.
    pub current_tcb: u64,
    /// Platform information.
    pub platform_info: u64,
    /// Bits 4:2 signing key (0 VCEK), 1 chip key masked, 0 author key present.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
    /// Data that the guest gave.
    pub report_data: [u8; 64],
    /// Launch digest.
    pub measurement: [u8; 48],
    /// Data that the host gave at launch.
    pub host_data: [u8; 32],
    /// SHA-384 of the ID key.
    pub id_key_digest: [u8; 48],
    /// SHA-384 of the author key.
    pub author_key_digest: [u8; 48],
    /// Id of this guest.
    pub report_id: [u8; 32],
    /// Id of the migration agent; all ones for none.
    pub report_id_ma: [u8; 32],
    /// TCB that the signing key was derived for.
    pub reported_tcb: u64,
    /// CPUID family (version 3 and later).
    pub cpuid_fam_id: u8,
    /// CPUID model.
    pub cpuid_mod_id: u8,
    /// CPUID stepping.
    pub cpuid_step: u8,
    /// Zero.
    pub reserved1: [u8; 21],
    /// Id of the chip.
    pub chip_id: [u8; 64],
    /// Committed TCB.
    pub committed_tcb: u64,
    /// Build, minor, major of the current firmware, then zero.
    pub current_version: [u8; 4],
    /// Build, minor, major of the committed firmware, then zero.
    pub committed_version: [u8; 4],
    /// TCB at launch.
    pub launch_tcb: u64,
    /// Zero.
    pub reserved2: [u8; 168],
    /// R, then S: 72 bytes each, little endian; the rest zero.
    pub signature: [u8; 512],
}

const _: () = {
    assert!(size_of::<AttestationReport>() == REPORT_SIZE);
    assert!(core::mem::offset_of!(AttestationReport, report_data) == 0x50);
    assert!(core::mem::offset_of!(AttestationReport, measurement) == 0x90);
    assert!(core::mem::offset_of!(AttestationReport, report_id) == 0x140);
    assert!(core::mem::offset_of!(AttestationReport, chip_id) == 0x1A0);
    assert!(core::mem::offset_of!(AttestationReport, launch_tcb) == 0x1F0);
    assert!(core::mem::offset_of!(AttestationReport, signature) == SIGNED_SIZE);
};
