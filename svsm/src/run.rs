// SPDX-License-Identifier: MIT OR Apache-2.0
//! The start of each CPU, and the one loop: enter the guest, take its exit, serve it, enter again.

use crate::cpu;
use crate::fatal;
use crate::platform::{Fatal, Platform};
use svsm_launch::LaunchInfo;

/// Starts the SVSM on the boot CPU, and the guest; never returns.
///
/// The platform's entry code calls it first thing, on the stack of CPU 0's block, with the page tables of the
/// image builder in force, interrupts off, and nothing of the region written before but `platform`.
///
/// # Safety
/// Called once, on the boot CPU, and `launch` is the measured launch page.
pub unsafe fn boot<P: Platform>(platform: &'static P, launch: &'static LaunchInfo) -> ! {
    // SAFETY: the boot CPU is number 0, and the caller vouches for the launch page.
    unsafe { cpu::adopt(launch, 0) };
    fatal::set_host(platform);
    start_here(platform, 0);
    fatal::end(
        Fatal::Features,
        format_args!("the rest of the start is not written yet"),
    )
}

/// Starts the SVSM on another CPU, which [`Platform::start_cpu`] had started; never returns.
///
/// # Safety
/// Called once on each CPU, on the stack of its block, with the index that `start_cpu` was given.
pub unsafe fn secondary<P: Platform>(
    platform: &'static P,
    launch: &'static LaunchInfo,
    cpu: usize,
) -> ! {
    // SAFETY: the caller vouches for the index and the launch page.
    unsafe { cpu::adopt(launch, cpu) };
    start_here(platform, cpu);
    fatal::end(
        Fatal::Features,
        format_args!("the rest of the start is not written yet"),
    )
}

/// What every CPU does before anything else.
fn start_here<P: Platform>(platform: &'static P, cpu: usize) {
    if let Err(reason) = platform.start_here(cpu) {
        fatal::end(reason, format_args!("CPU {cpu} can't start"));
    }
    if !cpu::harden(platform.cpuid(7, 0), platform.cpuid(0x8000_0001, 0)) {
        fatal::end(Fatal::Features, format_args!("the processor has no NX"));
    }
}
