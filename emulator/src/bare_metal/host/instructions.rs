// SPDX-License-Identifier: MIT OR Apache-2.0
//! Single instructions that Rust has no words for.

use core::arch::asm;

/// Reads a byte from a port.
pub(crate) fn in8(port: u16) -> u8 {
    let value: u8;
    // SAFETY: port I/O touches no memory of ours; DMA of devices reaches only the memory that a
    // driver named, and the emulator names none but its own fw_cfg descriptors.
    unsafe { asm!("in al, dx", out("al") value, in("dx") port, options(nomem, nostack)) };
    value
}

/// Reads a word from a port.
pub(crate) fn in16(port: u16) -> u16 {
    let value: u16;
    // SAFETY: as for `in8`.
    unsafe { asm!("in ax, dx", out("ax") value, in("dx") port, options(nomem, nostack)) };
    value
}

/// Reads a double word from a port.
pub(crate) fn in32(port: u16) -> u32 {
    let value: u32;
    // SAFETY: as for `in8`.
    unsafe { asm!("in eax, dx", out("eax") value, in("dx") port, options(nomem, nostack)) };
    value
}

/// Writes a byte to a port. Memory accesses are not moved across it: it may start a DMA.
pub(crate) fn out8(port: u16, value: u8) {
    // SAFETY: as for `in8`.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nostack)) };
}

/// Writes a word to a port.
pub(crate) fn out16(port: u16, value: u16) {
    // SAFETY: as for `in8`.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nostack)) };
}

/// Writes a double word to a port.
pub(crate) fn out32(port: u16, value: u32) {
    // SAFETY: as for `in8`.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack)) };
}

/// Reads a model-specific register.
pub(crate) fn rdmsr(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reading a register changes nothing; a number that does not exist raises #GP, which
    // ends the run with a report.
    unsafe {
        asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high, options(nomem, nostack));
    }
    u64::from(low) | (u64::from(high) << 32)
}

/// Writes a model-specific register.
///
/// # Safety
/// The write must leave the emulator's own execution as Rust expects it (paging, stacks, GS base).
pub(crate) unsafe fn wrmsr(number: u32, value: u64) {
    // SAFETY: the caller's contract.
    unsafe {
        asm!("wrmsr", in("ecx") number, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack));
    }
}

/// The time-stamp counter.
pub(crate) fn rdtsc() -> u64 {
    // SAFETY: available on every 64-bit processor, touches nothing.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// CPUID: EAX, EBX, ECX, EDX.
pub(crate) fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let result = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [result.eax, result.ebx, result.ecx, result.edx]
}

/// Sets the global interrupt flag.
pub(crate) fn stgi() {
    // SAFETY: what was held pending is taken by our own handlers, which keep all registers.
    unsafe { asm!("stgi", options(nostack)) };
}

/// Clears the global interrupt flag.
pub(crate) fn clgi() {
    // SAFETY: only holds interrupts pending.
    unsafe { asm!("clgi", options(nostack)) };
}

/// Takes every interrupt that is pending now.
pub(crate) fn interrupt_window() {
    // SAFETY: the handlers keep all registers and only note the vector.
    unsafe { asm!("sti", "nop", "nop", "cli", options(nostack)) };
}

/// Sleeps until an interrupt; one that is pending already is taken at once.
pub(crate) fn wait_for_interrupt() {
    // SAFETY: as for `interrupt_window`; HLT in the shadow of STI can't miss what is pending.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}

/// Stops this processor for good.
pub(crate) fn halt_forever() -> ! {
    loop {
        // SAFETY: no return.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
