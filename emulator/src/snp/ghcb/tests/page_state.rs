// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page state change lists.

use std::vec::Vec;

use snp_defs::psc::Entry;
use snp_defs::rmp::RmpSize;

use super::*;

const INVALID_HEADER: (u64, u64) = (0, 1 << 32 | 1);
const INVALID_ENTRY: (u64, u64) = (0, 1 << 32 | 2);
const FAILED: (u64, u64) = (0, 0x100 << 32);

/// Writes a list to the shared buffer and calls.
fn change(vcpu: &mut Vcpu, current: u16, end: u16, entries: &[Entry]) {
    let mut list = Vec::new();
    list.extend(current.to_le_bytes());
    list.extend(end.to_le_bytes());
    list.extend([0; 4]);
    for entry in entries {
        list.extend(entry.0.to_le_bytes());
    }
    vcpu.put(BUFFER, &list);
    again(vcpu);
}

/// Calls with the list as it stands.
fn again(vcpu: &mut Vcpu) {
    let scratch = [(field::SCRATCH, BUFFER)];
    let outcome = vcpu.call(exit::PAGE_STATE_CHANGE, 0, 0, &scratch);
    assert_eq!(outcome, Outcome::Resume);
}

fn current(vcpu: &Vcpu) -> u16 {
    u16::from_le_bytes(vcpu.get(BUFFER, 2).try_into().unwrap())
}

fn entry(vcpu: &Vcpu, n: u64) -> Entry {
    let bytes = vcpu.get(BUFFER + 8 + 8 * n, 8);
    Entry(u64::from_le_bytes(bytes.try_into().unwrap()))
}

#[test]
fn entries_are_worked_off_in_order() {
    let mut vcpu = Vcpu::default();
    let entries = [
        Entry::new(0x3000, 1, false),
        Entry::new(0x20_0000, 2, true),
        Entry::new(0x40_0000, 3, true),
        Entry::new(0x40_0000, 4, true),
    ];
    change(&mut vcpu, 0, 3, &entries);
    assert_eq!(vcpu.answer(), SERVED);
    assert_eq!(current(&vcpu), 4);
    assert_eq!(
        vcpu.host.pages,
        [
            (0x3000, PageOp::Private, RmpSize::Size4K),
            (0x20_0000, PageOp::Shared, RmpSize::Size2M),
            (0x40_0000, PageOp::Psmash, RmpSize::Size2M),
            (0x40_0000, PageOp::Unsmash, RmpSize::Size2M),
        ]
    );
    assert_eq!(entry(&vcpu, 0).current_page(), 1);
    assert_eq!(entry(&vcpu, 1).current_page(), 512);
}

#[test]
fn a_list_starts_where_it_stands() {
    let mut vcpu = Vcpu::default();
    let entries = [0x3000, 0x4000, 0x5000].map(|gpa| Entry::new(gpa, 1, false));
    change(&mut vcpu, 2, 2, &entries);
    assert_eq!(
        vcpu.host.pages,
        [(0x5000, PageOp::Private, RmpSize::Size4K)]
    );
    change(&mut vcpu, 3, 2, &entries);
    assert_eq!((vcpu.answer(), vcpu.host.pages.len()), (SERVED, 1));
}

#[test]
fn a_2m_entry_that_was_begun_is_finished_by_4k() {
    let mut vcpu = Vcpu::default();
    let begun = Entry(Entry::new(0x20_0000, 1, true).0 | 510);
    change(&mut vcpu, 0, 0, &[begun]);
    assert_eq!(
        vcpu.host.pages,
        [
            (0x3F_E000, PageOp::Private, RmpSize::Size4K),
            (0x3F_F000, PageOp::Private, RmpSize::Size4K)
        ]
    );
    let done = Entry(Entry::new(0x20_0000, 1, true).0 | 512);
    change(&mut vcpu, 0, 0, &[done]);
    assert_eq!((vcpu.host.pages.len(), current(&vcpu)), (2, 1));
}

#[test]
fn header_is_checked() {
    let mut vcpu = Vcpu::default();
    change(&mut vcpu, 0, 253, &[]);
    assert_eq!(vcpu.answer(), INVALID_HEADER);
    vcpu.put(BUFFER, &[0, 0, 0, 0, 1, 0, 0, 0]);
    again(&mut vcpu);
    assert_eq!(vcpu.answer(), INVALID_HEADER);
    assert!(vcpu.host.pages.is_empty());
}

#[test]
fn entries_are_checked() {
    let mut vcpu = Vcpu::default();
    let good = Entry::new(0x3000, 1, false);
    for bad in [
        Entry::new(0x3000, 0, false),
        Entry::new(0x3000, 5, false),
        Entry::new(0x20_1000, 1, true), // Unaligned.
        Entry(good.0 | 2),              // More pages than it has.
        Entry(good.0 | 1 << 57),        // Reserved.
        Entry::new(0x3000, 3, false),   // PSMASH of 4K.
        Entry(Entry::new(0x20_0000, 3, true).0 | 7),
        Entry(Entry::new(0x20_0000, 1, true).0 | 513),
    ] {
        vcpu.host.pages.clear();
        change(&mut vcpu, 0, 2, &[good, bad, good]);
        assert_eq!(vcpu.answer(), INVALID_ENTRY, "{bad:?}");
        assert_eq!((vcpu.host.pages.len(), current(&vcpu)), (1, 1));
    }
}

#[test]
fn a_refused_page_stops_the_list_there() {
    let mut vcpu = Vcpu::default();
    vcpu.host.refuse_pages.insert(0x4000);
    let entries = [0x3000, 0x4000, 0x5000].map(|gpa| Entry::new(gpa, 1, false));
    change(&mut vcpu, 0, 2, &entries);
    assert_eq!(vcpu.answer(), FAILED);
    assert_eq!((current(&vcpu), vcpu.host.pages.len()), (1, 1));
    vcpu.host.refuse_pages.clear();
    again(&mut vcpu);
    assert_eq!((vcpu.answer(), current(&vcpu)), (SERVED, 3));
    assert_eq!(vcpu.host.pages.len(), 3, "no page is changed twice");
}

#[test]
fn the_list_has_to_be_in_the_shared_buffer() {
    let mut vcpu = Vcpu::default();
    for scratch in [SHARED, 0, GHCB, BUFFER + 0x7F0 - 4, u64::MAX - 7] {
        let _ = vcpu.call(exit::PAGE_STATE_CHANGE, 0, 0, &[(field::SCRATCH, scratch)]);
        assert_eq!(vcpu.answer(), refused(malformed::INVALID_SCRATCH));
    }
    // The header is in it, the last entry is not.
    vcpu.put(BUFFER + 0x7E0, &[0, 0, 3, 0, 0, 0, 0, 0]);
    let scratch = [(field::SCRATCH, BUFFER + 0x7E0)];
    let _ = vcpu.call(exit::PAGE_STATE_CHANGE, 0, 0, &scratch);
    assert_eq!(vcpu.answer(), refused(malformed::INVALID_SCRATCH));
    assert!(vcpu.host.pages.is_empty());
}
