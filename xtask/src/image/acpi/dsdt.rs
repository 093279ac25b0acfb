// SPDX-License-Identifier: MIT OR Apache-2.0
//! The DSDT: which devices the machine has, and their resources, in AML (ACPI 6.5, 19 and 20).

use std::ops::RangeInclusive;

use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, IO, Interrupt, Name, Package,
    PackageBuilder, Path, ResourceTemplate, Scope,
};
use acpi_tables::sdt::Sdt;
use emulator_defs::layout;

use super::{Devices, ECAM, q35, table};
use crate::image::guest_memory::Machine;

/// Makes the table.
pub(super) fn dsdt(machine: &Machine, devices: Devices) -> Sdt {
    let mut aml = Vec::new();
    // S5 (power off): sleep type 0, as the ICH9 has it.
    let s5 = Package::new(vec![&0u8, &0u8, &0u8, &0u8]);
    Name::new("_S5_".into(), &s5).to_aml_bytes(&mut aml);
    aml.extend(Scope::raw("_SB_".into(), system_bus(machine, devices)));
    let mut dsdt = table(*b"DSDT", 2);
    dsdt.append_slice(&aml);
    dsdt
}

/// Everything below `\_SB`.
fn system_bus(machine: &Machine, devices: Devices) -> Vec<u8> {
    let mut bus = Vec::new();
    pci_root(&mut bus, machine);
    // Keeps the configuration space from being given to a device.
    device(
        &mut bus,
        "ECAM",
        &EISAName::new("PNP0C02"),
        0,
        vec![&memory32(ecam())],
    );
    serial(&mut bus, "COM1", 1, 0x3F8, 4);
    if devices.second_serial {
        serial(&mut bus, "COM2", 2, 0x2F8, 3);
    }
    let clock: [&dyn Aml; 2] = [&IO::new(0x70, 0x70, 1, 8), &isa_interrupt(8)];
    device(
        &mut bus,
        "RTC_",
        &EISAName::new("PNP0B00"),
        0,
        clock.to_vec(),
    );
    // QEMU's firmware configuration device.
    device(
        &mut bus,
        "FWCF",
        &"QEMU0002",
        0,
        vec![&IO::new(0x510, 0x510, 1, 12)],
    );
    bus
}

/// A device that is always there, with its resources.
fn device(bus: &mut Vec<u8>, name: &str, id: &dyn Aml, uid: u8, resources: Vec<&dyn Aml>) {
    let id = Name::new("_HID".into(), id);
    let uid = Name::new("_UID".into(), &uid);
    let status = Name::new("_STA".into(), &0xFu8);
    let resources = Name::new("_CRS".into(), &ResourceTemplate::new(resources));
    Device::new(name.into(), vec![&id, &uid, &status, &resources]).to_aml_bytes(bus);
}

/// A 16550 UART.
fn serial(bus: &mut Vec<u8>, name: &str, uid: u8, port: u16, irq: u32) {
    let ports = IO::new(port, port, 1, 8);
    let id = EISAName::new("PNP0501");
    device(bus, name, &id, uid, vec![&ports, &isa_interrupt(irq)]);
}

/// An edge-triggered interrupt of the ISA bus.
fn isa_interrupt(irq: u32) -> Interrupt {
    Interrupt::new(true, true, false, false, irq)
}

