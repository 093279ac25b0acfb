// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rates of the time-stamp counter and of the local APIC's timer, measured once against the HPET,
//! which says its own rate; and that timer, set by the counter.

use core::sync::atomic::{AtomicU64, Ordering};

use super::apic;
use super::instructions::rdtsc;
use super::physical::{read_volatile, write_volatile};

const HPET: u64 = 0xFED0_0000;
const HPET_CAPABILITIES: u64 = HPET;
const HPET_CONFIGURATION: u64 = HPET + 0x10;
const HPET_COUNTER: u64 = HPET + 0xF0;
/// The longest period that the specification allows, in femtoseconds.
const LONGEST_PERIOD: u64 = 100_000_000;
/// How long to measure: 10 ms, in femtoseconds.
const SPAN: u64 = 10_000_000_000_000;
const FEMTOSECONDS: u128 = 1_000_000_000_000_000;

static TSC_HZ: AtomicU64 = AtomicU64::new(1_000_000_000);
/// Timer ticks for each TSC tick, in 1 / 2^32.
static TIMER_PER_TSC: AtomicU64 = AtomicU64::new(1 << 32);

/// Rate of the time-stamp counter, in Hz.
pub(crate) fn tsc_hz() -> u64 {
    TSC_HZ.load(Ordering::Relaxed)
}

/// Ticks of the local APIC's timer, rounded up, that take as long as `tsc` ticks of the TSC.
fn tsc_to_timer(tsc: u64) -> u64 {
    let product = u128::from(tsc) * u128::from(TIMER_PER_TSC.load(Ordering::Relaxed));
    u64::try_from((product >> 32) + 1).unwrap_or(u64::MAX)
}

/// Raises the timer's vector at or somewhat after the time-stamp `deadline`; `None` stops the timer.
/// A deadline out of reach of the timer comes early, and whoever waits asks again.
pub(crate) fn start_timer_at(deadline: Option<u64>, now: u64) {
    match deadline {
        None => apic::start_timer(0),
        Some(deadline) => {
            let ticks = tsc_to_timer(deadline.saturating_sub(now));
            apic::start_timer(u32::try_from(ticks).unwrap_or(u32::MAX).max(1));
        }
    }
}

/// The three counters at one moment.
#[derive(Clone, Copy)]
struct Sample {
    tsc: u64,
    hpet: u64,
    timer: u32,
    /// How long the reading took, in ticks of the TSC.
    took: u64,
}

/// Reads the counters until they are read close to each other: QEMU's thread may be off its
/// processor at any moment.
fn sample() -> Sample {
    let read = || {
        let before = rdtsc();
        let hpet = read_volatile(HPET_COUNTER);
        let timer = apic::timer_ticks();
        let took = rdtsc() - before;
        Sample {
            tsc: before + took / 2,
            hpet,
            timer,
            took,
        }
    };
    (0..8).fold(read(), |best, _| {
        let next = read();
        if next.took < best.took { next } else { best }
    })
}

/// Measures both rates; false where there is no HPET, which is left stopped at 0.
pub(crate) fn calibrate() -> bool {
    let period = read_volatile::<u64>(HPET_CAPABILITIES) >> 32;
    if period == 0 || period > LONGEST_PERIOD {
        return false;
    }
    write_volatile(HPET_CONFIGURATION, 1_u64);
    apic::start_timer(u32::MAX);
    let first = sample();
    let mut last = first;
    while (last.hpet - first.hpet) * period < SPAN {
        last = sample();
    }
    apic::start_timer(0);
    write_volatile(HPET_CONFIGURATION, 0_u64);
    write_volatile(HPET_COUNTER, 0_u64);
    let tsc = u128::from(last.tsc - first.tsc);
    let span = u128::from(last.hpet - first.hpet) * u128::from(period);
    let timer = u128::from(first.timer - last.timer);
    TSC_HZ.store((tsc * FEMTOSECONDS / span) as u64, Ordering::Relaxed);
    TIMER_PER_TSC.store(((timer << 32) / tsc.max(1)) as u64, Ordering::Relaxed);
    true
}
