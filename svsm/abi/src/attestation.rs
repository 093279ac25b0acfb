// SPDX-License-Identifier: MIT OR Apache-2.0
//! The attestation protocol (58019, 8).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Number of the protocol.
pub const PROTOCOL: u32 = 1;
/// The version that is spoken.
pub const VERSION: u32 = 1;

/// Attest all services.
pub const ATTEST_SERVICES: u32 = 0;
/// Attest one service.
pub const ATTEST_SINGLE_SERVICE: u32 = 1;

/// A buffer of the guest's: where it is and how long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Buffer {
    /// Guest-physical address.
    pub gpa: u64,
    /// Bytes.
    pub size: u32,
    /// Zero.
    pub reserved: u32,
}

/// Argument of ATTEST_SERVICES.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AttestServices {
    /// Takes the report.
    pub report: Buffer,
    /// Holds the nonce.
    pub nonce: Buffer,
    /// Takes the services manifest.
    pub manifest: Buffer,
    /// Takes the certificates.
    pub certificates: Buffer,
}

/// Argument of ATTEST_SINGLE_SERVICE.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AttestSingleService {
    /// As for all services.
    pub common: AttestServices,
    /// GUID of the service.
    pub service_guid: [u8; 16],
    /// Version of the manifest.
    pub manifest_version: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = {
    assert!(size_of::<AttestServices>() == 0x40);
    assert!(size_of::<AttestSingleService>() == 0x58);
};
