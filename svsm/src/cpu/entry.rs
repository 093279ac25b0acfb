// SPDX-License-Identifier: MIT OR Apache-2.0
//! The trap entry: one stub for each vector, and the part that they share.
//!
//! # Soundness
//! The stubs save every general register in the layout of [`TrapFrame`], so that the interrupted
//! code can't tell that it was interrupted. They use the stack of the interrupted code, except
//! where the descriptor table names another. That an exception may nest (a
//! platform may let the host raise one at any instruction, also in the handler of that very one) is why only
//! those that never return have a stack of their own: a second one on such a stack would overwrite the frame of the first.

use super::trap::{TrapFrame, serve, vector};
use core::arch::global_asm;
use core::mem::{offset_of, size_of};

/// Number of vectors that have a stub: the exceptions. Others are not in the descriptor table, so that one
/// ends in #GP.
pub(super) const VECTORS: usize = 32;
/// Bytes from stub to stub.
const STUB_SIZE: usize = 16;

const _: () = {
    // What the code below pushes.
    assert!(size_of::<TrapFrame>() == 22 * 8);
    assert!(offset_of!(TrapFrame, vector) == 15 * 8);
};

global_asm!(
    ".pushsection .text.svsm_trap, \"ax\"",
    ".balign {stub}",
    "svsm_trap_stubs:",
    ".set vector, 0",
    ".rept {vectors}",
    "  .balign {stub}",
    // 8, 10 to 14, 17, 21, 29 and 30 have an error code (24593, 8.2).
    "  .if ((0x60227d00 >> vector) & 1) == 0",
    "    push 0",
    "  .endif",
    "  push vector",
    "  .if vector == {double_fault}",
    "    jmp svsm_trap_double_fault",
    "  .else",
    "    jmp svsm_trap_common",
    "  .endif",
    "  .set vector, vector + 1",
    ".endr",
    ".balign {stub}",
    // The end is near. What tells it may need the very page that is gone, and on its one-page stack
    // the CPU would go from double fault to double fault for ever: from here on there is no
    // descriptor table, and the next exception shuts the CPU down.
    "svsm_trap_double_fault:",
    "  push 0",
    "  push 0",
    "  lidt [rsp]",
    "  add rsp, 16",
    "svsm_trap_common:",
    "  push rax",
    "  push rbx",
    "  push rcx",
    "  push rdx",
    "  push rsi",
    "  push rdi",
    "  push rbp",
    "  push r8",
    "  push r9",
    "  push r10",
    "  push r11",
    "  push r12",
    "  push r13",
    "  push r14",
    "  push r15",
    "  cld",
    "  mov rdi, rsp",
    // A frame for the backtrace, and the alignment that calls need.
    "  mov rbp, rsp",
    "  and rsp, -16",
    "  call {serve}",
    "  mov rsp, rbp",
    "  pop r15",
    "  pop r14",
    "  pop r13",
    "  pop r12",
    "  pop r11",
    "  pop r10",
    "  pop r9",
    "  pop r8",
    "  pop rbp",
    "  pop rdi",
    "  pop rsi",
    "  pop rdx",
    "  pop rcx",
    "  pop rbx",
    "  pop rax",
    "  add rsp, 16",
    "  iretq",
    ".popsection",
    stub = const STUB_SIZE,
    vectors = const VECTORS,
    double_fault = const vector::DOUBLE_FAULT,
    serve = sym serve,
);

unsafe extern "C" {
    #[link_name = "svsm_trap_stubs"]
    static STUBS: [[u8; STUB_SIZE]; VECTORS];
}

/// Address of the stub for a vector.
pub(super) fn stub(vector: usize) -> u64 {
    let stubs = &raw const STUBS;
    stubs.addr() as u64 + (vector * STUB_SIZE) as u64
}
