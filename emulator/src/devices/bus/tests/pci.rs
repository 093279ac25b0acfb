// SPDX-License-Identifier: MIT OR Apache-2.0
//! Configuration space, by both mechanisms.

use super::super::super::fake::{AHCI, BRIDGE, ECAM, HIGH_BAR, LPC, NET, NET_BAR, PMBASE, TRACE};
use super::super::PortEffect;
use super::*;

use Width::{Byte, Dword, Word};

fn select(bus: &TestBus<'_>, devfn: u8, offset: u16) -> u16 {
    let address = 0x8000_0000 | u32::from(devfn) << 8 | u32::from(offset & 0xFC);
    bus.port_write(0xCF8, Dword, address).unwrap();
    0xCFC + (offset & 3)
}

fn read(bus: &TestBus<'_>, devfn: u8, offset: u16, width: Width) -> u32 {
    bus.port_read(select(bus, devfn, offset), width)
}

fn write(
    bus: &TestBus<'_>,
    devfn: u8,
    offset: u16,
    width: Width,
    value: u32,
) -> Result<(), Refused> {
    let port = select(bus, devfn, offset);
    bus.port_write(port, width, value)
        .map(|effect| assert_eq!(effect, PortEffect::None))
}

fn ecam(devfn: u8, offset: u64) -> u64 {
    ECAM + (u64::from(devfn) << 12) + offset
}

#[test]
fn both_mechanisms_read_the_same() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    assert_eq!(read(&bus, NET, 0, Dword), 0x1041_1AF4);
    assert_eq!(read(&bus, NET, 2, Word), 0x1041);
    assert_eq!(read(&bus, NET, 3, Byte), 0x10);
    assert_eq!(load(&bus, ecam(NET, 0), Dword), Ok(0x1041_1AF4));
    assert_eq!(load(&bus, ecam(NET, 2), Word), Ok(0x1041));
    assert_eq!(load(&bus, ecam(NET, 0x100), Dword), Ok(0), "extended space");
    assert_eq!(read(&bus, 9 << 3, 0, Dword), 0xFFFF_FFFF, "no device");
    bus.port_write(0xCF8, Dword, 0x0000_1000).unwrap();
    assert_eq!(bus.port_read(0xCFC, Dword), 0xFFFF_FFFF, "not enabled");
}

#[test]
fn taking_stock_leaves_everything_as_it_was() {
    let (machine, untouched) = (Machine::new(1), Machine::new(1));
    bus(&machine);
    for devfn in [0, NET, TRACE, BRIDGE, LPC, AHCI] {
        for offset in (0..256).step_by(4) {
            assert_eq!(
                machine.config(0, devfn, offset),
                untouched.config(0, devfn, offset),
                "{devfn:#x} {offset:#x}"
            );
        }
    }
}

#[test]
fn the_trace_device_is_hidden() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    assert_eq!(read(&bus, TRACE, 0, Dword), 0xFFFF_FFFF);
    assert_eq!(load(&bus, ecam(TRACE, 0), Word), Ok(0xFFFF));
    assert_eq!(load(&bus, ecam(TRACE, 0x100), Dword), Ok(0xFFFF_FFFF));
    write(&bus, TRACE, 4, Word, 0).unwrap();
    store(&bus, ecam(TRACE, 4), Word, 0).unwrap();
    store(&bus, ecam(TRACE, 0x104), Word, 0).unwrap();
    assert_eq!(machine.config(0, TRACE, 4) & 7, 7);
}

#[test]
fn a_device_follows_its_bar() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    let ones = Ok(u64::MAX);
    assert_eq!(load(&bus, NET_BAR, Width::Qword), Ok(0));
    // As Linux sizes: decoding off, ones, back.
    write(&bus, NET, 4, Word, 0x0004).unwrap();
    assert_eq!(load(&bus, NET_BAR, Width::Qword), ones);
    write(&bus, NET, 0x14, Dword, 0xFFFF_FFFF).unwrap();
    assert_eq!(read(&bus, NET, 0x14, Dword), 0xFFFF_F000);
    write(&bus, NET, 0x14, Dword, 0xFEA0_0000).unwrap();
    write(&bus, NET, 4, Word, 0x0006).unwrap();
    assert_eq!(load(&bus, NET_BAR, Width::Qword), ones);
    assert_eq!(load(&bus, 0xFEA0_0000, Width::Qword), Ok(0));
    // The upper half of a wide one, by the other mechanism. The table went along with BAR 1.
    assert_eq!(load(&bus, HIGH_BAR, Width::Qword), Ok(0));
    store(&bus, ecam(NET, 0x24), Dword, 0x39).unwrap();
    assert_eq!(load(&bus, HIGH_BAR, Width::Qword), ones);
    assert_eq!(load(&bus, HIGH_BAR + 0x1_0000_0000, Width::Qword), Ok(0));
    store(&bus, 0xFEA0_0800, Width::Qword, 0xFEE0_0000).unwrap_err();
}

#[test]
fn a_device_behind_a_bridge_is_found() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    assert_eq!(load(&bus, 0xFE80_0000, Width::Dword), Ok(0));
    assert_eq!(load(&bus, ECAM + (1 << 20), Width::Dword), Ok(0x1042_1AF4));
}

