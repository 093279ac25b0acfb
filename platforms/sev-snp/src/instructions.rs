// SPDX-License-Identifier: MIT OR Apache-2.0
//! The instructions of SEV-SNP, and the few others that the platform needs.
//!
//! # Soundness
//! What these instructions change lies outside of what the compiler knows: the RMP,
//! translations, the host. Where one of them can change memory (VMGEXIT: pages shared with the
//! host) it counts as an access to all memory.
//!
//! PVALIDATE and RMPADJUST touch a page that the host may have taken away; then they raise #VC, and
//! [`fix_up`] lets the code that meant to execute them go on with [`MISSING`] for a result.

use core::arch::asm;

use parapet_snp::rmp::{MISSING, page_result};
use snp_defs::rmp::{OPCODE_PVALIDATE, OPCODE_RMPADJUST, RmpAttributes, RmpSize};
use svsm::cpu::TrapFrame;
use svsm::platform::PageError;

/// Where the exception came from PVALIDATE or RMPADJUST, makes it look as if the instruction had
/// found the page missing; returns whether it did.
///
/// # Safety
/// `frame` is that of an exception which the processor raised for the instruction at its RIP.
pub(crate) unsafe fn fix_up(frame: &mut TrapFrame) -> bool {
    let instruction: *const [u8; 4] = core::ptr::with_exposed_provenance(frame.rip as usize);
    // SAFETY: the instruction was fetched from there, in the image's text; the end of the text is
    // padded.
    let opcode = unsafe { *instruction };
    let ours = opcode == OPCODE_PVALIDATE || opcode == OPCODE_RMPADJUST;
    if ours {
        frame.rax = MISSING.into();
        frame.rip += opcode.len() as u64;
    }
    ours
}

/// PVALIDATE (24594, volume 3): makes the page mapped at `address` valid or not.
///
/// # Safety
/// No object of Rust's lies in the page.
#[inline]
pub(crate) unsafe fn pvalidate(
    address: usize,
    size: RmpSize,
    validate: bool,
) -> Result<(), PageError> {
    let rax: usize;
    let unchanged: u8;
    // SAFETY: the contents of the page may be lost, which are nobody's.
    unsafe {
        asm!(
            ".byte 0xF2, 0x0F, 0x01, 0xFF",
            "setc {unchanged}",
            inlateout("rax") address => rax,
            in("ecx") size as u32,
            in("edx") u32::from(validate),
            unchanged = lateout(reg_byte) unchanged,
            options(nostack),
        );
    }
    page_result(rax as u32, unchanged != 0)
}

/// RMPADJUST (24594, volume 3): sets what a less privileged VMPL may do with the page mapped at
/// `address`, or that it is a VMSA.
///
/// # Safety
/// Where the attributes give rights or make the page a VMSA: no object of Rust's lies in it but
/// atomics.
#[inline]
pub(crate) unsafe fn rmpadjust(
    address: usize,
    size: RmpSize,
    attributes: RmpAttributes,
) -> Result<(), PageError> {
    let rax: usize;
    // SAFETY: what others may now write is atomic, or not memory of Rust's.
    unsafe {
        asm!(
            ".byte 0xF3, 0x0F, 0x01, 0xFE",
            inlateout("rax") address => rax,
            in("rcx") size as u64,
            in("rdx") attributes.0,
            options(nostack),
        );
    }
    page_result(rax as u32, false)
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
