// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages between a guest and the security firmware (56860, chapter 7).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Algorithm: AES-256-GCM.
pub const ALGO_AES_256_GCM: u8 = 1;
/// Version of the header.
pub const HEADER_VERSION: u8 = 1;
/// Bytes of the header.
pub const HEADER_SIZE: usize = 0x60;
/// Offset of the first byte that is authenticated but not encrypted; it ends with the header.
pub const AAD_OFFSET: usize = 0x30;
/// The most bytes of a payload: one page with the header.
pub const MAX_PAYLOAD: usize = 4096 - HEADER_SIZE;

/// Type: request a key.
pub const TYPE_KEY_REQ: u8 = 3;
/// Type: answer with a key.
pub const TYPE_KEY_RSP: u8 = 4;
/// Type: request a report.
pub const TYPE_REPORT_REQ: u8 = 5;
/// Type: answer with a report.
pub const TYPE_REPORT_RSP: u8 = 6;
/// Type: request secure TSC's values.
pub const TYPE_TSC_INFO_REQ: u8 = 17;
/// Type: answer with secure TSC's values.
pub const TYPE_TSC_INFO_RSP: u8 = 18;

/// The header of a message. The IV is the sequence number in 12 bytes, little endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// Authentication tag; 16 bytes, the rest zero.
    pub authtag: [u8; 32],
    /// Sequence number.
    pub msg_seqno: u64,
    /// Zero.
    pub reserved: [u8; 8],
    /// [`ALGO_AES_256_GCM`].
    pub algo: u8,
    /// [`HEADER_VERSION`].
    pub hdr_version: u8,
    /// [`HEADER_SIZE`].
    pub hdr_size: u16,
    /// One of the `TYPE_` numbers.
    pub msg_type: u8,
    /// Version of the payload: 1.
    pub msg_version: u8,
    /// Bytes of the payload.
    pub msg_size: u16,
    /// Zero.
    pub reserved1: u32,
    /// Number of the key, 0 to 3.
    pub msg_vmpck: u8,
    /// Zero.
    pub reserved2: [u8; 35],
}

/// MSG_REPORT_REQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReportRequest {
    /// Data that the report carries.
    pub report_data: [u8; 64],
    /// VMPL that the report names; not below (more privileged than) the key's.
    pub vmpl: u32,
    /// Bits 1:0: which key signs.
    pub key_sel: u32,
    /// Zero.
    pub reserved: [u8; 24],
}

/// MSG_REPORT_RSP, before the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReportResponseHeader {
    /// 0 success, 0x16 invalid parameters, 0x27 invalid key selection.
    pub status: u32,
    /// Bytes of the report that follows.
    pub report_size: u32,
    /// Zero.
    pub reserved: [u8; 24],
}

/// MSG_KEY_REQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct KeyRequest {
    /// Bit 0: root key (0 VCEK/VLEK, 1 VMRK); bits 2:1 which of VCEK and VLEK.
    pub root_key_select: u32,
    /// Zero.
    pub reserved: u32,
    /// Which fields are mixed in: bits 0 policy, 1 image id, 2 family id, 3 measurement, 4 SVN, 5 TCB.
    pub guest_field_select: u64,
    /// VMPL to mix in; not below the key's.
    pub vmpl: u32,
    /// Guest SVN to mix in; at most the guest's.
    pub guest_svn: u32,
    /// TCB version to mix in; at most the committed one.
    pub tcb_version: u64,
}

/// MSG_KEY_RSP.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct KeyResponse {
    /// 0 success, 0x16 invalid parameters, 0x27 invalid key selection.
    pub status: u32,
    /// Zero.
    pub reserved: [u8; 28],
    /// The key.
    pub derived_key: [u8; 32],
}

const _: () = {
    assert!(size_of::<Header>() == HEADER_SIZE);
    assert!(core::mem::offset_of!(Header, algo) == AAD_OFFSET);
    assert!(core::mem::offset_of!(Header, msg_vmpck) == 0x3C);
    assert!(size_of::<ReportRequest>() == 0x60);
    assert!(size_of::<ReportResponseHeader>() == 0x20);
    assert!(size_of::<KeyRequest>() == 0x20);
    assert!(size_of::<KeyResponse>() == 0x40);
};
