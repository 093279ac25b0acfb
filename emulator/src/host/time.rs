// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rates of the time-stamp counter and of the local APIC's timer, measured once against the PIT,
//! whose rate is the same on every PC.

use core::sync::atomic::{AtomicU64, Ordering};

use super::apic;
use super::instructions::{in8, out8, rdtsc};

/// Rate of the PIT, in Hz.
const PIT_HZ: u64 = 1_193_182;
/// How long to measure: 5 ms.
const PIT_COUNT: u64 = PIT_HZ / 200;

static TSC_HZ: AtomicU64 = AtomicU64::new(1_000_000_000);
/// Timer ticks for each TSC tick, in 1 / 2^32.
static TIMER_PER_TSC: AtomicU64 = AtomicU64::new(1 << 32);

/// Rate of the time-stamp counter, in Hz.
pub(crate) fn tsc_hz() -> u64 {
    TSC_HZ.load(Ordering::Relaxed)
}

/// Ticks of the local APIC's timer, rounded up, that take as long as `tsc` ticks of the TSC.
pub(crate) fn tsc_to_timer(tsc: u64) -> u64 {
    let product = u128::from(tsc) * u128::from(TIMER_PER_TSC.load(Ordering::Relaxed));
    u64::try_from((product >> 32) + 1).unwrap_or(u64::MAX)
}

/// Measures both rates with channel 2 of the PIT, which is left stopped.
pub(crate) fn calibrate() {
    const PORT_CONTROL: u16 = 0x43;
    const PORT_CHANNEL_2: u16 = 0x42;
    const PORT_SYSTEM: u16 = 0x61;
    let saved = in8(PORT_SYSTEM);
    // Gate low, speaker off; mode 0, then the count, then the gate: the count starts.
    out8(PORT_SYSTEM, saved & !3);
    out8(PORT_CONTROL, 0b1011_0000);
    out8(PORT_CHANNEL_2, PIT_COUNT as u8);
    out8(PORT_CHANNEL_2, (PIT_COUNT >> 8) as u8);
    apic::start_timer(u32::MAX);
    let ticks_start = apic::timer_ticks();
    let tsc_start = rdtsc();
    out8(PORT_SYSTEM, (saved & !3) | 1);
    while in8(PORT_SYSTEM) & 0x20 == 0 {
        core::hint::spin_loop();
    }
    let tsc = rdtsc() - tsc_start;
    let ticks = u64::from(ticks_start - apic::timer_ticks());
    apic::start_timer(0);
    out8(PORT_SYSTEM, saved);
    TSC_HZ.store(tsc * PIT_HZ / PIT_COUNT, Ordering::Relaxed);
    TIMER_PER_TSC.store((ticks << 32) / tsc.max(1), Ordering::Relaxed);
}
