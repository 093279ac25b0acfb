// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exceptions: those of a try-access become a value, every other one ends the run with a line that tells it.

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use super::instructions::SITES;
use super::interrupts;

/// An exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trap {
    /// Vector.
    pub(crate) vector: u64,
    /// Error code, 0 where there is none.
    pub(crate) code: u64,
}

// A stub for each vector: pushes a zero where the processor pushes no error code, then the vector.
global_asm!(
    ".altmacro",
    ".macro probe_stub vector",
    "probe_stub_\\vector:",
    ".if (\\vector == 8) | ((\\vector >= 10) & (\\vector <= 14)) | (\\vector == 17) | (\\vector == 21) | (\\vector == 29) | (\\vector == 30)",
    ".else",
    "push 0",
    ".endif",
    "push \\vector",
    "jmp probe_trap",
    ".endm",
    ".macro probe_address vector",
    ".quad probe_stub_\\vector",
    ".endm",
    ".set probe_vector, 0",
    ".rept 32",
    "probe_stub %probe_vector",
    ".set probe_vector, probe_vector + 1",
    ".endr",
    "probe_trap:",
    "push rax",
    "push rcx",
    "push rdx",
    "push rsi",
    "push rdi",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "lea rdi, [rsp + 72]",
    "cld",
    "call {handler}",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rdi",
    "pop rsi",
    "pop rdx",
    "pop rcx",
    "pop rax",
    "add rsp, 16",
    "iretq",
    ".section .rodata",
    ".balign 8",
    ".global probe_stubs",
    "probe_stubs:",
    ".set probe_vector, 0",
    ".rept 32",
    "probe_address %probe_vector",
    ".set probe_vector, probe_vector + 1",
    ".endr",
    ".text",
    handler = sym handler,
);

#[repr(C)]
struct Frame {
    vector: u64,
    code: u64,
    rip: u64,
}

unsafe extern "C" {
    static probe_stubs: [u64; 32];
    static probe_sites: [u64; SITES];
    static probe_failed: u8;
}

static LAST_VECTOR: AtomicU64 = AtomicU64::new(0);
static LAST_CODE: AtomicU64 = AtomicU64::new(0);

/// The exception of the last try-access that failed.
pub(crate) fn last() -> Trap {
    Trap {
        vector: LAST_VECTOR.load(Ordering::Relaxed),
        code: LAST_CODE.load(Ordering::Relaxed),
    }
}

extern "sysv64" fn handler(frame: &mut Frame) {
    LAST_VECTOR.store(frame.vector, Ordering::Relaxed);
    LAST_CODE.store(frame.code, Ordering::Relaxed);
    // SAFETY: a constant table of the instructions at which a trap is expected.
    if unsafe { probe_sites }.contains(&frame.rip) {
        frame.rip = &raw const probe_failed as u64;
    } else {
        panic!(
            "exception {} with code {:#x} at {:#x}",
            frame.vector, frame.code, frame.rip
        );
    }
}

/// Exceptions, and vectors up to that of the one interrupt.
const GATES: usize = interrupts::VECTOR as usize + 1;

#[repr(C, align(4096))]
struct Idt(UnsafeCell<[[u64; 2]; GATES]>);

// SAFETY: written by the first vCPU before any other runs, and never after.
unsafe impl Sync for Idt {}

static IDT: Idt = Idt(UnsafeCell::new([[0; 2]; GATES]));

/// Base and limit of the interrupt descriptor table.
pub(crate) fn idt() -> (u64, u16) {
    (
        IDT.0.get() as u64,
        size_of::<[[u64; 2]; GATES]>() as u16 - 1,
    )
}

/// Base and limit of the segment descriptor table that this vCPU has.
pub(crate) fn gdt() -> (u64, u16) {
    let mut pointer = [0u16; 5];
    // SAFETY: stores ten bytes, which is what the array has.
    unsafe { asm!("sgdt [{}]", in(reg) &mut pointer, options(nostack)) };
    let base = pointer[1..].iter().rev();
    let base = base.fold(0, |base, &word| base << 16 | u64::from(word));
    (base, pointer[0])
}

/// Fills the interrupt descriptor table and loads it.
pub(crate) fn install() {
    const CODE: u64 = 0x10;
    /// Present, interrupt gate.
    const GATE: u64 = 0x8E00;
    // SAFETY: the first vCPU, once; stubs and handler live as long as the probe.
    unsafe {
        let table = &mut *IDT.0.get();
        let exceptions = (0..).zip(probe_stubs);
        let interrupt = (usize::from(interrupts::VECTOR), interrupts::handler());
        for (vector, stub) in exceptions.chain([interrupt]) {
            table[vector] = [
                (stub & 0xFFFF) | (CODE << 16) | (GATE << 32) | ((stub >> 16 & 0xFFFF) << 48),
                stub >> 32,
            ];
        }
        let (base, limit) = idt();
        let mut pointer = [0u16; 5];
        pointer[0] = limit;
        for (index, word) in pointer[1..].iter_mut().enumerate() {
            *word = (base >> (16 * index)) as u16;
        }
        asm!("lidt [{}]", in(reg) &pointer, options(nostack, readonly));
    }
}
