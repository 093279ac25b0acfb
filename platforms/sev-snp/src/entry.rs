// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where each CPU starts: in 64-bit mode, on the page tables of the image builder, on the stack of
//! its block.

use core::arch::naked_asm;

use svsm::cpu::{Once, address_of_block};
use svsm_launch::{LaunchInfo, MAGIC, VERSION, per_cpu};

use crate::platform::Snp;

/// `link.ld` refuses to place it where it could be written later.
#[unsafe(export_name = "parapet_platform")]
#[unsafe(link_section = ".ro_after_init")]
static PLATFORM: Once<Snp> = Once::new();

/// The boot CPU's first instruction. RDI: address of the launch page; RSP: top of the stack.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn parapet_start() -> ! {
    naked_asm!("xor ebp, ebp", "call {boot}", "ud2", boot = sym boot)
}

/// The first instruction of every other CPU. RDI: its index; RSP: top of the stack.
#[unsafe(naked)]
extern "C" fn parapet_start_secondary() -> ! {
    naked_asm!("xor ebp, ebp", "call {secondary}", "ud2", secondary = sym secondary)
}

extern "C" fn boot(launch: &'static LaunchInfo) -> ! {
    if launch.magic != MAGIC || launch.version != VERSION {
        crate::platform::end(svsm::platform::Fatal::Launch);
    }
    match PLATFORM.set(Snp::new(launch)) {
        // SAFETY: the measured VMSA starts the boot CPU here, once, with the measured launch page.
        Ok(platform) => unsafe { svsm::run::boot(platform, launch) },
        Err(_) => crate::platform::end(svsm::platform::Fatal::Panic),
    }
}

extern "C" fn secondary(cpu: usize) -> ! {
    match PLATFORM.get() {
        // SAFETY: `start_cpu` makes a VMSA for a CPU once, with its index and its own stack.
        Some(platform) => unsafe { svsm::run::secondary(platform, platform.launch(), cpu) },
        None => crate::platform::end(svsm::platform::Fatal::Panic),
    }
}

/// RIP and RSP with which CPU `cpu` starts.
pub(crate) fn secondary_start(launch: &LaunchInfo, cpu: usize) -> (u64, u64) {
    let stack = per_cpu::STACK + per_cpu::STACK_SIZE;
    let rip = parapet_start_secondary as *const () as usize;
    (rip as u64, address_of_block(launch, cpu) as u64 + stack)
}