#[test]
fn an_option_rom_is_decoded_when_enabled() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    assert_eq!(load(&bus, 0xFEB0_0000, Word), Ok(0xFFFF));
    write(&bus, NET, 0x30, Dword, 0xFEB0_0001).unwrap();
    assert_eq!(load(&bus, 0xFEB0_0000, Word), Ok(0));
}

#[test]
fn a_bar_over_memory_or_the_chipset_is_not_decoded() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    write(&bus, NET, 0x14, Dword, 0x7000_0000).unwrap();
    assert_eq!(
        load(&bus, 0x7000_0000, Dword),
        Err(Refused::NoDevice {
            address: 0x7000_0000
        })
    );
    write(&bus, NET, 0x14, Dword, 0xFEE0_0000).unwrap();
    let posted = Posted::new(0);
    let mut lapic = Lapic::new(&posted, false);
    lapic.msr_write(0x1B, 0xFEE0_0C00, 0).unwrap();
    let value = bus.mmio_read(&mut lapic, 0, 0xFEE0_0300, Dword);
    assert_eq!(value, Ok(0xFFFF_FFFF));
    assert!(machine.0.borrow().accesses.is_empty());
}

#[test]
fn ports_of_the_emulator_cannot_be_covered() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    write(&bus, NET, 0x10, Dword, 0xFFFF_FFFF).unwrap();
    write(&bus, NET, 0x10, Dword, 0x1000).unwrap();
    let before = machine.config(0, NET, 0x10);
    for base in [0xE0, 0x400, 0xCE0] {
        assert_eq!(
            write(&bus, NET, 0x10, Dword, base),
            Err(Refused::PortBar { base })
        );
        assert_eq!(machine.config(0, NET, 0x10), before, "taken back");
    }
    // Not decoded it may lie there; but then it cannot be enabled.
    write(&bus, NET, 4, Word, 0).unwrap();
    write(&bus, NET, 0x10, Dword, 0xE0).unwrap();
    assert!(write(&bus, NET, 4, Word, 1).is_err());
    assert_eq!(machine.config(0, NET, 4) & 7, 0);
}

#[test]
fn windows_of_the_chipset_are_locked() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    write(&bus, 0, 0x60, Dword, 0x7000_0001).unwrap();
    write(&bus, 0, 0x9C, Dword, 0xFFFF_FFFF).unwrap();
    write(&bus, 0, 0x90, Byte, 0xFF).unwrap();
    store(&bus, ecam(0, 0x9E), Byte, 0xFF).unwrap();
    write(&bus, LPC, 0xF0, Dword, 0x7000_0001).unwrap();
    assert_eq!(machine.config(0, 0, 0x60), ECAM as u32 | 1);
    assert_eq!(machine.config(0, 0, 0x9C), 0);
    assert_eq!(machine.config(0, 0, 0x90), 0);
    assert_eq!(machine.config(0, LPC, 0xF0), 0xFED1_C001);
}

#[test]
fn buses_keep_their_numbers() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    let refused = Err(Refused::BusNumbers {
        bus: 0,
        devfn: BRIDGE,
    });
    write(&bus, BRIDGE, 0x18, Dword, 0xFF01_0100).unwrap();
    write(&bus, BRIDGE, 0x19, Byte, 0x01).unwrap();
    assert_eq!(write(&bus, BRIDGE, 0x19, Byte, 0x02), refused);
    assert_eq!(write(&bus, BRIDGE, 0x18, Dword, 0), refused);
    assert_eq!(machine.config(0, BRIDGE, 0x18), 0x0001_0100);
}

#[test]
fn the_power_management_ports_follow_their_base() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    write(&bus, LPC, 0x40, Dword, 0xB000).unwrap();
    assert_eq!(
        bus.port_write(0xB004, Word, 0x2000),
        Ok(PortEffect::PowerOff)
    );
    assert_eq!(
        bus.port_write(PMBASE + 4, Word, 0x2000),
        Ok(PortEffect::None)
    );
    write(&bus, LPC, 0x44, Byte, 0).unwrap();
    assert_eq!(bus.port_write(0xB004, Word, 0x2000), Ok(PortEffect::None));
}

#[test]
fn an_msi_capability_is_checked_when_enabled() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    // As Linux does it: address, data, enable.
    write(&bus, AHCI, 0x84, Dword, 0xFEE0_100C).unwrap();
    write(&bus, AHCI, 0x88, Dword, 0).unwrap();
    write(&bus, AHCI, 0x8C, Word, 0x0041).unwrap();
    write(&bus, AHCI, 0x82, Word, 0x0081).unwrap();
    assert_eq!(machine.config(0, AHCI, 0x80) >> 16 & 1, 1);
    let refused = |data| {
        Err(Refused::Message {
            address: 0xFEE0_100C,
            data,
        })
    };
    assert_eq!(write(&bus, AHCI, 0x8C, Word, 0x0441), refused(0x0441));
    assert_eq!(write(&bus, AHCI, 0x8D, Byte, 0x05), refused(0x0541));
    assert_eq!(
        store(&bus, ecam(AHCI, 0x8C), Word, 0x1F).unwrap_err(),
        refused(0x1F).unwrap_err()
    );
    assert_eq!(machine.config(0, AHCI, 0x8C) & 0xFFFF, 0x41);
    write(&bus, AHCI, 0x82, Word, 0x0080).unwrap();
    write(&bus, AHCI, 0x8C, Word, 0x0500).unwrap();
    assert!(write(&bus, AHCI, 0x82, Word, 0x0081).is_err());
}
