// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest reaches by MMIO, by ports and in configuration space, and what it does not.

mod mmio;
mod pci;
mod ports;

use super::super::fake::Machine;
use super::super::{Bus, Effect, Lapic, Posted, Ram, Refused, Width};

const RAM: Ram = Ram {
    low_end: 0x8000_0000,
    high_end: 0x2_0000_0000,
};

type TestBus<'m> = Bus<&'m Machine, &'m Machine>;

fn bus(machine: &Machine) -> TestBus<'_> {
    let bus = Bus::new(machine, machine, RAM);
    machine.0.borrow_mut().accesses.clear();
    machine.0.borrow_mut().port_writes.clear();
    bus
}

fn load(bus: &TestBus<'_>, address: u64, width: Width) -> Result<u64, Refused> {
    let posted = Posted::new(0);
    bus.mmio_read(&mut Lapic::new(&posted, true), 0, address, width)
}

fn store(bus: &TestBus<'_>, address: u64, width: Width, value: u64) -> Result<Effect, Refused> {
    let posted = Posted::new(0);
    bus.mmio_write(&mut Lapic::new(&posted, true), 0, address, width, value)
}
