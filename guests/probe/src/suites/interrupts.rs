// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the task priority holds back, and when it comes (24593, 15.21.4 and SDM vol. 3, 11.8.3.1): a guest writes
//! CR8 without an exit, so the processor has to hold the interrupt back, and to take it, by itself.

use core::mem::offset_of;

use snp_defs::exit;
use snp_defs::ghcb::Ghcb;

use crate::machine::{ghcb, interrupts};
use crate::report::Report;

const APIC_BASE: u32 = 0x1B;
/// Enabled, in x2APIC mode.
const X2APIC: u64 = 1 << 11 | 1 << 10;
const X2APIC_EOI: u32 = 0x80B;
const X2APIC_SPURIOUS: u32 = 0x80F;
const X2APIC_SELF_IPI: u32 = 0x83F;

/// How long an interrupt may take that nothing holds back, in rounds without an exit.
const PATIENCE: u32 = 1 << 23;
/// How long one is watched that has to wait.
const WATCH: u32 = 1 << 16;

const CLASS: u8 = interrupts::VECTOR >> 4;

/// An MSR by the GHCB; `None` reads it.
fn msr(number: u32, value: Option<u64>) -> u64 {
    let mut page = ghcb::request(exit::MSR, value.is_some().into(), 0);
    let written = value.unwrap_or(0);
    page.rcx = number.into();
    (page.rax, page.rdx) = (written & 0xFFFF_FFFF, written >> 32);
    for field in [
        offset_of!(Ghcb, rcx),
        offset_of!(Ghcb, rax),
        offset_of!(Ghcb, rdx),
    ] {
        ghcb::mark(&mut page, field);
    }
    let seen = ghcb::exchange(&page);
    seen.rdx << 32 | seen.rax & 0xFFFF_FFFF
}

/// Whether one more than `before` was taken within so many rounds.
fn comes(before: u64, rounds: u32) -> bool {
    for _ in 0..rounds {
        if interrupts::taken() > before {
            return true;
        }
        core::hint::spin_loop();
    }
    false
}

/// Runs the checks.
pub(super) fn check(report: &mut Report) {
    msr(APIC_BASE, Some(msr(APIC_BASE, None) | X2APIC));
    msr(X2APIC_SPURIOUS, Some(0x1FF));

    // Held back from the start.
    let before = interrupts::taken();
    interrupts::set_task_priority(CLASS);
    msr(X2APIC_SELF_IPI, Some(interrupts::VECTOR.into()));
    interrupts::enable(true);
    let early = comes(before, WATCH);
    report.holds("an interrupt of the task's own priority waits", !early);
    interrupts::set_task_priority(CLASS - 1);
    let came = comes(before, PATIENCE);
    report.holds("and comes when CR8 falls below it, without an exit", came);
    interrupts::enable(false);
    msr(X2APIC_EOI, Some(0));

    // Free to come at the entry, and held back since.
    let before = interrupts::taken();
    msr(X2APIC_SELF_IPI, Some(interrupts::VECTOR.into()));
    interrupts::set_task_priority(CLASS);
    interrupts::enable(true);
    let early = comes(before, WATCH);
    report.holds("one that CR8 has risen to waits", !early);
    interrupts::set_task_priority(0);
    let came = comes(before, PATIENCE);
    report.holds("and comes when CR8 falls again", came);
    interrupts::enable(false);
    msr(X2APIC_EOI, Some(0));
    report.equal("each came once", interrupts::taken(), before + 1);
}
