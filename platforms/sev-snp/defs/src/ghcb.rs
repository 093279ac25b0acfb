// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest-hypervisor communication block (56421, table "GHCB layout").

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Offset of the shared buffer in the page.
pub const SHARED_BUFFER_OFFSET: usize = 0x800;
/// Bytes of the shared buffer.
pub const SHARED_BUFFER_SIZE: usize = 0x7F0;
/// `usage` of a GHCB that has the standard layout.
pub const USAGE_STANDARD: u32 = 0;
/// Least protocol version with SNP.
pub const VERSION_SNP: u16 = 2;

/// The page. Fields before `valid_bitmap` are where the VMSA has them.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
#[expect(missing_docs, reason = "registers; their names are the manual's")]
pub struct Ghcb {
    pub reserved_000: [u8; 0xCB],
    pub cpl: u8,
    pub reserved_0cc: [u8; 0x74],
    pub xss: u64,
    pub reserved_148: [u8; 0x18],
    pub dr7: u64,
    pub reserved_168: [u8; 0x10],
    pub rip: u64,
    pub reserved_180: [u8; 0x58],
    pub rsp: u64,
    pub reserved_1e0: [u8; 0x18],
    pub rax: u64,
    pub reserved_200: [u8; 0x108],
    pub rcx: u64,
    pub rdx: u64,
    pub rbx: u64,
    pub reserved_320: [u8; 8],
    pub rbp: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub reserved_380: [u8; 0x10],
    pub sw_exit_code: u64,
    pub sw_exit_info1: u64,
    pub sw_exit_info2: u64,
    pub sw_scratch: u64,
    pub reserved_3b0: [u8; 0x38],
    pub xcr0: u64,
    /// Bit *n* set: the eight bytes at offset 8 *n* are meant.
    pub valid_bitmap: [u8; 16],
    pub x87_state_gpa: u64,
    pub reserved_408: [u8; 0x3F8],
    pub shared_buffer: [u8; SHARED_BUFFER_SIZE],
    pub reserved_ff0: [u8; 10],
    pub protocol_version: u16,
    pub usage: u32,
}

/// Index in the valid bitmap of the field at `offset`.
pub const fn bitmap_index(offset: usize) -> usize {
    offset / 8
}

/// SW_EXITINFO1 (low half) of an answer.
pub mod result {
    /// Done.
    pub const OK: u64 = 0;
    /// Raise the exception in SW_EXITINFO2 (EVENTINJ format).
    pub const EXCEPTION: u64 = 1;
    /// The request is malformed; SW_EXITINFO2 has the reason.
    pub const MALFORMED: u64 = 2;
}

/// SW_EXITINFO2 when SW_EXITINFO1 is [`result::MALFORMED`].
pub mod malformed {
    /// The GHCB is not the registered one.
    pub const NOT_REGISTERED: u64 = 1;
    /// Unknown usage.
    pub const INVALID_USAGE: u64 = 2;
    /// The scratch area is not where it may be.
    pub const INVALID_SCRATCH: u64 = 3;
    /// A required input is not marked valid.
    pub const MISSING_INPUT: u64 = 4;
    /// An input is out of range.
    pub const INVALID_INPUT: u64 = 5;
    /// Unknown exit code.
    pub const INVALID_EVENT: u64 = 6;
}

/// SW_EXITINFO2 bits 63:32 of a guest request that the hypervisor itself refused.
pub mod guest_request_error {
    /// The certificate buffer is too small; RBX has the pages that are needed.
    pub const INVALID_LENGTH: u64 = 1;
    /// Busy: try again.
    pub const BUSY: u64 = 2;
}

/// SW_EXITINFO1 of [`crate::exit::AP_CREATION`].
pub mod ap_creation {
    /// Start at the next INIT.
    pub const ON_INIT: u64 = 0;
    /// Start now.
    pub const NOW: u64 = 1;
    /// Stop and forget.
    pub const DESTROY: u64 = 2;
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Ghcb>() == 4096);
    assert!(offset_of!(Ghcb, cpl) == 0xCB);
    assert!(offset_of!(Ghcb, xss) == 0x140);
    assert!(offset_of!(Ghcb, dr7) == 0x160);
    assert!(offset_of!(Ghcb, rax) == 0x1F8);
    assert!(offset_of!(Ghcb, rcx) == 0x308);
    assert!(offset_of!(Ghcb, r8) == 0x340);
    assert!(offset_of!(Ghcb, sw_exit_code) == 0x390);
    assert!(offset_of!(Ghcb, sw_scratch) == 0x3A8);
    assert!(offset_of!(Ghcb, xcr0) == 0x3E8);
    assert!(offset_of!(Ghcb, valid_bitmap) == 0x3F0);
    assert!(offset_of!(Ghcb, shared_buffer) == SHARED_BUFFER_OFFSET);
    assert!(offset_of!(Ghcb, protocol_version) == 0xFFA);
    assert!(offset_of!(Ghcb, usage) == 0xFFC);
};
