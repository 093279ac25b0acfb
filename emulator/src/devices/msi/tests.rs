// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages: which pass, and that they reach the vCPU that the guest means.

use std::vec::Vec;

use super::super::Posted;
use super::super::fake::{Guest, Machine};
use super::*;

#[test]
fn messages_of_linux_pass() {
    // Flat logical, vCPUs 0 and 3, fixed; then physical, APIC id 5, lowest priority.
    assert_eq!(check(0xFEE0_900C, 0x4021), Ok(()));
    assert_eq!(check(0xFEE0_5000, 0x0141), Ok(()));
    // What Linux writes when it lets go of an interrupt.
    assert_eq!(check(0, 0), Ok(()));
}

#[test]
fn messages_that_would_take_the_real_processor_are_refused() {
    for data in [
        0x0200, 0x0221, 0x0421, 0x0521, 0x0621, 0x0721, 0x001F, 0x0000,
    ] {
        assert_eq!(
            check(0xFEE0_0000, data),
            Err(Refused::Message {
                address: 0xFEE0_0000,
                data
            })
        );
    }
    // A register of the local APIC: the interrupt command register.
    assert!(check(0xFEE0_0300, 0x4021).is_err());
}

#[test]
fn a_table_entry_counts_when_it_is_open() {
    let bad = [0xFEE0_0000, 0, 0x0500, 1];
    assert_eq!(TableEntry(bad).check(), Ok(()));
    let mut open = bad;
    patch(&mut open, 12, 4, 0);
    assert!(TableEntry(open).check().is_err());
    patch(&mut open, 4, 8, 0x33 << 32 | 0x1);
    assert_eq!(open, [0xFEE0_0000, 1, 0x33, 0]);
    assert_eq!(
        TableEntry(open).check(),
        Ok(()),
        "no interrupt: above 4 GiB"
    );
}

#[test]
fn a_capability_counts_when_it_is_enabled() {
    let narrow = |control: u32| Capability([control << 16 | 5, 0xFEE0_0000, 0xFFFF_0500, 0]);
    assert_eq!(narrow(0).check(), Ok(()));
    assert!(narrow(1).check().is_err());
    let wide = |data| Capability([0x81 << 16 | 5, 0xFEE0_0000, 0, data]);
    assert!(wide(0x0500).check().is_err());
    assert_eq!(wide(0xFFFF_0041).check(), Ok(()));
}

/// Which vCPUs get the vector when a device writes this message.
fn reached(guest: &mut Guest<'_>, machine: &Machine, address: u64, data: u32) -> Vec<usize> {
    check(address, data).unwrap();
    machine.message(address, data);
    let cpus = 0..guest.lapics.len();
    cpus.filter(|cpu| {
        let taken = guest.take(*cpu);
        guest.end(*cpu);
        assert!(taken.is_none_or(|vector| u32::from(vector) == data & 0xFF));
        taken.is_some()
    })
    .collect()
}

fn posted(count: u32) -> Vec<Posted> {
    (0..count).map(Posted::new).collect()
}

const LOGICAL: u64 = 1 << 2;
const LOWEST_PRIORITY: u32 = 1 << 8;

/// Linux with up to 8 vCPUs and no x2APIC: "flat".
#[test]
fn logical_destinations_of_xapics() {
    let (machine, posted) = (Machine::new(4), posted(4));
    let mut guest = Guest::new(&machine, &posted);
    let address = |mask: u64| 0xFEE0_0000 | mask << 12 | LOGICAL;
    for cpu in 0..4 {
        assert_eq!(
            reached(&mut guest, &machine, address(1 << cpu), 0x41),
            [cpu]
        );
    }
    assert_eq!(reached(&mut guest, &machine, address(0b1010), 0x41), [1, 3]);
    let lowest = LOWEST_PRIORITY | 0x42;
    assert_eq!(reached(&mut guest, &machine, address(0b1100), lowest), [2]);
    // A vCPU that has not set its logical id yet is not among them.
    guest.store(2, 0xFEE0_00D0, 0);
    assert_eq!(reached(&mut guest, &machine, address(0b1100), lowest), [3]);
}

#[test]
fn logical_destinations_of_clusters() {
    let (machine, posted) = (Machine::new(4), posted(4));
    let mut guest = Guest::new(&machine, &posted);
    for (cpu, ldr) in [0x11_u32, 0x12, 0x21, 0x22].into_iter().enumerate() {
        guest.store(cpu, 0xFEE0_00E0, 0x0FFF_FFFF);
        guest.store(cpu, 0xFEE0_00D0, ldr << 24);
    }
    let address = 0xFEE0_0000 | 0x23 << 12 | LOGICAL;
    assert_eq!(reached(&mut guest, &machine, address, 0x41), [2, 3]);
}

/// Linux with more vCPUs or with x2APIC, without interrupt remapping: "physical".
#[test]
fn physical_destinations() {
    for x2apic in [false, true] {
        let (machine, posted) = (Machine::new(12), posted(12));
        let mut guest = Guest::new(&machine, &posted);
        if x2apic {
            (0..12).for_each(|cpu| guest.wrmsr(cpu, 0x1B, 0xFEE0_0C00));
        }
        for cpu in [0, 1, 7, 8, 11] {
            machine.message(0xFEE0_0000 | (cpu as u64) << 12, 0x41);
            for other in 0..12 {
                let taken = guest.take(other);
                assert_eq!(taken, (other == cpu).then_some(0x41));
                if taken.is_some() && x2apic {
                    guest.wrmsr(other, 0x80B, 0);
                } else if taken.is_some() {
                    guest.end(other);
                }
            }
        }
    }
}

/// Eight bits of destination: the first members of cluster 0.
#[test]
fn logical_destinations_of_x2apics() {
    let (machine, posted) = (Machine::new(12), posted(12));
    let mut guest = Guest::new(&machine, &posted);
    (0..12).for_each(|cpu| guest.wrmsr(cpu, 0x1B, 0xFEE0_0C00));
    machine.message(0xFEE0_0000 | 0b1000_0001 << 12 | LOGICAL, 0x41);
    let taken: Vec<_> = (0..12).filter(|cpu| guest.take(*cpu).is_some()).collect();
    assert_eq!(taken, [0, 7]);
}

#[test]
fn a_message_is_an_edge() {
    let (machine, posted) = (Machine::new(1), posted(1));
    let mut guest = Guest::new(&machine, &posted);
    machine.message(0xFEE0_0000, 0x41);
    assert_eq!(guest.take(0), Some(0x41));
    machine.message(0xFEE0_0000, 0x41);
    machine.message(0xFEE0_0000, 0x41);
    assert_eq!(guest.take(0), None, "in service");
    guest.end(0);
    assert_eq!(guest.take(0), Some(0x41));
    guest.end(0);
    assert_eq!(guest.take(0), None, "two became one");
}
