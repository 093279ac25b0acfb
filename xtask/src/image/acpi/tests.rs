// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables against those that stock QEMU 7.2 (`-machine q35 -smp 2`) hands to its firmware, as a
//! Linux guest read them from `/sys/firmware/acpi/tables`.

use super::*;

const QEMU_APIC: &str = "\
    41504943800000000177424f4348532042585043202020200100000042585043010000000000e0fe01000000\
    00080000010000000008010101000000010c00000000c0fe00000000020a0000020000000000020a00050500\
    00000d00020a0009090000000d00020a000a0a0000000d00020a000b0b0000000d000406ff000001\
    ";
const QEMU_FACP: &str = "\
    46414350f400000003c0424f4348532042585043202020200100000042585043010000000000fe7f4000fe7f\
    01000900b2000000020300000006000000000000040600000000000000000000080600002006000000000000\
    0402000410000000ff0fff0f000000000000000032020000a584000001080000f90c0000000000000f000000\
    00000000000000004000fe7f0000000001200000000600000000000000000000000000000000000001100000\
    0406000000000000000000000000000000000000000000000000000000000000012000000806000000000000\
    018000002006000000000000000000000000000000000000\
    ";
const QEMU_HPET: &str = "\
    485045543800000001b4424f43485320425850432020202001000000425850430100000001a2868000000000\
    0000d0fe0000000000000000\
    ";
const QEMU_MCFG: &str = "\
    4d4346473c000000018c424f4348532042585043202020200100000042585043010000000000000000000000\
    000000b000000000000000ff00000000\
    ";

/// The machine that QEMU was asked.
fn tables() -> Tables {
    let machine = Machine::new(1 << 30, 2).unwrap();
    build(
        0x10_0000,
        &machine,
        Devices {
            second_serial: true,
        },
    )
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
        .collect()
}

/// The bytes of the table at guest-physical `address`.
fn table_at(tables: &Tables, address: u64) -> &[u8] {
    let rest = &tables.bytes[(address - 0x10_0000) as usize..];
    let length = u32::from_le_bytes(rest[4..8].try_into().unwrap());
    &rest[..length as usize]
}

/// The tables that the XSDT lists, by signature.
fn listed<'a>(tables: &'a Tables, signature: &[u8; 4]) -> &'a [u8] {
    let rsdp = &tables.bytes[(tables.rsdp - 0x10_0000) as usize..];
    let xsdt = table_at(tables, u64::from_le_bytes(rsdp[24..32].try_into().unwrap()));
    let entries = xsdt[36..]
        .chunks(8)
        .map(|entry| u64::from_le_bytes(entry.try_into().unwrap()));
    let mut found = entries.map(|entry| table_at(tables, entry));
    found.find(|table| table[..4] == *signature).unwrap()
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

#[test]
fn checksums_are_zero() {
    let tables = tables();
    let rsdp = &tables.bytes[(tables.rsdp - 0x10_0000) as usize..][..36];
    assert_eq!(
        (&rsdp[..8], sum(&rsdp[..20]), sum(rsdp)),
        (b"RSD PTR ".as_slice(), 0, 0)
    );
    let fadt = listed(&tables, b"FACP");
    let dsdt = table_at(
        &tables,
        u64::from_le_bytes(fadt[140..148].try_into().unwrap()),
    );
    assert_eq!(&dsdt[..4], b"DSDT");
    assert_eq!(
        u32::from_le_bytes(fadt[40..44].try_into().unwrap()) as usize % 4,
        0
    );
    for table in [
        fadt,
        dsdt,
        listed(&tables, b"APIC"),
        listed(&tables, b"HPET"),
        listed(&tables, b"MCFG"),
    ] {
        assert_eq!(sum(table), 0);
    }
}

#[test]
fn interrupt_controllers_timer_and_configuration_space_are_as_qemu_says() {
    let tables = tables();
    for (signature, theirs) in [
        (b"APIC", QEMU_APIC),
        (b"HPET", QEMU_HPET),
        (b"MCFG", QEMU_MCFG),
    ] {
        // All but the header, which says who made it.
        assert_eq!(listed(&tables, signature)[36..], bytes(theirs)[36..]);
    }
}

#[test]
fn fixed_hardware_is_as_qemu_says() {
    let tables = tables();
    let (ours, theirs) = (listed(&tables, b"FACP"), bytes(QEMU_FACP));
    // Where the other tables are; a field that ACPI 2.0 dropped; the keyboard controller, which we do
    // not tell of; the minor version.
    let differ = [36..45, 109..111, 131..132, 140..148];
    for at in 36..theirs.len() {
        if !differ.iter().any(|range| range.contains(&at)) {
            assert_eq!(ours[at], theirs[at], "byte {at}");
        }
    }
}

#[test]
fn every_vcpu_has_an_entry() {
    for vcpus in [1, 8, 64] {
        let machine = Machine::new(1 << 30, vcpus).unwrap();
        let tables = build(
            0x10_0000,
            &machine,
            Devices {
                second_serial: false,
            },
        );
        let madt = listed(&tables, b"APIC");
        let ids = madt[44..]
            .chunks(8)
            .take_while(|entry| entry[0] == 0)
            .map(|entry| entry[3]);
        assert!(ids.eq(0..vcpus as u8));
        assert!(tables.bytes.len() <= 0x1_0000);
    }
}
