// SPDX-License-Identifier: MIT OR Apache-2.0
//! The attestation protocol (58019, 7).

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
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
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
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
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
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
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

/// GUID of the services manifest, bytes as in the manifest: 63849ebb-3d92-4670-a1ff-58f9c94b87bb (58019, 7.1).
pub const SERVICES_MANIFEST_GUID: [u8; 16] = [
    0xBB, 0x9E, 0x84, 0x63, 0x92, 0x3D, 0x70, 0x46, 0xA1, 0xFF, 0x58, 0xF9, 0xC9, 0x4B, 0x87, 0xBB,
];

/// Head of the services manifest; an entry for each service follows, and then their data.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ManifestHeader {
    /// [`SERVICES_MANIFEST_GUID`].
    pub guid: [u8; 16],
    /// Bytes of the whole manifest, this header included.
    pub size: u32,
    /// Number of entries.
    pub services: u32,
}

/// An entry of the services manifest.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ManifestEntry {
    /// GUID of the service.
    pub guid: [u8; 16],
    /// Where its data is, in bytes from the start of the manifest.
    pub offset: u32,
    /// Bytes of its data.
    pub size: u32,
}

const _: () = {
    assert!(size_of::<ManifestHeader>() == 24);
    assert!(size_of::<ManifestEntry>() == 24);
};
