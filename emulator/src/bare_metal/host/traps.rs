// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exceptions and interrupts of the emulator itself.
//!
//! An interrupt is only noted ([`Processor::note_arrival`]): the run loop sees to it. The
//! emulator's own vectors are ended here. An exception is a fault of the emulator and ends the run.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, Ordering};

use spin::Once;

use super::apic;
use super::cpu::{CODE_SELECTOR, IST_DOUBLE_FAULT, IST_NMI, Processor};
use super::instructions::halt_forever;
use super::vectors::{FIRST_GUEST_VECTOR, VECTOR_KICK, VECTOR_SPURIOUS, VECTOR_TIMER};

const VECTOR_NMI: u64 = 2;
const VECTOR_DOUBLE_FAULT: usize = 8;

/// Set when the run is ending: an NMI then stops the processor that takes it.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// Registers at a trap.
#[repr(C)]
#[derive(Debug)]
struct Frame {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rbp: u64,
    rdi: u64,
    rsi: u64,
    rdx: u64,
    rcx: u64,
    rbx: u64,
    rax: u64,
    vector: u64,
    error_code: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

global_asm!(
    r#"
    .section .text.traps, "ax"
    .balign 16
    .global trap_stubs
trap_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    // Exceptions that push an error code themselves (24593, table 8-1); vectors 29 and 30 come as
    // interrupts only.
    .if (vector != 8) && ((vector < 10) || (vector > 14)) && (vector != 17) && (vector != 21)
    push 0
    .endif
    push vector
    jmp trap_common
    .set vector, vector + 1
    .endr

trap_common:
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    mov rdi, rsp
    call trap_handler
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    add rsp, 16
    iretq
    .text
    "#
);

unsafe extern "C" {
    static trap_stubs: u8;
}

#[repr(C, align(16))]
struct Table([u128; 256]);

static TABLE: Once<Table> = Once::new();

fn build() -> Table {
    let mut table = Table([0; 256]);
    for (vector, entry) in table.0.iter_mut().enumerate() {
        let handler = &raw const trap_stubs as u64 + 16 * vector as u64;
        let stack = match vector {
            2 => IST_NMI,
            VECTOR_DOUBLE_FAULT => IST_DOUBLE_FAULT,
            _ => 0,
        };
        *entry = u128::from(handler & 0xFFFF)
            | (u128::from(CODE_SELECTOR) << 16)
            | (u128::from(stack) << 32)
            // Present interrupt gate.
            | (0x8E << 40)
            | (u128::from((handler >> 16) & 0xFFFF) << 48)
            | (u128::from(handler >> 32) << 64);
    }
    table
}

/// Loads the tables of `processor`, which executes this; from here on its traps are handled.
pub(crate) fn activate(processor: &'static Processor) {
    processor.load_segments();
    load();
}

/// Loads the interrupt descriptor table on this processor.
fn load() {
    let table = TABLE.call_once(build);
    let mut pointer = [0_u8; 10];
    pointer[..2].copy_from_slice(&(size_of::<Table>() as u16 - 1).to_le_bytes());
    pointer[2..].copy_from_slice(&(&raw const *table as u64).to_le_bytes());
    // SAFETY: the table lives for ever and its entries lead to stubs that keep all registers.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(nostack, readonly)) };
}

/// From now on an NMI stops the processor that takes it.
pub(crate) fn stop_on_nmi() {
    STOPPING.store(true, Ordering::SeqCst);
}

#[unsafe(no_mangle)]
extern "sysv64" fn trap_handler(frame: &Frame) {
    match frame.vector {
        VECTOR_NMI if STOPPING.load(Ordering::SeqCst) => halt_forever(),
        // Nobody else sends NMIs; QEMU's monitor can.
        VECTOR_NMI => {}
        vector if vector >= u64::from(FIRST_GUEST_VECTOR) => {
            Processor::current().note_arrival(vector as u8);
        }
        vector if vector == u64::from(VECTOR_KICK) || vector == u64::from(VECTOR_TIMER) => {
            apic::end_of_interrupt();
        }
        vector if vector == u64::from(VECTOR_SPURIOUS) => {}
        _ => {
            let cr2: u64;
            // SAFETY: reads a register.
            unsafe { asm!("mov {}, cr2", out(reg) cr2, options(nomem, nostack)) };
            panic!("exception in the emulator, CR2 {cr2:#x}: {frame:#x?}");
        }
    }
}
