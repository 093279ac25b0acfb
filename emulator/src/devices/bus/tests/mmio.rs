// SPDX-License-Identifier: MIT OR Apache-2.0
//! MMIO.

use super::super::super::fake::{HIGH_BAR, NET_BAR, TRACE_BAR};
use super::*;

const TABLE: u64 = NET_BAR + 0x800;

fn accesses(machine: &Machine) -> usize {
    machine.0.borrow().accesses.len()
}

#[test]
fn memory_is_no_device() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    for address in [
        0,
        0x9_FFFF,
        0x10_0000,
        0x7000_0000,
        0x7FFF_FFF8,
        0x1_0000_0000,
        0x1_FFFF_FFF8,
    ] {
        let refused = Err(Refused::NoDevice { address });
        assert_eq!(load(&bus, address, Width::Byte), refused);
        assert_eq!(
            store(&bus, address, Width::Byte, 0),
            Err(Refused::NoDevice { address })
        );
    }
    assert_eq!(accesses(&machine), 0);
}

#[test]
fn where_nothing_is_reads_ones() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    for address in [
        0xB_8000,
        0xF_0000,
        0x9000_0000,
        0xFED1_C000,
        0xFED4_0000,
        0xFFFF_FFF0,
        1 << 46,
    ] {
        assert_eq!(load(&bus, address, Width::Qword), Ok(u64::MAX));
        assert_eq!(load(&bus, address, Width::Word), Ok(0xFFFF));
        assert_eq!(store(&bus, address, Width::Dword, 7), Ok(Effect::None));
    }
    assert_eq!(accesses(&machine), 0);
}

#[test]
fn a_device_is_accessed_with_the_guests_width() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    for width in [Width::Byte, Width::Word, Width::Dword, Width::Qword] {
        store(&bus, HIGH_BAR + 0x10, width, 0x1122_3344_5566_7788).unwrap();
        assert_eq!(
            load(&bus, HIGH_BAR + 0x10, width),
            Ok(0x1122_3344_5566_7788 & width.ones())
        );
    }
    let state = machine.0.borrow();
    let widths: std::vec::Vec<_> = state.accesses.iter().map(|(_, width)| *width).collect();
    use Width::{Byte, Dword, Qword, Word};
    assert_eq!(widths, [Byte, Byte, Word, Word, Dword, Dword, Qword, Qword]);
}

#[test]
fn an_unaligned_access_is_one_of_bytes() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    store(&bus, HIGH_BAR + 0x11, Width::Dword, 0xAABB_CCDD).unwrap();
    assert_eq!(
        load(&bus, HIGH_BAR + 0x10, Width::Qword),
        Ok(0xAA_BBCC_DD00)
    );
    assert_eq!(load(&bus, HIGH_BAR + 0x11, Width::Dword), Ok(0xAABB_CCDD));
    // The end of the device.
    assert_eq!(load(&bus, HIGH_BAR + 0x3FFE, Width::Dword), Ok(0xFFFF_0000));
}

#[test]
fn the_trace_buffer_is_hidden() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    machine.0.borrow_mut().memory.insert(TRACE_BAR, 0x50);
    assert_eq!(load(&bus, TRACE_BAR, Width::Dword), Ok(0xFFFF_FFFF));
    store(&bus, TRACE_BAR, Width::Dword, 0).unwrap();
    assert_eq!(accesses(&machine), 0);
}

#[test]
fn the_local_apic_is_the_vcpus_own() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    let posted = [Posted::new(0), Posted::new(1)];
    for (id, posted) in posted.iter().enumerate() {
        let mut lapic = Lapic::new(posted, false);
        assert_eq!(
            bus.mmio_read(&mut lapic, 0, 0xFEE0_0020, Width::Dword),
            Ok((id as u64) << 24)
        );
        lapic.msr_write(0x1B, 0xFEE0_0C00, 0).unwrap();
        assert_eq!(
            bus.mmio_read(&mut lapic, 0, 0xFEE0_0020, Width::Dword),
            Ok(0xFFFF_FFFF),
            "no page in x2APIC mode, and never the real one"
        );
    }
    assert_eq!(accesses(&machine), 0);
}

#[test]
fn the_timer_block_sends_no_messages() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    const HPET: u64 = 0xFED0_0000;
    store(&bus, HPET + 0x100, Width::Qword, 0x7F4E).unwrap();
    assert_eq!(load(&bus, HPET + 0x100, Width::Qword), Ok(0x3F4E));
    store(&bus, HPET + 0x120, Width::Dword, 0x7F4E).unwrap();
    assert_eq!(load(&bus, HPET + 0x120, Width::Dword), Ok(0x3F4E));
    store(&bus, HPET + 0x121, Width::Byte, 0x7F).unwrap();
    assert_eq!(load(&bus, HPET + 0x120, Width::Dword), Ok(0x3F4E));
    store(&bus, HPET + 0x108, Width::Qword, 0x4000).unwrap();
    assert_eq!(
        load(&bus, HPET + 0x108, Width::Qword),
        Ok(0x4000),
        "comparator"
    );
}

/// As Linux programs an MSI-X entry: masked, address, data, open.
#[test]
fn an_entry_of_linux_reaches_the_device_unchanged() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    let entry = TABLE + 16;
    for (offset, value) in [(12, 1), (0, 0xFEE0_1000), (4, 0), (8, 0x0041), (12, 0)] {
        store(&bus, entry + offset, Width::Dword, value).unwrap();
    }
    assert_eq!(load(&bus, entry, Width::Qword), Ok(0xFEE0_1000));
    assert_eq!(load(&bus, entry + 8, Width::Qword), Ok(0x41));
    // And lets go of it.
    for (offset, value) in [(12, 1), (0, 0), (4, 0), (8, 0)] {
        store(&bus, entry + offset, Width::Dword, value).unwrap();
    }
}

#[test]
fn an_open_entry_that_is_no_ordinary_interrupt_is_refused() {
    let machine = Machine::new(1);
    let bus = bus(&machine);
    let refused = |data| {
        Err(Refused::Message {
            address: 0xFEE0_0000,
            data,
        })
    };
    store(&bus, TABLE + 12, Width::Dword, 1).unwrap();
    store(&bus, TABLE, Width::Qword, 0xFEE0_0000).unwrap();
    store(&bus, TABLE + 8, Width::Dword, 0x0500).unwrap();
    assert_eq!(store(&bus, TABLE + 12, Width::Dword, 0), refused(0x0500));
    assert_eq!(store(&bus, TABLE + 12, Width::Byte, 0), refused(0x0500));
    assert_eq!(load(&bus, TABLE + 12, Width::Dword), Ok(1), "still masked");
    store(&bus, TABLE + 8, Width::Qword, 0x41).unwrap();
    assert_eq!(store(&bus, TABLE + 9, Width::Byte, 0x04), refused(0x0441));
    // Beyond the last of four entries it is memory of the device.
    assert_eq!(
        store(&bus, TABLE + 64, Width::Dword, 0xFEE0_0000),
        Ok(Effect::None)
    );
}
