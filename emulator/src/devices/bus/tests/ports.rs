// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ports.

use super::super::super::fake::PMBASE;
use super::super::PortEffect;
use super::*;

use Width::{Byte, Dword, Word};

fn writes(machine: &Machine) -> std::vec::Vec<(u16, Width, u32)> {
    core::mem::take(&mut machine.0.borrow_mut().port_writes)
}

#[test]
fn devices_are_qemus_own() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    for (port, width, value) in [
        (0x3F8, Byte, 0x41),
        (0x2F8, Byte, 0x42),
        (0x70, Byte, 0x0A),
        (0x20, Byte, 0x11),
        (0x514, Dword, 0x1234_5678),
        (PMBASE, Word, 0x8001),
        (0xC000, Dword, 0xDEAD_BEEF),
    ] {
        assert_eq!(bus.port_write(port, width, value), Ok(PortEffect::None));
        assert_eq!(writes(&machine), [(port, width, value)]);
        assert_eq!(bus.port_read(port, width), value);
    }
}

#[test]
fn values_are_of_the_width() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    bus.port_write(0x3F8, Byte, 0xFFFF_FF41).unwrap();
    assert_eq!(writes(&machine), [(0x3F8, Byte, 0x41)]);
}

#[test]
fn the_emulators_ports_are_not_there() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    for port in [0xF4, 0xF5, 0xF6, 0xF7, 0x402, 0x5658, 0x5659] {
        machine.0.borrow_mut().ports.insert(port, 0x12);
        assert_eq!(bus.port_write(port, Byte, 0x31), Ok(PortEffect::None));
        assert_eq!(bus.port_read(port, Byte), 0xFF);
    }
    assert_eq!(writes(&machine), []);
    // Accesses that only reach over them do the rest.
    bus.port_write(0xF2, Dword, 0x4433_2211).unwrap();
    assert_eq!(writes(&machine), [(0xF2, Byte, 0x11), (0xF3, Byte, 0x22)]);
    assert_eq!(bus.port_read(0xF2, Dword), 0xFFFF_2211);
    bus.port_write(0x401, Word, 0x2211).unwrap();
    assert_eq!(writes(&machine), [(0x401, Byte, 0x11)]);
    bus.port_write(0xFFFF, Dword, 0x4433_2211).unwrap();
    assert_eq!(writes(&machine), [(0xFFFF, Byte, 0x11)]);
    assert_eq!(bus.port_read(0xFFFF, Word), 0xFF11);
}

/// ACPI 4.8.3.2.1, with the values of QEMU's ICH9.
#[test]
fn sleep_states() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    let control = PMBASE + 4;
    assert_eq!(bus.port_write(control, Word, 0x0001), Ok(PortEffect::None));
    assert_eq!(bus.port_write(control, Word, 0x1C01), Ok(PortEffect::None));
    assert_eq!(writes(&machine).len(), 2, "no SLP_EN");
    assert_eq!(
        bus.port_write(control, Word, 0x2001),
        Ok(PortEffect::PowerOff)
    );
    assert_eq!(
        bus.port_write(control, Dword, 0x2001),
        Ok(PortEffect::PowerOff)
    );
    assert_eq!(
        bus.port_write(control + 1, Byte, 0x20),
        Ok(PortEffect::PowerOff)
    );
    assert_eq!(
        bus.port_write(control - 2, Dword, 0x2001_0000),
        Ok(PortEffect::PowerOff)
    );
    assert_eq!(
        bus.port_write(control, Word, 0x2800),
        Ok(PortEffect::PowerOff),
        "S4"
    );
    assert_eq!(
        bus.port_write(control, Word, 0x2400),
        Err(Refused::Sleep { kind: 1 })
    );
    let sleeps = |(port, _, value): &(u16, Width, u32)| *port == control + 1 && value & 0x20 != 0;
    assert!(
        !writes(&machine).iter().any(sleeps),
        "none of them reaches QEMU"
    );
}

#[test]
fn resets_are_the_guests() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    for (port, value) in [
        (0xCF9, 0x06),
        (0xCF9, 0x0E),
        (0x64, 0xFE),
        (0x64, 0xF0),
        (0x92, 0x01),
    ] {
        assert_eq!(bus.port_write(port, Byte, value), Ok(PortEffect::Reset));
    }
    assert_eq!(bus.port_write(0xCF9, Word, 0x0006), Ok(PortEffect::Reset));
    assert_eq!(writes(&machine), []);
    bus.port_write(0x64, Byte, 0xD1).unwrap();
    assert_eq!(bus.port_write(0x60, Byte, 0xFE), Ok(PortEffect::Reset));
    // Not yet, and not at all.
    assert_eq!(bus.port_write(0xCF9, Byte, 0x02), Ok(PortEffect::None));
    assert_eq!(bus.port_write(0x64, Byte, 0xFF), Ok(PortEffect::None));
    assert_eq!(bus.port_write(0x60, Byte, 0xFE), Ok(PortEffect::None));
}

#[test]
fn a20_stays_on() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    bus.port_write(0x92, Byte, 0x00).unwrap();
    bus.port_write(0x64, Byte, 0xDD).unwrap();
    bus.port_write(0x64, Byte, 0xD1).unwrap();
    bus.port_write(0x60, Byte, 0xDD).unwrap();
    assert_eq!(
        writes(&machine),
        [(0x92, Byte, 0x02), (0x64, Byte, 0xD1), (0x60, Byte, 0xDF)]
    );
}

#[test]
fn no_system_management_interrupt() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    bus.port_write(PMBASE + 4, Word, 0).unwrap();
    writes(&machine);
    bus.port_write(0xB2, Byte, 0x02).unwrap();
    assert_eq!(writes(&machine), [(PMBASE + 4, Word, 1)], "ACPI on");
    bus.port_write(0xB2, Byte, 0x03).unwrap();
    assert_eq!(writes(&machine), [(PMBASE + 4, Word, 0)], "ACPI off");
    bus.port_write(0xB2, Byte, 0xB5).unwrap();
    bus.port_write(PMBASE + 0x30, Dword, 0xFFFF_FFFF).unwrap();
    assert_eq!(writes(&machine), []);
}

#[test]
fn a_dword_at_the_config_address_is_no_reset() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    assert_eq!(
        bus.port_write(0xCF8, Dword, 0x8000_0604),
        Ok(PortEffect::None)
    );
    assert_eq!(bus.port_read(0xCF8, Dword), 0x8000_0604);
    // Narrower ones are none of CONFIG_ADDRESS.
    bus.port_write(0xCF8, Byte, 0x11).unwrap();
    assert_eq!(bus.port_read(0xCF8, Dword), 0x8000_0604);
    assert_eq!(bus.port_read(0xCF8, Byte), 0xFF);
    assert_eq!(writes(&machine), []);
}
