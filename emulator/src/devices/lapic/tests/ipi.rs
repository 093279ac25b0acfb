// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interrupt command register and whom it reaches (SDM vol. 3, 11.6 and 11.12).

use std::vec::Vec;

use proptest::prelude::*;

use super::super::{Delivery, Destination, Events, Gp, Ipi, Targets};
use super::*;

fn ipi(effect: Effect) -> Ipi {
    match effect {
        Effect::Ipi(ipi) => ipi,
        other => panic!("no IPI: {other:?}"),
    }
}

fn fleet(count: u32) -> Vec<Posted> {
    (0..count).map(Posted::new).collect()
}

fn send(posted: &[Posted], ipi: Ipi) -> Vec<usize> {
    ipi.send(|n| posted.get(n)).iter().collect()
}

#[test]
fn physical_destination_of_an_xapic() {
    let posted = fleet(4);
    let mut lapics: Vec<_> = posted.iter().map(enabled).collect();
    lapics[0].mmio_write(ICR_HIGH, 2 << 24, 0);
    let sent = ipi(lapics[0].mmio_write(ICR_LOW, 0x4041, 0));
    assert_eq!(sent.destination, Destination::Physical(2));
    assert_eq!(send(&posted, sent), [2]);
    lapics[2].merge();
    assert_eq!(lapics[2].deliverable(), Some(0x41));
    assert_eq!(lapics[0].mmio_read(ICR_LOW, 0), 0x4041, "idle");
    assert_eq!(lapics[0].mmio_read(ICR_HIGH, 0), 2 << 24);
}

#[test]
fn flat_model_of_linux() {
    let posted = fleet(4);
    let mut lapics: Vec<_> = posted.iter().map(enabled).collect();
    for (n, lapic) in lapics.iter_mut().enumerate() {
        lapic.mmio_write(DFR, 0xFFFF_FFFF, 0);
        lapic.mmio_write(LDR, 1 << (24 + n), 0);
    }
    lapics[0].mmio_write(ICR_HIGH, 0b1010 << 24, 0);
    let sent = ipi(lapics[0].mmio_write(ICR_LOW, 0x08FD, 0));
    assert_eq!(send(&posted, sent), [1, 3]);
}

#[test]
fn cluster_model() {
    let posted = fleet(4);
    let mut lapics: Vec<_> = posted.iter().map(enabled).collect();
    for (lapic, ldr) in lapics.iter_mut().zip([0x11_u32, 0x12, 0x21, 0x24]) {
        lapic.mmio_write(DFR, 0x0FFF_FFFF, 0);
        lapic.mmio_write(LDR, ldr << 24, 0);
    }
    for (destination, reached) in [
        (0x13_u32, &[0, 1][..]),
        (0x2F, &[2, 3]),
        (0xF1, &[0, 2]),
        (0xFF, &[0, 1, 2, 3]),
        (0x31, &[]),
    ] {
        lapics[0].mmio_write(ICR_HIGH, destination << 24, 0);
        // NMI, so that a second one is not merged with the first.
        let sent = ipi(lapics[0].mmio_write(ICR_LOW, 0x0C00, 0));
        assert_eq!(send(&posted, sent), reached, "{destination:#x}");
        posted.iter().for_each(|posted| {
            posted.take_events();
        });
    }
}

#[test]
fn shorthands() {
    let posted = fleet(3);
    let mut lapics: Vec<_> = posted.iter().map(enabled).collect();
    for (shorthand, reached) in [(1, &[1][..]), (2, &[0, 1, 2]), (3, &[0, 2])] {
        let sent = ipi(lapics[1].mmio_write(ICR_LOW, shorthand << 18 | 0x41, 0));
        assert_eq!(send(&posted, sent), reached);
        lapics.iter_mut().for_each(Lapic::merge);
    }
}

