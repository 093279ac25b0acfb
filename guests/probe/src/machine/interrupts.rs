// SPDX-License-Identifier: MIT OR Apache-2.0
//! One interrupt: its handler counts, and the task priority and RFLAGS.IF decide when it is taken.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering};

/// Its vector.
pub(crate) const VECTOR: u8 = 0x51;

global_asm!(
    "probe_interrupt:",
    "lock inc qword ptr [rip + {taken}]",
    "iretq",
    taken = sym TAKEN,
);

unsafe extern "C" {
    static probe_interrupt: u8;
}

static TAKEN: AtomicU64 = AtomicU64::new(0);

/// How often it was taken.
pub(crate) fn taken() -> u64 {
    TAKEN.load(Ordering::SeqCst)
}

/// Address of its handler.
pub(super) fn handler() -> u64 {
    &raw const probe_interrupt as u64
}

/// Sets CR8, the task priority: only vectors of a class (bits 7:4) above it are taken.
pub(crate) fn set_task_priority(class: u8) {
    // SAFETY: decides when the handler above runs, and nothing else.
    unsafe { asm!("mov cr8, {}", in(reg) u64::from(class & 0xF)) };
}

/// Sets or clears RFLAGS.IF.
pub(crate) fn enable(on: bool) {
    // SAFETY: the handler of the one interrupt that comes keeps every register, and the probe's code
    // leaves what is below the stack pointer alone (its target has no red zone).
    unsafe {
        if on {
            asm!("sti", "nop");
        } else {
            asm!("cli");
        }
    }
}