/// The PCI Express root bridge: what it passes on to devices, and their interrupts.
fn pci_root(bus: &mut Vec<u8>, machine: &Machine) {
    let legacy_video = AddressSpace::new_memory(
        AddressSpaceCacheable::Cacheable,
        true,
        layout::ISA_HOLE.start as u32,
        0xB_FFFF,
        None,
    );
    let ecam = ecam();
    let template = ResourceTemplate::new;
    let resources = Name::new(
        "_CRS".into(),
        &template(vec![
            &AddressSpace::new_bus_number(0u16, 255),
            &IO::new(0xCF8, 0xCF8, 1, 8),
            &AddressSpace::new_io(0u16, 0xCF7, None),
            &AddressSpace::new_io(0xD00u16, 0xFFFF, None),
            &legacy_video,
            &memory32(layout::EMULATOR_END as u32..=ecam.start() - 1),
            &memory32(ecam.end() + 1..=q35::IOAPIC - 1),
            &memory64(above_memory(machine)),
            &memory64(at_the_top()),
        ]),
    );
    let names = [
        Name::new("_HID".into(), &EISAName::new("PNP0A08")),
        Name::new("_CID".into(), &EISAName::new("PNP0A03")),
        Name::new("_UID".into(), &0u8),
        resources,
        Name::new("_PRT".into(), &routes()),
    ];
    let children = names.iter().map(|name| name as &dyn Aml).collect();
    Device::new(Path::new("PCI0"), children).to_aml_bytes(bus);
}

/// The interrupt of each pin of each slot.
fn routes() -> impl Aml {
    let mut routes = PackageBuilder::new();
    for slot in 0..32u32 {
        for pin in 0..4u32 {
            let any_function = slot << 16 | 0xFFFF;
            let gsi = io_apic_input(slot, pin);
            routes.add_element(&Package::new(vec![&any_function, &(pin as u8), &0u8, &gsi]));
        }
    }
    routes
}

/// The input of the I/O APIC to which q35 wires a pin: most slots share inputs 20 to 23, turned by one
/// from slot to slot, those of the chip set's own functions have 16 to 19.
fn io_apic_input(slot: u32, pin: u32) -> u32 {
    match slot {
        0x00..=0x18 => 20 + (slot + pin) % 4,
        0x1E => 20 + pin,
        _ => 16 + pin,
    }
}

/// Configuration space, as 32-bit addresses.
fn ecam() -> RangeInclusive<u32> {
    let (base, size) = ECAM;
    base as u32..=(base + size - 1) as u32
}

fn memory32(range: RangeInclusive<u32>) -> AddressSpace<u32> {
    let uncached = AddressSpaceCacheable::NotCacheable;
    AddressSpace::new_memory(uncached, true, *range.start(), *range.end(), None)
}

fn memory64(range: RangeInclusive<u64>) -> AddressSpace<u64> {
    let cacheable = AddressSpaceCacheable::Cacheable;
    AddressSpace::new_memory(cacheable, true, *range.start(), *range.end(), None)
}

/// Where firmware puts large BARs: behind all memory of the machine that runs the emulator. The
/// SVSM's region ends it.
fn above_memory(machine: &Machine) -> RangeInclusive<u64> {
    let host_memory = layout::qemu_memory(machine.memory);
    let end_of_memory = layout::GUEST_HIGH + host_memory - layout::EMULATOR_END;
    end_of_memory.next_multiple_of(layout::GIB)..=layout::SVSM_BASE - 1
}

/// Newer SeaBIOS puts them at the top of the address space, as far as Linux follows it (46 bits).
fn at_the_top() -> RangeInclusive<u64> {
    (layout::SVSM_BASE + layout::GIB)..=(1 << 46) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inputs of each slot's pins as the AML of stock QEMU 7.2 has them (its package `PRTA`): letters A
    /// to H are inputs 16 to 23.
    const QEMU: [&str; 32] = [
        "EFGH", "FGHE", "GHEF", "HEFG", "EFGH", "FGHE", "GHEF", "HEFG", "EFGH", "FGHE", "GHEF",
        "HEFG", "EFGH", "FGHE", "GHEF", "HEFG", "EFGH", "FGHE", "GHEF", "HEFG", "EFGH", "FGHE",
        "GHEF", "HEFG", "EFGH", "ABCD", "ABCD", "ABCD", "ABCD", "ABCD", "EFGH", "ABCD",
    ];

    #[test]
    fn interrupts_are_wired_as_qemu_says() {
        for (slot, letters) in (0..).zip(QEMU) {
            for (pin, letter) in (0..).zip(letters.bytes()) {
                assert_eq!(
                    io_apic_input(slot, pin),
                    16 + u32::from(letter - b'A'),
                    "{slot} {pin}"
                );
            }
        }
    }
}