/// 11.12.9: one 64-bit register; 11.12.10: physical ids of 32 bits, clusters of 16.
#[test]
fn x2apic_destinations() {
    let posted = fleet(40);
    let mut lapics: Vec<_> = posted.iter().map(enabled_x2apic).collect();
    let mut reached = |icr: u64| {
        let sent = ipi(lapics[0].msr_write(0x830, icr, 0).unwrap());
        let reached = send(&posted, sent);
        lapics.iter_mut().for_each(Lapic::merge);
        reached
    };
    assert_eq!(reached(33 << 32 | 0x41), [33]);
    assert_eq!(reached(0xFF << 32 | 0x41), [0_usize; 0], "no broadcast");
    assert_eq!(reached(0xFFFF_FFFF << 32 | 0x41).len(), 40);
    assert_eq!(reached(0x0002_0081 << 32 | 0x841), [32, 39]);
    assert_eq!(reached(0x0000_8001 << 32 | 0x841), [0, 15]);
    assert_eq!(lapics[17].msr_read(0x80D, 0), Ok(0x0001_0002));
}

#[test]
fn self_ipi() {
    let posted = Posted::new(0);
    let mut lapic = enabled_x2apic(&posted);
    assert_eq!(lapic.msr_write(0x83F, 0x41, 0), Ok(Effect::None));
    assert_eq!(lapic.deliverable(), Some(0x41));
    lapic.msr_write(0x83F, 0x0F, 0).unwrap();
    lapic.msr_write(0x828, 0, 0).unwrap();
    assert_eq!(lapic.msr_read(0x828, 0), Ok(1 << 5));
    assert_eq!(lapic.msr_read(0x83F, 0), Err(Gp));
}

#[test]
fn one_of_the_destinations_gets_a_lowest_priority_message() {
    let posted = fleet(4);
    let mut lapics: Vec<_> = posted.iter().map(enabled).collect();
    lapics[0].mmio_write(SVR, 0xFF, 0);
    lapics[1].mmio_write(ICR_HIGH, 0xFF << 24, 0);
    let sent = ipi(lapics[1].mmio_write(ICR_LOW, 0x0141, 0));
    assert_eq!(send(&posted, sent), [1], "the first that takes vectors");
}

#[test]
fn init_and_start_up() {
    let posted = fleet(2);
    let mut lapic = enabled(&posted[0]);
    let _other = Lapic::new(&posted[1], false);
    lapic.mmio_write(ICR_HIGH, 1 << 24, 0);
    let init = ipi(lapic.mmio_write(ICR_LOW, 0xC500, 0));
    assert_eq!(send(&posted, init), [1], "though software disabled");
    assert_eq!(
        lapic.mmio_write(ICR_LOW, 0x8500, 0),
        Effect::None,
        "level de-assert"
    );
    let start = ipi(lapic.mmio_write(ICR_LOW, 0x0699, 0));
    assert_eq!(send(&posted, start), [1]);
    let expected = Events {
        nmi: false,
        init: true,
        startup: Some(0x99),
    };
    assert_eq!(posted[1].take_events(), expected);
}

#[test]
fn reserved_delivery_modes_send_nothing() {
    let posted = Posted::new(0);
    let mut lapic = enabled(&posted);
    for mode in [2, 3, 7] {
        assert_eq!(
            lapic.mmio_write(ICR_LOW, mode << 8 | 1 << 18 | 0x41, 0),
            Effect::None
        );
    }
}

#[test]
fn a_local_apic_that_does_not_exist_yet_gets_nothing() {
    let posted = fleet(2);
    let mut lapic = enabled(&posted[0]);
    let sent = ipi(lapic.mmio_write(ICR_LOW, 3 << 18 | 0x400, 0));
    assert_eq!(sent.send(|n| posted.get(n)), Targets(0));
}

/// One local APIC of the model.
#[derive(Debug, Clone, Copy)]
struct Member {
    x2apic: bool,
    software_enabled: bool,
    disabled: bool,
    ldr: u8,
    flat: bool,
}

fn member() -> impl Strategy<Value = Member> {
    (
        any::<bool>(),
        any::<bool>(),
        prop::bool::weighted(0.1),
        any::<u8>(),
        any::<bool>(),
    )
        .prop_map(|(x2apic, software_enabled, disabled, ldr, flat)| Member {
            x2apic,
            software_enabled,
            disabled,
            ldr,
            flat,
        })
}

