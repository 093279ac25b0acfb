// SPDX-License-Identifier: MIT OR Apache-2.0
//! What belongs to one CPU: the data page of its block, found by GS base.
//!
//! # Soundness
//! GS base is set once on each CPU, to its own data page, before anything reads it.

use super::descriptors::Tables;
use core::arch::asm;
use core::mem::offset_of;
use core::ops::Range;
use svsm_launch::{LaunchInfo, REGION_VA, per_cpu};

/// The data page. Only its own CPU uses it.
#[repr(C)]
struct Data {
    index: usize,
    tables: Tables,
}

const _: () = assert!(size_of::<Data>() as u64 <= per_cpu::DATA_SIZE);

/// MSR that holds GS base.
const GS_BASE: u32 = 0xC000_0101;

/// Virtual address of the block of CPU `cpu`, whose parts `svsm_launch::per_cpu` names.
pub fn address_of_block(launch: &LaunchInfo, cpu: usize) -> usize {
    (REGION_VA + (launch.per_cpu.base - launch.region.base) + cpu as u64 * per_cpu::SIZE) as usize
}

/// Index of this CPU. Not before [`crate::platform::Platform::start_here`].
pub fn index() -> usize {
    let index;
    // SAFETY: GS base points to this CPU's data page, which no one changes after the start.
    unsafe {
        asm!(
            "mov {index}, gs:[{offset}]",
            index = out(reg) index,
            offset = const offset_of!(Data, index),
            options(nostack, preserves_flags, readonly),
        );
    }
    index
}

/// The stack of this CPU; empty before the CPU is one of the SVSM's.
pub(super) fn stack() -> Range<u64> {
    let (low, high): (u32, u32);
    // SAFETY: reads a register that every processor has.
    unsafe {
        asm!(
            "rdmsr",
            in("ecx") GS_BASE,
            out("eax") low,
            out("edx") high,
            options(nomem, nostack, preserves_flags),
        );
    }
    match (u64::from(high) << 32 | u64::from(low)).checked_sub(per_cpu::DATA) {
        Some(block) => block + per_cpu::STACK..block + per_cpu::STACK + per_cpu::STACK_SIZE,
        None => 0..0,
    }
}

/// Makes this CPU the one with index `cpu`: descriptor tables, GS base.
///
/// # Safety
/// Once on each CPU, with an index that no other CPU has, while `launch` describes how the region
/// is mapped.
pub(crate) unsafe fn adopt(launch: &LaunchInfo, cpu: usize) {
    let block = address_of_block(launch, cpu);
    let data = (block + per_cpu::DATA as usize) as *mut Data;
    // SAFETY: the page is mapped writable, zeroed, aligned, and this CPU's alone; zeroes are a
    // value of the type.
    let data = unsafe { &mut *data };
    data.index = cpu;
    let base = (&raw const *data).addr() as u64;
    // SAFETY: `block` is this CPU's, and the tables lie in it.
    unsafe { super::descriptors::load_tables(&mut data.tables, block) };
    // SAFETY: the page stays where it is, and holds the index at its start.
    unsafe {
        asm!(
            "wrmsr",
            in("ecx") GS_BASE,
            in("eax") base as u32,
            in("edx") (base >> 32) as u32,
            options(nostack, preserves_flags),
        );
    }
}
