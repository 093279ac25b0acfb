// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest for tests: its vCPUs on a fake machine, wired as [`crate::devices`] says.

use std::vec::Vec;

use super::super::{Bus, Effect, Lapic, Posted, Ram, RealLapic, Width};
use super::{IOAPIC_BASE, Machine};

const REGISTER_ENTRY_LOW: u32 = 0x10;
const MASKED: u32 = 1 << 16;

/// A guest with its vCPUs on a fake machine.
pub(in crate::devices) struct Guest<'m> {
    machine: &'m Machine,
    pub(in crate::devices) bus: Bus<&'m Machine, &'m Machine>,
    pub(in crate::devices) lapics: Vec<Lapic<'m>>,
    posted: &'m [Posted],
}

impl<'m> Guest<'m> {
    pub(in crate::devices) fn new(machine: &'m Machine, posted: &'m [Posted]) -> Self {
        let ram = Ram {
            low_end: 0x8000_0000,
            high_end: 0x2_0000_0000,
        };
        let mut guest = Self {
            machine,
            bus: Bus::new(machine, machine, ram),
            lapics: posted.iter().map(|p| Lapic::new(p, false)).collect(),
            posted,
        };
        for cpu in 0..posted.len() {
            guest.store(cpu, 0xFEE0_00F0, 0x1FF);
            let ldr = 1_u32.checked_shl(24 + cpu as u32).unwrap_or(0);
            guest.store(cpu, 0xFEE0_00D0, ldr);
        }
        guest
    }

    pub(in crate::devices) fn store(&mut self, cpu: usize, address: u64, value: u32) {
        let lapic = &mut self.lapics[cpu];
        let effect = self
            .bus
            .mmio_write(lapic, 0, address, Width::Dword, value.into());
        self.apply(cpu, effect.unwrap());
    }

    /// WRMSR.
    pub(in crate::devices) fn wrmsr(&mut self, cpu: usize, msr: u32, value: u64) {
        let effect = self.lapics[cpu].msr_write(msr, value, 0);
        self.apply(cpu, effect.unwrap());
    }

    fn apply(&mut self, cpu: usize, effect: Effect) {
        match effect {
            Effect::LogicalChanged(id) => self.machine.lapic(cpu).set_logical(id),
            Effect::Eoi {
                vector,
                level: true,
            } => self.bus.end_of_interrupt(vector),
            _ => {}
        }
    }

    pub(in crate::devices) fn register(&mut self, register: u32) -> u32 {
        self.store(0, IOAPIC_BASE, register);
        let window = IOAPIC_BASE + 0x10;
        let lapic = &mut self.lapics[0];
        let value = self.bus.mmio_read(lapic, 0, window, Width::Dword);
        value.unwrap() as u32
    }

    pub(in crate::devices) fn set_register(&mut self, register: u32, value: u32) {
        self.store(0, IOAPIC_BASE, register);
        self.store(0, IOAPIC_BASE + 0x10, value);
    }

    pub(in crate::devices) fn entry(&mut self, pin: u32, destination: u32, low: u32) {
        self.set_register(REGISTER_ENTRY_LOW + 2 * pin, MASKED);
        self.set_register(REGISTER_ENTRY_LOW + 2 * pin + 1, destination << 24);
        self.set_register(REGISTER_ENTRY_LOW + 2 * pin, low);
    }

    /// All real interrupts that are pending arrive. How many.
    pub(in crate::devices) fn arrive(&mut self) -> usize {
        let mut count = 0;
        for cpu in 0..self.posted.len() {
            while let Some(vector) = self.machine.take(cpu) {
                let real = self.machine.lapic(cpu);
                self.bus.arrived(vector, &real, &self.posted[cpu]);
                count += 1;
                assert!(count < 1000, "a storm");
            }
        }
        count
    }

    /// The guest takes the next interrupt on `cpu`.
    pub(in crate::devices) fn take(&mut self, cpu: usize) -> Option<u8> {
        self.arrive();
        let lapic = &mut self.lapics[cpu];
        lapic.merge();
        let vector = lapic.deliverable()?;
        lapic.accept(vector);
        Some(vector)
    }

    pub(in crate::devices) fn end(&mut self, cpu: usize) {
        self.store(cpu, 0xFEE0_00B0, 0);
    }
}
