// SPDX-License-Identifier: MIT OR Apache-2.0
//! Instructions that may fault: loads and stores, the RMP's instructions (24593 volume 3), and those
//! that raise #VC. An exception becomes a value.
//!
//! Each lies in a function of its own that uses no stack, so that the trap handler can resume any of them
//! at one common exit. RDX tells how it went: 0 or 1 is the carry flag, 2 an exception.

use core::arch::{asm, global_asm};

use snp_defs::rmp::{RmpAttributes, RmpSize};

use super::traps::{self, Trap};

global_asm!(
    ".global probe_sites, probe_failed",
    "probe_load:",
    "1: mov rax, [rdi]",
    "xor edx, edx",
    "ret",
    "probe_store:",
    "2: mov [rdi], rsi",
    "xor edx, edx",
    "ret",
    "probe_pvalidate:",
    "mov rax, rdi",
    "mov ecx, esi",
    "xor r8d, r8d",
    "3: .byte 0xF2, 0x0F, 0x01, 0xFF",
    "setc r8b",
    "mov edx, r8d",
    "ret",
    "probe_rmpadjust:",
    "mov rax, rdi",
    "mov ecx, esi",
    "4: .byte 0xF3, 0x0F, 0x01, 0xFE",
    "xor edx, edx",
    "ret",
    "probe_rmpquery:",
    "mov rax, rdi",
    "mov ecx, esi",
    "mov r9, rdx",
    "mov rdx, [r9]",
    "5: .byte 0xF3, 0x0F, 0x01, 0xFD",
    "mov [r9], rdx",
    "mov [r9 + 8], rcx",
    "xor edx, edx",
    "ret",
    "probe_invlpgb:",
    "mov rax, rdi",
    "mov ecx, esi",
    "6: .byte 0x0F, 0x01, 0xFE",
    "xor edx, edx",
    "ret",
    "probe_tlbsync:",
    "7: .byte 0x0F, 0x01, 0xFF",
    "xor edx, edx",
    "ret",
    "probe_rdmsr:",
    "mov ecx, edi",
    "8: rdmsr",
    "shl rdx, 32",
    "or rax, rdx",
    "xor edx, edx",
    "ret",
    "probe_cpuid:",
    "mov eax, edi",
    "mov ecx, esi",
    "mov r8, rbx",
    "9: cpuid",
    "mov rbx, r8",
    "xor edx, edx",
    "ret",
    "probe_failed:",
    "mov edx, 2",
    "ret",
    ".section .rodata",
    ".balign 8",
    "probe_sites:",
    ".quad 1b, 2b, 3b, 4b, 5b, 6b, 7b, 8b, 9b",
    ".text",
);

/// How many places there are at which a trap is expected.
pub(super) const SITES: usize = 9;

#[repr(C)]
struct Outcome {
    value: u64,
    state: u64,
}

impl Outcome {
    /// RAX and the carry flag, or the exception.
    fn result(self) -> Result<(u64, bool), Trap> {
        if self.state == 2 {
            Err(traps::last())
        } else {
            Ok((self.value, self.state == 1))
        }
    }
}

unsafe extern "sysv64" {
    fn probe_load(address: u64) -> Outcome;
    fn probe_store(address: u64, value: u64) -> Outcome;
    fn probe_pvalidate(address: u64, size: u64, validate: u64) -> Outcome;
    fn probe_rmpadjust(address: u64, size: u64, attributes: u64) -> Outcome;
    fn probe_rmpquery(address: u64, size: u64, attributes: *mut [u64; 2]) -> Outcome;
    fn probe_invlpgb(rax: u64, ecx: u64, edx: u64) -> Outcome;
    fn probe_tlbsync() -> Outcome;
    fn probe_rdmsr(number: u32) -> Outcome;
    fn probe_cpuid(leaf: u32, subleaf: u32) -> Outcome;
}

/// A load of eight bytes.
pub(crate) fn load(address: u64) -> Result<u64, Trap> {
    // SAFETY: loads eight bytes; a fault is caught and told.
    unsafe { probe_load(address) }
        .result()
        .map(|(value, _)| value)
}

/// A store of eight bytes to scratch memory.
pub(crate) fn store(address: u64, value: u64) -> Result<(), Trap> {
    assert!(
        address >= crate::scratch::SCRATCH,
        "only scratch memory is stored to"
    );
    // SAFETY: scratch memory holds nothing that Rust knows of; a fault is caught and told.
    unsafe { probe_store(address, value) }.result().map(|_| ())
}

/// PVALIDATE: EAX and the carry flag.
pub(crate) fn pvalidate(address: u64, size: RmpSize, validate: bool) -> Result<(u64, bool), Trap> {
    assert!(
        address >= crate::scratch::SCRATCH,
        "only scratch memory changes its state"
    );
    // SAFETY: scratch memory holds nothing that Rust knows of, so it may come and go.
    unsafe { probe_pvalidate(address, size as u64, u64::from(validate)) }.result()
}

/// RMPADJUST: EAX.
pub(crate) fn rmpadjust(
    address: u64,
    size: RmpSize,
    attributes: RmpAttributes,
) -> Result<u64, Trap> {
    // SAFETY: changes what less privileged VMPLs may do, never what the probe itself may.
    unsafe { probe_rmpadjust(address, size as u64, attributes.0) }
        .result()
        .map(|(eax, _)| eax)
}

/// RMPQUERY: EAX, then RDX and RCX.
pub(crate) fn rmpquery(address: u64, vmpl: u64) -> Result<(u64, u64, u64), Trap> {
    let mut registers = [vmpl, 0];
    // SAFETY: reads an RMP entry; the two words live for the call.
    let outcome = unsafe { probe_rmpquery(address, 0, &mut registers) };
    outcome
        .result()
        .map(|(eax, _)| (eax, registers[0], registers[1]))
}

/// INVLPGB with these registers.
pub(crate) fn invlpgb(rax: u64, ecx: u32, edx: u32) -> Result<(), Trap> {
    // SAFETY: drops translations, which are always made again from the tables.
    unsafe { probe_invlpgb(rax, u64::from(ecx), u64::from(edx)) }
        .result()
        .map(|_| ())
}

/// TLBSYNC.
pub(crate) fn tlbsync() -> Result<(), Trap> {
    // SAFETY: waits.
    unsafe { probe_tlbsync() }.result().map(|_| ())
}

/// RDMSR.
pub(crate) fn rdmsr(number: u32) -> Result<u64, Trap> {
    // SAFETY: reads a register; a fault is caught and told.
    unsafe { probe_rdmsr(number) }
        .result()
        .map(|(value, _)| value)
}

/// CPUID by the instruction: EAX.
pub(crate) fn cpuid(leaf: u32, subleaf: u32) -> Result<u64, Trap> {
    // SAFETY: RBX is kept in R8; a fault is caught and told.
    unsafe { probe_cpuid(leaf, subleaf) }
        .result()
        .map(|(eax, _)| eax)
}

/// Waits with interrupts disabled: for ever, unless the host wills otherwise.
pub(crate) fn halt() {
    // SAFETY: changes nothing but when the next instruction executes.
    unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
}
