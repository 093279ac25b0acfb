// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies that survive the loss of a page, and the fix-up that makes them so.
//!
//! # Soundness
//! All instructions that touch memory which may vanish lie between two symbols. They use no stack, so
//! that a fault at any of them can go on at `svsm_copy_fault`, which returns an error to the caller. What was
//! copied until then stays.

use core::arch::global_asm;

global_asm!(
    ".pushsection .text.svsm_copy, \"ax\"",
    ".balign 16",
    "svsm_copy_begin:",
    // copy(to: rdi, from: rsi, bytes: rdx) -> rax: words first, then the rest.
    "svsm_copy:",
    "  mov rcx, rdx",
    "  shr rcx, 3",
    "  rep movsq",
    "  mov ecx, edx",
    "  and ecx, 7",
    "  rep movsb",
    "  xor eax, eax",
    "  ret",
    // zero(at: rdi, bytes: rsi, a multiple of 8) -> rax
    "svsm_zero:",
    "  mov rcx, rsi",
    "  shr rcx, 3",
    "  xor eax, eax",
    "  rep stosq",
    "  ret",
    // swap_u8(at: rdi, value: sil) -> rax: what was there.
    "svsm_swap_u8:",
    "  xchg byte ptr [rdi], sil",
    "  movzx eax, sil",
    "  ret",
    "svsm_copy_end:",
    "svsm_copy_fault:",
    "  mov rax, -1",
    "  ret",
    ".popsection",
);

unsafe extern "C" {
    #[link_name = "svsm_copy_begin"]
    static BEGIN: u8;
    #[link_name = "svsm_copy_end"]
    static END: u8;
    #[link_name = "svsm_copy_fault"]
    static FAULT: u8;
    fn svsm_copy(to: usize, from: usize, bytes: usize) -> i64;
    fn svsm_zero(at: usize, bytes: usize) -> i64;
    fn svsm_swap_u8(at: usize, value: u8) -> i64;
}

/// Where to go on after an access to missing memory at `rip`, if that is one of the copies.
pub(crate) fn fixup(rip: u64) -> Option<u64> {
    let (begin, end, fault) = (&raw const BEGIN, &raw const END, &raw const FAULT);
    (begin.addr() as u64..end.addr() as u64)
        .contains(&rip)
        .then_some(fault.addr() as u64)
}

/// Copies; `false` where memory was missing.
///
/// # Safety
/// One of the two is memory of the caller's own, valid for it; the other is in the map of the
/// guest's memory.
pub(crate) unsafe fn copy(to: usize, from: usize, bytes: usize) -> bool {
    // SAFETY: as the caller says; a fault in the map of the guest's memory is fixed up.
    unsafe { svsm_copy(to, from, bytes) == 0 }
}

/// Fills with zeroes a number of bytes that is a multiple of 8; `false` where memory was missing.
///
/// # Safety
/// The memory is in the map of the guest's memory.
pub(crate) unsafe fn zero(at: usize, bytes: usize) -> bool {
    debug_assert!(bytes.is_multiple_of(8));
    // SAFETY: as the caller says; a fault in the map of the guest's memory is fixed up.
    unsafe { svsm_zero(at, bytes) == 0 }
}

/// Swaps a byte, atomically; `None` where memory was missing.
///
/// # Safety
/// The byte is in the map of the guest's memory.
pub(crate) unsafe fn swap_u8(at: usize, value: u8) -> Option<u8> {
    // SAFETY: as the caller says; a fault in the map of the guest's memory is fixed up.
    u8::try_from(unsafe { svsm_swap_u8(at, value) }).ok()
}
