// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first instructions of each vCPU: a stack, then Rust.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a stack.
const STACK_SIZE: usize = 0x8000;

#[repr(C, align(4096))]
struct Stacks(UnsafeCell<[[u8; STACK_SIZE]; 4]>);

// SAFETY: each vCPU has a stack of its own, and nothing else refers to them.
unsafe impl Sync for Stacks {}

static STACKS: Stacks = Stacks(UnsafeCell::new([[0; STACK_SIZE]; 4]));

// RSI has the boot parameters; a further vCPU has its number in RDI, and its VMSA set its stack.
global_asm!(
    ".section .boot, \"ax\"",
    ".global probe_start",
    "probe_start:",
    "cld",
    "mov rdi, rsi",
    "lea rsp, [{stacks} + {size}]",
    "xor ebp, ebp",
    "call {main}",
    "ud2",
    ".global probe_start_further",
    "probe_start_further:",
    "cld",
    "xor ebp, ebp",
    "call {further}",
    "ud2",
    ".text",
    stacks = sym STACKS,
    size = const STACK_SIZE,
    main = sym crate::boot::main,
    further = sym further,
);

unsafe extern "C" {
    static probe_start_further: u8;
}

/// Where a further vCPU starts.
pub(crate) fn further_rip() -> u64 {
    &raw const probe_start_further as u64
}

/// Top of the stack of vCPU `index`.
pub(crate) fn stack_top(index: usize) -> u64 {
    assert!(index < 4, "the probe has four stacks");
    STACKS.0.get() as u64 + ((index + 1) * STACK_SIZE) as u64
}

static WORK: AtomicU64 = AtomicU64::new(0);

/// What a further vCPU does: called once, with its number, and it never returns.
pub(crate) type Work = fn(usize) -> !;

/// Sets what further vCPUs do, before one is started.
pub(crate) fn set_work(work: Work) {
    WORK.store(work as usize as u64, Ordering::Release);
}

extern "sysv64" fn further(index: usize) -> ! {
    let work = WORK.load(Ordering::Acquire) as usize;
    assert!(work != 0, "a vCPU started that nobody has work for");
    // SAFETY: the only value ever stored is a `Work`.
    let work: Work = unsafe { core::mem::transmute(work) };
    work(index)
}
