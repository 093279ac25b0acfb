// SPDX-License-Identifier: MIT OR Apache-2.0
//! Descriptor tables: GDT and TSS for each CPU, one IDT for all.
//!
//! # Soundness
//! The tables of a CPU lie in its block, at an address that never changes, and are written before
//! they are loaded. The IDT is written by the boot CPU before it is loaded, and read-only once the
//! machine started.

use super::entry::{VECTORS, stub};
use super::once::Once;
use super::trap::vector;
use core::arch::asm;
use svsm_launch::per_cpu;

/// Selector of the code segment.
const CODE: u16 = 0x08;
/// Selector of the data segment.
const DATA: u16 = 0x10;
/// Selector of the TSS, which takes two places.
const TSS: u16 = 0x18;

/// Stack number in the TSS for a double fault.
const STACK_DOUBLE_FAULT: u8 = 1;
/// Stack number in the TSS for events that end the machine at any point: NMI and #MC.
const STACK_EVENT: u8 = 2;

/// Task state segment (24593, 12.2.5).
#[repr(C, packed(4))]
pub(super) struct TaskState {
    reserved: u32,
    stack_pointers: [u64; 3],
    reserved2: u64,
    interrupt_stacks: [u64; 7],
    reserved3: u64,
    reserved4: u16,
    io_map_base: u16,
}

const _: () = assert!(size_of::<TaskState>() == 104);

/// A CPU's own tables.
#[repr(C, align(16))]
pub(super) struct Tables {
    gdt: [u64; 5],
    tss: TaskState,
}

/// A gate of the IDT (24593, 4.8.4).
#[derive(Clone, Copy)]
#[repr(C)]
struct Gate {
    offset_low: u16,
    selector: u16,
    stack: u8,
    kind: u8,
    offset_middle: u16,
    offset_high: u32,
    reserved: u32,
}

impl Gate {
    fn new(handler: u64, stack: u8) -> Self {
        Self {
            offset_low: handler as u16,
            selector: CODE,
            stack,
            // Present, DPL 0, 64-bit interrupt gate.
            kind: 0x8E,
            offset_middle: (handler >> 16) as u16,
            offset_high: (handler >> 32) as u32,
            reserved: 0,
        }
    }
}

#[unsafe(link_section = ".ro_after_init")]
static IDT: Once<[Gate; VECTORS]> = Once::new();

/// Operand of LGDT and LIDT.
#[repr(C, packed(2))]
struct TablePointer {
    limit: u16,
    base: u64,
}

/// Vectors of events that can come while any stack is in use and never return.
const NMI: usize = 2;
const MACHINE_CHECK: usize = 18;

/// Fills `tables` for the CPU whose block is at `block`, and loads them and the IDT.
///
/// # Safety
/// `block` is the block of this CPU, mapped as `svsm_launch::per_cpu` says, and `tables` lies in it
/// for good. Nothing refers to the segments that were loaded before.
pub(super) unsafe fn load_tables(tables: &'static mut Tables, block: usize) {
    let top = |base: u64, size: u64| block as u64 + base + size;
    tables.tss = TaskState {
        reserved: 0,
        stack_pointers: [top(per_cpu::STACK, per_cpu::STACK_SIZE), 0, 0],
        reserved2: 0,
        interrupt_stacks: [
            top(
                per_cpu::DOUBLE_FAULT_STACK,
                per_cpu::DOUBLE_FAULT_STACK_SIZE,
            ),
            top(per_cpu::EVENT_STACK, per_cpu::EVENT_STACK_SIZE),
            0,
            0,
            0,
            0,
            0,
        ],
        reserved3: 0,
        reserved4: 0,
        // Behind the limit: no map, no port.
        io_map_base: size_of::<TaskState>() as u16,
    };
    let tss = (&raw const tables.tss).addr() as u64;
    let limit = (size_of::<TaskState>() - 1) as u64;
    tables.gdt = [
        0,
        // Code: present, long, execute and read, accessed, so that nothing writes here later.
        0x00AF_9B00_0000_FFFF,
        // Data: present, read and write, accessed.
        0x00CF_9300_0000_FFFF,
        // Available 64-bit TSS, present.
        limit | (tss & 0xFF_FFFF) << 16 | 0x89 << 40 | (tss >> 24 & 0xFF) << 56,
        tss >> 32,
    ];
    let idt = match IDT.get() {
        Some(idt) => idt,
        None => {
            let gates = core::array::from_fn(|index| {
                Gate::new(
                    stub(index),
                    match index {
                        _ if index as u64 == vector::DOUBLE_FAULT => STACK_DOUBLE_FAULT,
                        NMI | MACHINE_CHECK => STACK_EVENT,
                        _ => 0,
                    },
                )
            });
            // The boot CPU comes here alone, before there is another.
            match IDT.set(gates) {
                Ok(idt) => idt,
                Err(_) => return,
            }
        }
    };
    let gdt = TablePointer {
        limit: (size_of_val(&tables.gdt) - 1) as u16,
        base: (&raw const tables.gdt).addr() as u64,
    };
    let idt = TablePointer {
        limit: (size_of_val(idt) - 1) as u16,
        base: idt.as_ptr() as u64,
    };
    // SAFETY: the tables are complete and stay where they are. The segments have the properties that
    // the running code has anyway: 64-bit code at CPL 0, flat data. FS base and GS base are
    // not used before this, and GS base is set after it.
    unsafe {
        asm!(
            "lgdt [{gdt}]",
            "lidt [{idt}]",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "mov ss, {data:e}",
            "mov ds, {data:e}",
            "mov es, {data:e}",
            "mov fs, {null:e}",
            "mov gs, {null:e}",
            "ltr {tss:x}",
            gdt = in(reg) &gdt,
            idt = in(reg) &idt,
            code = in(reg) u64::from(CODE),
            data = in(reg) u32::from(DATA),
            null = in(reg) 0u32,
            tss = in(reg) TSS,
            scratch = out(reg) _,
        );
    }
}
