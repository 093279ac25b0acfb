// SPDX-License-Identifier: MIT OR Apache-2.0
//! The instructions of SEV-SNP, and the few others that the platform needs.
//!
//! # Soundness What these instructions change lies outside of what the compiler knows: the RMP,
//! translations, the host. Where one of them can change memory (VMGEXIT: pages shared with the
//! host) it counts as an access to all memory.
//!
//! PVALIDATE and RMPADJUST touch a page that the host may have taken away; then they raise #VC.
//! They lie between two symbols and use no stack, so that the trap can go on behind them.

use core::arch::{asm, global_asm};

use snp_defs::rmp::{RmpAttributes, RmpSize};

global_asm!(
    ".pushsection .text.parapet_rmp, \"ax\"",
    "parapet_rmp_begin:",
    // pvalidate(address: rdi, size: esi, validate: edx) -> rax: the result, bit 32: nothing
    // changed.
    "parapet_pvalidate:",
    "  mov rax, rdi",
    "  mov ecx, esi",
    "  .byte 0xF2, 0x0F, 0x01, 0xFF",
    "  setc cl",
    "  movzx ecx, cl",
    "  shl rcx, 32",
    "  mov eax, eax",
    "  or rax, rcx",
    "  ret",
    // rmpadjust(address: rdi, size: rsi, attributes: rdx) -> rax: the result.
    "parapet_rmpadjust:",
    "  mov rax, rdi",
    "  mov rcx, rsi",
    "  .byte 0xF3, 0x0F, 0x01, 0xFE",
    "  mov eax, eax",
    "  ret",
    "parapet_rmp_end:",
    "parapet_rmp_fault:",
    "  mov rax, -1",
    "  ret",
    ".popsection",
);

unsafe extern "C" {
    #[link_name = "parapet_rmp_begin"]
    static RMP_BEGIN: u8;
    #[link_name = "parapet_rmp_end"]
    static RMP_END: u8;
    #[link_name = "parapet_rmp_fault"]
    static RMP_FAULT: u8;
    fn parapet_pvalidate(address: usize, size: u32, validate: u32) -> u64;
    fn parapet_rmpadjust(address: usize, size: u64, attributes: u64) -> u64;
}

/// Where to go on when the page is missing under one of the two instructions at `rip`.
pub(crate) fn rmp_fixup(rip: u64) -> Option<u64> {
    let (begin, end, fault) = (
        &raw const RMP_BEGIN,
        &raw const RMP_END,
        &raw const RMP_FAULT,
    );
    (begin.addr() as u64..end.addr() as u64)
        .contains(&rip)
        .then_some(fault.addr() as u64)
}

/// PVALIDATE (24594, volume 3): makes the page mapped at `address` valid or not. The outcome is for
/// `parapet_snp::rmp`, also below.
///
/// # Safety
/// No object of Rust's lies in the page.
pub(crate) unsafe fn pvalidate(address: usize, size: RmpSize, validate: bool) -> u64 {
    // SAFETY: the contents of the page may be lost, which are nobody's.
    unsafe { parapet_pvalidate(address, size as u32, validate.into()) }
}

/// RMPADJUST (24594, volume 3): sets what a less privileged VMPL may do with the page mapped at
/// `address`, or that it is a VMSA.
///
/// # Safety Where the attributes give rights or make the page a VMSA: no object of Rust's lies in
/// it but atomics.
pub(crate) unsafe fn rmpadjust(address: usize, size: RmpSize, attributes: RmpAttributes) -> u64 {
    // SAFETY: what others may now write is atomic, or not memory of Rust's.
    unsafe { parapet_rmpadjust(address, size as u64, attributes.0) }
}

/// Returns when no CPU has a translation of this guest's that is older than the call, at any VMPL
/// (24594, volume 3: INVLPGB with the guest's ASID and global translations, TLBSYNC).
pub(crate) fn flush_all() {
    const VALID_ASID: u64 = 1 << 2;
    const INCLUDE_GLOBAL: u64 = 1 << 3;
    // SAFETY: translations are made anew from the page tables.
    unsafe {
        asm!(
            ".byte 0x0F, 0x01, 0xFE",
            ".byte 0x0F, 0x01, 0xFF",
            in("rax") VALID_ASID | INCLUDE_GLOBAL,
            in("ecx") 0,
            in("edx") 0,
            options(nostack, preserves_flags),
        );
    }
}

/// VMGEXIT with `request` in the GHCB MSR; what the MSR holds afterwards.
#[inline]
pub(crate) fn vmgexit(request: u64) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the host gets control, which can change shared memory only; the SVSM sees that as
    // atomics. A guest that runs meanwhile can change its own memory only.
    unsafe {
        asm!(
            "wrmsr",
            ".byte 0xF3, 0x0F, 0x01, 0xD9",
            "rdmsr",
            in("ecx") snp_defs::msr::GHCB,
            inout("eax") request as u32 => low,
            inout("edx") (request >> 32) as u32 => high,
            options(nostack, preserves_flags),
        );
    }
    u64::from(low) | (u64::from(high) << 32)
}

/// Reads SEV_STATUS (24593, 15.34.10), which never asks the host.
pub(crate) fn sev_status() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reading it has no effect.
    unsafe {
        asm!(
            "rdmsr",
            in("ecx") snp_defs::msr::SEV_STATUS,
            out("eax") low,
            out("edx") high,
            options(nomem, nostack, preserves_flags),
        );
    }
    u64::from(low) | (u64::from(high) << 32)
}

/// Stops this CPU until the host runs it again; interrupts are off.
#[inline]
pub(crate) fn halt() {
    // SAFETY: the CPU goes on behind it, or not at all.
    unsafe { asm!("hlt", options(nostack, preserves_flags)) };
}
