// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each processor has for itself: stacks, GDT, TSS, the vectors that arrived, and a pointer
//! to all this in its GS base.
//!
//! The GS base is the emulator's whenever GIF is set: VM entry and exit swap it with GIF clear.

use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicU64, Ordering};

use super::heap;
use super::instructions::wrmsr;

/// Bytes of a processor's main stack.
const STACK_SIZE: u64 = 256 << 10;
/// Bytes of a stack for double faults or for NMIs.
const EMERGENCY_STACK_SIZE: u64 = 16 << 10;

const MSR_GS_BASE: u32 = 0xC000_0101;

/// Interrupt stack table slot of double faults.
pub(crate) const IST_DOUBLE_FAULT: u8 = 1;
/// Interrupt stack table slot of NMIs.
pub(crate) const IST_NMI: u8 = 2;

/// Selector of 64-bit code.
pub(crate) const CODE_SELECTOR: u16 = 0x08;
const TSS_SELECTOR: u16 = 0x18;

#[repr(C, packed(4))]
struct TaskState {
    reserved: u32,
    rsp: [u64; 3],
    reserved1: u64,
    ist: [u64; 7],
    reserved2: u64,
    reserved3: u16,
    iomap_base: u16,
}

/// One processor.
#[repr(C)]
pub(crate) struct Processor {
    /// Its own address, for `gs:[0]`.
    this: *const Processor,
    /// Number, from 0; the same as the vCPU's.
    index: u32,
    /// Vectors that were taken and that nobody has looked at yet.
    arrived: [AtomicU64; 4],
    stack_top: u64,
    task_state: TaskState,
    gdt: [u64; 5],
}

impl Processor {
    /// Makes the block of processor `index`. It stays for ever.
    pub(crate) fn create(index: u32) -> &'static Processor {
        let stack = heap::LOW.allocate(STACK_SIZE, 4096);
        let double_fault = heap::LOW.allocate(EMERGENCY_STACK_SIZE, 4096) + EMERGENCY_STACK_SIZE;
        let nmi = heap::LOW.allocate(EMERGENCY_STACK_SIZE, 4096) + EMERGENCY_STACK_SIZE;
        let address = heap::LOW.allocate(size_of::<Processor>() as u64, 4096);
        let pointer = address as *mut Processor;
        let base = address + core::mem::offset_of!(Processor, task_state) as u64;
        let limit = size_of::<TaskState>() as u64 - 1;
        // SAFETY: fresh pages of our own, mapped one to one; written before anyone refers to them.
        unsafe {
            pointer.write(Processor {
                this: pointer,
                index,
                arrived: [const { AtomicU64::new(0) }; 4],
                stack_top: stack + STACK_SIZE,
                task_state: TaskState {
                    reserved: 0,
                    rsp: [0; 3],
                    reserved1: 0,
                    ist: [double_fault, nmi, 0, 0, 0, 0, 0],
                    reserved2: 0,
                    reserved3: 0,
                    iomap_base: size_of::<TaskState>() as u16,
                },
                gdt: [
                    0,
                    0x00AF_9B00_0000_FFFF,
                    0x00CF_9300_0000_FFFF,
                    // An available 64-bit TSS.
                    limit
                        | ((base & 0xFF_FFFF) << 16)
                        | (0x89 << 40)
                        | (((base >> 24) & 0xFF) << 56),
                    base >> 32,
                ],
            });
            &*pointer
        }
    }

    /// The processor that executes this.
    pub(crate) fn current() -> &'static Processor {
        let this: *const Processor;
        // SAFETY: GS points to the block of this processor (module comment), which is never freed.
        unsafe {
            asm!("mov {}, gs:[0]", out(reg) this, options(nostack, preserves_flags, readonly));
            &*this
        }
    }

    /// Number, from 0.
    pub(crate) const fn index(&self) -> u32 {
        self.index
    }

    /// Where the main stack starts.
    pub(crate) const fn stack_top(&self) -> u64 {
        self.stack_top
    }

    /// Loads segments and stacks of this processor, which executes this.
    /// [`super::traps::activate`] does, and adds the handlers.
    pub(super) fn load_segments(&'static self) {
        let gdtr: (u16, [u8; 8]) = (
            size_of_val(&self.gdt) as u16 - 1,
            (self.gdt.as_ptr() as u64).to_le_bytes(),
        );
        let mut pointer = [0_u8; 10];
        pointer[..2].copy_from_slice(&gdtr.0.to_le_bytes());
        pointer[2..].copy_from_slice(&gdtr.1);
        // SAFETY: the table lives for ever and has, at the same selectors, the same code and data
        // segments as the one it replaces; its TSS has valid stacks. GS is ours by contract.
        unsafe {
            asm!("lgdt [{}]", in(reg) &raw const pointer, options(nostack, readonly));
            asm!("ltr {:x}", in(reg) TSS_SELECTOR, options(nostack));
            wrmsr(MSR_GS_BASE, self as *const Self as u64);
        }
    }

    /// Notes that `vector` was taken. Called by the interrupt handler.
    pub(crate) fn note_arrival(&self, vector: u8) {
        self.arrived[usize::from(vector / 64)].fetch_or(1 << (vector % 64), Ordering::Relaxed);
    }

    /// The highest vector that was noted, which is the one in service with the highest priority.
    pub(crate) fn take_arrival(&self) -> Option<u8> {
        for (word, bits) in self.arrived.iter().enumerate().rev() {
            let value = bits.load(Ordering::Relaxed);
            if value != 0 {
                let bit = 63 - value.leading_zeros();
                bits.fetch_and(!(1 << bit), Ordering::Relaxed);
                return Some(word as u8 * 64 + bit as u8);
            }
        }
        None
    }
}

/// Continues with `function(argument)` on a fresh stack.
///
/// # Safety
/// `stack_top` is the end of memory that nobody else uses, 16-byte aligned.
#[unsafe(naked)]
pub(crate) unsafe extern "sysv64" fn continue_on_stack(
    stack_top: u64,
    function: extern "sysv64" fn() -> !,
) -> ! {
    naked_asm!("mov rsp, rdi", "xor ebp, ebp", "call rsi", "ud2")
}
