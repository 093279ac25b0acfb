// SPDX-License-Identifier: MIT OR Apache-2.0
//! The world switch.

use core::arch::{asm, naked_asm};

use emulator::vmcb::Gprs;

use super::block::Block;
use crate::host::heap::LOW;
use crate::host::instructions::stgi;

/// Instructions between the two readings of the time-stamp counter that are not the guest's: the
/// first reading, what follows it up to VMRUN, and one after #VMEXIT. Under `-icount shift=0` each is one tick.
pub(crate) const OVERHEAD: u64 = 9;

/// The page in which a processor keeps its own FS, GS, TR and system call registers while a guest
/// has them.
pub(crate) struct HostState(u64);

impl HostState {
    /// The state of the calling processor, which does not change from now on.
    pub(crate) fn save() -> Self {
        let page = LOW.allocate(4096, 4096);
        // SAFETY: a fresh page of our own.
        unsafe { asm!("vmsave rax", in("rax") page, options(nostack)) };
        Self(page)
    }
}

/// Time-stamps around the guest's execution.
#[repr(C)]
#[derive(Default, Clone, Copy)]
pub(crate) struct Times {
    /// Right before VMRUN.
    pub(crate) entry: u64,
    /// Right after #VMEXIT.
    pub(crate) exit: u64,
}

impl Times {
    /// Ticks that the guest executed.
    pub(crate) const fn guest(&self) -> u64 {
        (self.exit - self.entry).saturating_sub(OVERHEAD)
    }
}

/// Runs the guest until the next exit. The caller has cleared GIF; it is set again afterwards, with
/// interrupts still disabled.
pub(crate) fn enter(block: &mut Block, gprs: &mut Gprs, host: &HostState) -> Times {
    let mut times = Times::default();
    // SAFETY: the control block is a whole page of this processor's, with nested paging on and
    // tables that lead to guest memory only, so nothing that the guest does reaches the emulator's
    // memory; intercepts keep what is not swapped here from it. GIF is clear, so nobody sees
    // the guest's GS base, and `host` has the emulator's.
    unsafe { world_switch(block.address(), host.0, gprs, &mut times) };
    stgi();
    times
}

/// Arguments: control block, host state page, general registers, time-stamps.
#[unsafe(naked)]
unsafe extern "sysv64" fn world_switch(block: u64, host: u64, gprs: *mut Gprs, times: *mut Times) {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        // [rsp] block, 8 host, 16 registers, 24 time-stamps, 32 scratch
        "sub rsp, 40",
        "mov [rsp], rdi",
        "mov [rsp + 8], rsi",
        "mov [rsp + 16], rdx",
        "mov [rsp + 24], rcx",
        "mov rax, rdi",
        "vmload rax",
        "mov rdx, [rsp + 16]",
        "mov rbx, [rdx + 16]",
        "mov rbp, [rdx + 24]",
        "mov rsi, [rdx + 32]",
        "mov rdi, [rdx + 40]",
        "mov r8, [rdx + 48]",
        "mov r9, [rdx + 56]",
        "mov r10, [rdx + 64]",
        "mov r11, [rdx + 72]",
        "mov r12, [rdx + 80]",
        "mov r13, [rdx + 88]",
        "mov r14, [rdx + 96]",
        "mov r15, [rdx + 104]",
        // With the host's RFLAGS.IF set a physical interrupt ends the guest's run; it stays
        // pending until GIF is set again.
        "sti",
        "mov rcx, [rsp + 24]",
        "rdtsc",
        "mov [rcx], eax",
        "mov [rcx + 4], edx",
        "mov rdx, [rsp + 16]",
        "mov rcx, [rdx]",
        "mov rdx, [rdx + 8]",
        "mov rax, [rsp]",
        "vmrun rax",
        "mov [rsp + 32], rdx",
        "rdtsc",
        "cli",
        "xchg rcx, [rsp + 24]",
        "mov [rcx + 8], eax",
        "mov [rcx + 12], edx",
        "mov rcx, [rsp + 24]",
        "mov rdx, [rsp + 16]",
        "mov [rdx], rcx",
        "mov rcx, [rsp + 32]",
        "mov [rdx + 8], rcx",
        "mov [rdx + 16], rbx",
        "mov [rdx + 24], rbp",
        "mov [rdx + 32], rsi",
        "mov [rdx + 40], rdi",
        "mov [rdx + 48], r8",
        "mov [rdx + 56], r9",
        "mov [rdx + 64], r10",
        "mov [rdx + 72], r11",
        "mov [rdx + 80], r12",
        "mov [rdx + 88], r13",
        "mov [rdx + 96], r14",
        "mov [rdx + 104], r15",
        "mov rax, [rsp]",
        "vmsave rax",
        "mov rax, [rsp + 8]",
        "vmload rax",
        "add rsp, 40",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
    )
}
