// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CPUID page (56860, 8.17.2.6: PAGE_TYPE_CPUID, and table "CPUID page").

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The most functions that fit.
pub const MAX_FUNCTIONS: usize = 64;

/// One function: what was asked, what the processor answers.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Function {
    /// Leaf.
    pub eax_in: u32,
    /// Sub-leaf.
    pub ecx_in: u32,
    /// XCR0 for which the answer holds (leaf 0xD only).
    pub xcr0_in: u64,
    /// IA32_XSS for which the answer holds (leaf 0xD only).
    pub xss_in: u64,
    /// EAX of the answer.
    pub eax: u32,
    /// EBX of the answer.
    pub ebx: u32,
    /// ECX of the answer.
    pub ecx: u32,
    /// EDX of the answer.
    pub edx: u32,
    /// Zero.
    pub reserved: u64,
}

/// The page.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CpuidPage {
    /// Number of functions that follow.
    pub count: u32,
    /// Zero.
    pub reserved: u32,
    /// Zero.
    pub reserved1: u64,
    /// The functions; those from [`Self::count`] on are zero.
    pub functions: [Function; MAX_FUNCTIONS],
    /// Zero.
    pub padding: [u8; 4096 - 16 - MAX_FUNCTIONS * 48],
}

const _: () = assert!(size_of::<Function>() == 48);
const _: () = assert!(size_of::<CpuidPage>() == 4096);