/// Whether the member with this id is addressed, in the manual's words, from the fields of ICR.
fn addressed(member: Member, id: u32, sender: u32, sender_x2: bool, icr: u64) -> bool {
    if member.disabled {
        return false;
    }
    match (icr >> 18) & 0b11 {
        0b01 => return id == sender,
        0b10 => return true,
        0b11 => return id != sender,
        _ => {}
    }
    let (field, broadcast) = if sender_x2 {
        ((icr >> 32) as u32, 0xFFFF_FFFF)
    } else {
        ((icr >> 56) as u32, 0xFF)
    };
    let logical = icr & 0x800 != 0;
    if field == broadcast && (sender_x2 || !logical) {
        return true;
    }
    if !logical {
        return field == id;
    }
    if member.x2apic {
        let cluster = id / 16;
        return field / 0x1_0000 == cluster && (field % 0x1_0000) >> (id % 16) & 1 == 1;
    }
    if field > 0xFF {
        return false;
    }
    let shared = |bits: core::ops::Range<u32>| {
        bits.into_iter()
            .any(|bit| field >> bit & 1 == 1 && member.ldr >> bit & 1 == 1)
    };
    if member.flat {
        shared(0..8)
    } else {
        let (cluster, own) = (field >> 4, u32::from(member.ldr) >> 4);
        (cluster == 15 || cluster == own) && shared(0..4)
    }
}

proptest! {
    #[test]
    fn destinations_follow_the_manual(
        members in prop::collection::vec(member(), 1..40),
        sender: prop::sample::Index,
        vector in 16..=255_u8,
        mode in prop::sample::select(&[0_u64, 1, 4, 5, 6][..]),
        shorthand in prop::sample::select(&[0_u64, 0, 0, 1, 2, 3][..]),
        logical: bool,
        destination in prop_oneof![
            0..40_u64,
            prop::sample::select(&[0xFF_u64, 0xFFFF_FFFF, 0x1_0001, 0x2_00FF][..]),
            0..0x100_u64,
            0..0x3_0000_u64,
        ],
    ) {
        let posted = fleet(members.len() as u32);
        let sender = sender.index(members.len());
        let mut members = members;
        members[sender].disabled = false;
        let mut lapics: Vec<_> = posted.iter().map(|posted| Lapic::new(posted, false)).collect();
        for (member, lapic) in members.iter().zip(&mut lapics) {
            lapic.mmio_write(LDR, u32::from(member.ldr) << 24, 0);
            lapic.mmio_write(DFR, if member.flat { !0 } else { 0x0FFF_FFFF }, 0);
            lapic.mmio_write(SVR, if member.software_enabled { 0x1FF } else { 0xFF }, 0);
            if member.disabled {
                lapic.msr_write(APIC_BASE, 0xFEE0_0000, 0).unwrap();
            } else if member.x2apic {
                lapic.msr_write(APIC_BASE, X2APIC, 0).unwrap();
            }
        }
        let x2apic = members[sender].x2apic;
        let destination = if x2apic { destination << 32 } else { (destination & 0xFF) << 56 };
        let icr = destination
            | shorthand << 18
            | u64::from(logical) << 11
            | mode << 8
            | 1 << 14
            | u64::from(vector);
        let lapic = &mut lapics[sender];
        let effect = if x2apic {
            lapic.msr_write(0x830, icr, 0).unwrap()
        } else {
            lapic.mmio_write(ICR_HIGH, (icr >> 32) as u32, 0);
            lapic.mmio_write(ICR_LOW, icr as u32, 0)
        };
        let sent = ipi(effect);
        let mut expected: Vec<usize> = (0..members.len())
            .filter(|n| addressed(members[*n], *n as u32, sender as u32, x2apic, icr))
            .collect();
        if sent.delivery == Delivery::LowestPriority {
            expected.retain(|n| members[*n].software_enabled);
            expected.truncate(1);
        }
        prop_assert_eq!(send(&posted, sent), expected.clone());
        for (n, lapic) in lapics.iter_mut().enumerate() {
            lapic.merge();
            let events = posted[n].take_events();
            let reached = expected.contains(&n);
            let takes = reached && members[n].software_enabled;
            let vectored = matches!(sent.delivery, Delivery::Fixed | Delivery::LowestPriority);
            prop_assert_eq!(lapic.deliverable(), (takes && vectored).then_some(vector));
            prop_assert_eq!(events.nmi, reached && sent.delivery == Delivery::Nmi);
            prop_assert_eq!(events.init, reached && sent.delivery == Delivery::Init);
            let start = reached && sent.delivery == Delivery::Startup;
            prop_assert_eq!(events.startup, start.then_some(vector));
        }
    }
}
