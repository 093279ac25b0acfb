// SPDX-License-Identifier: MIT OR Apache-2.0
//! The local APIC against the manual: one file a section.

mod ipi;
mod modes;
mod priority;
mod timer;

use super::{Effect, Lapic, Posted};

const TPR: u16 = 0x80;
const PPR: u16 = 0xA0;
const EOI: u16 = 0xB0;
const LDR: u16 = 0xD0;
const DFR: u16 = 0xE0;
const SVR: u16 = 0xF0;
const ISR: u16 = 0x100;
const TMR: u16 = 0x180;
const IRR: u16 = 0x200;
const ESR: u16 = 0x280;
const ICR_LOW: u16 = 0x300;
const ICR_HIGH: u16 = 0x310;
const LVT_TIMER: u16 = 0x320;
const LVT_LINT0: u16 = 0x350;
const LVT_ERROR: u16 = 0x370;
const INITIAL_COUNT: u16 = 0x380;
const CURRENT_COUNT: u16 = 0x390;
const DIVIDE: u16 = 0x3E0;

const APIC_BASE: u32 = 0x1B;
const X2APIC: u64 = 0xFEE0_0C00;

fn x2(offset: u16) -> u32 {
    0x800 + u32::from(offset / 16)
}

/// In xAPIC mode, software enabled.
fn enabled(posted: &Posted) -> Lapic<'_> {
    let mut lapic = Lapic::new(posted, false);
    lapic.mmio_write(SVR, 0x1FF, 0);
    lapic
}

/// In x2APIC mode, software enabled.
fn enabled_x2apic(posted: &Posted) -> Lapic<'_> {
    let mut lapic = enabled(posted);
    lapic.msr_write(APIC_BASE, X2APIC, 0).unwrap();
    lapic
}

/// Whether `vector`'s bit is set in the 256-bit register at `register`.
fn has(lapic: &mut Lapic<'_>, register: u16, vector: u8) -> bool {
    let word = lapic.mmio_read(register + 0x10 * u16::from(vector / 32), 0);
    word & 1 << (vector % 32) != 0
}
