// SPDX-License-Identifier: MIT OR Apache-2.0
//! The I/O APIC that the guest programs, over the real one.
//!
//! Registers as in the 82093AA datasheet, with the EOI register of version 0x20. The guest's
//! redirection entries are kept here; the real ones repeat them, so that an interrupt arrives at
//! the right real vCPU with the guest's vector. Two things differ in the real entry:
//!
//! * A level-triggered interrupt is ended at the real local APIC as soon as it arrives, because
//!   the guest's own end of it may be far away. Its line is still asserted then, so the real
//!   entry is masked until the guest ends the interrupt; unmasked, it fires again if the line
//!   still asks.
//! * An entry whose delivery mode is neither fixed nor lowest priority (SMI, NMI, INIT, ExtINT),
//!   or whose vector is below 32, stays masked: the emulator needs those for itself.

use super::{PhysIo, Width};

/// Physical address of the registers, for the guest and of the real one.
pub const IOAPIC_BASE: u64 = 0xFEC0_0000;

const SELECT: u64 = 0x00;
const WINDOW: u64 = 0x10;
const EOI: u64 = 0x40;

const REGISTER_ID: u8 = 0x00;
const REGISTER_VERSION: u8 = 0x01;
const REGISTER_ARBITRATION: u8 = 0x02;
const REGISTER_ENTRIES: u8 = 0x10;
const REGISTER_ENTRIES_LAST: u8 = REGISTER_ENTRIES + 2 * PINS as u8 - 1;

const PINS: usize = 24;
/// Version 0x20, and the number of the last entry.
const VERSION: u32 = 0x20 | (PINS as u32 - 1) << 16;
const ID_WRITABLE: u32 = 0x0F00_0000;

/// One redirection entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry(u64);

impl Entry {
    const VECTOR: u64 = 0xFF;
    const REMOTE_IRR: u64 = 1 << 14;
    const LEVEL: u64 = 1 << 15;
    const MASKED: u64 = 1 << 16;
    /// Vector, delivery and destination mode, polarity, trigger mode, mask, destination.
    const WRITABLE: u64 = 0xFF00_0000_0001_AFFF;

    const RESET: Self = Self(Self::MASKED);

    const fn vector(self) -> u8 {
        (self.0 & Self::VECTOR) as u8
    }

    const fn has(self, bit: u64) -> bool {
        self.0 & bit != 0
    }

    /// What the guest makes of it by writing `value`. Remote IRR is the I/O APIC's own, and means
    /// nothing for an edge.
    const fn written(self, value: u64) -> Self {
        let kept = if value & Self::LEVEL != 0 {
            self.0 & Self::REMOTE_IRR
        } else {
            0
        };
        Self(value & Self::WRITABLE | kept)
    }

    /// What the real entry has to be.
    const fn real(self) -> u64 {
        let delivery = self.0 >> 8 & 7;
        if delivery > 1 || self.vector() < 32 {
            return Self::MASKED;
        }
        let masked = if self.has(Self::REMOTE_IRR) {
            Self::MASKED
        } else {
            0
        };
        self.0 & Self::WRITABLE | masked
    }

    /// Whether the end of `vector` at a local APIC is the end of what this entry sent.
    const fn is_level(self, vector: u8) -> bool {
        self.has(Self::LEVEL) && self.vector() == vector
    }
}

/// The guest's I/O APIC.
#[derive(Debug)]
pub(super) struct Ioapic {
    select: u8,
    id: u32,
    entries: [Entry; PINS],
}

impl Ioapic {
    /// After reset: all entries masked, the real ones as well.
    pub(super) fn new(memory: &impl PhysIo) -> Self {
        let ioapic = Self {
            select: 0,
            id: 0,
            entries: [Entry::RESET; PINS],
        };
        for pin in 0..PINS {
            write_real(memory, pin, 0, Entry::MASKED as u32);
        }
        ioapic
    }

    /// A load of 32 bits from the registers' page. What is not there reads as 0.
    pub(super) fn read(&self, offset: u64) -> u32 {
        match offset {
            SELECT => self.select.into(),
            WINDOW => match self.select {
                REGISTER_ID | REGISTER_ARBITRATION => self.id,
                REGISTER_VERSION => VERSION,
                register @ REGISTER_ENTRIES..=REGISTER_ENTRIES_LAST => {
                    let (pin, shift) = half(register);
                    (self.entries[pin].0 >> shift) as u32
                }
                _ => 0,
            },
            _ => 0,
        }
    }

    /// A store of 32 bits to the registers' page. What is not there is not written.
    pub(super) fn write(&mut self, memory: &impl PhysIo, offset: u64, value: u32) {
        match offset {
            SELECT => self.select = value as u8,
            WINDOW => match self.select {
                REGISTER_ID => self.id = value & ID_WRITABLE,
                register @ REGISTER_ENTRIES..=REGISTER_ENTRIES_LAST => {
                    let (pin, shift) = half(register);
                    let old = self.entries[pin];
                    let value = old.0 & !(0xFFFF_FFFF << shift) | u64::from(value) << shift;
                    self.change(memory, pin, old.written(value));
                }
                _ => {}
            },
            EOI => self.end_of_interrupt(memory, value as u8),
            _ => {}
        }
    }

    /// A level-triggered interrupt arrived at a real local APIC, which has not ended it yet.
    pub(super) fn arrived(&mut self, memory: &impl PhysIo, vector: u8) {
        for pin in 0..PINS {
            let entry = self.entries[pin];
            if entry.is_level(vector) {
                self.change(memory, pin, Entry(entry.0 | Entry::REMOTE_IRR));
            }
        }
    }

    /// The guest ended a level-triggered interrupt, at its local APIC or here.
    pub(super) fn end_of_interrupt(&mut self, memory: &impl PhysIo, vector: u8) {
        for pin in 0..PINS {
            let entry = self.entries[pin];
            if entry.is_level(vector) {
                self.change(memory, pin, Entry(entry.0 & !Entry::REMOTE_IRR));
            }
        }
    }

    fn change(&mut self, memory: &impl PhysIo, pin: usize, entry: Entry) {
        let (before, after) = (self.entries[pin].real(), entry.real());
        self.entries[pin] = entry;
        if before == after {
            return;
        }
        let level = |real: u64| (real & Entry::LEVEL != 0).then_some(real as u8);
        if before >> 32 != after >> 32 || level(before) != level(after) {
            write_real(memory, pin, 0, (before | Entry::MASKED) as u32);
            if level(before).is_some() && level(before) != level(after) {
                // A message of this entry may still be on its way to a real local APIC. Its end
                // there no longer finds the entry, whose remote IRR would stay: end it here.
                memory.write(IOAPIC_BASE + EOI, Width::Dword, before & Entry::VECTOR);
            }
            write_real(memory, pin, 1, (after >> 32) as u32);
        }
        write_real(memory, pin, 0, after as u32);
    }
}

/// The entry that `register` is a half of, and the position of that half in it.
fn half(register: u8) -> (usize, u32) {
    let index = register - REGISTER_ENTRIES;
    (usize::from(index / 2), u32::from(index % 2) * 32)
}

/// Writes the low (0) or the high (1) half of a real entry.
fn write_real(memory: &impl PhysIo, pin: usize, half: u64, value: u32) {
    let register = u64::from(REGISTER_ENTRIES) + 2 * pin as u64 + half;
    memory.write(IOAPIC_BASE + SELECT, Width::Dword, register);
    memory.write(IOAPIC_BASE + WINDOW, Width::Dword, value.into());
}

#[cfg(test)]
mod tests;
