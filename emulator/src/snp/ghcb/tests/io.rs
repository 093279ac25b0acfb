// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ports, memory-mapped I/O and the scratch area.

use super::*;

const IN: u64 = 1;
const STRING: u64 = 1 << 2;
const REP: u64 = 1 << 3;

fn info(port: u16, size: u64, flags: u64) -> u64 {
    u64::from(port) << 16 | size << 4 | flags
}

#[test]
fn out_takes_the_low_bytes() {
    let mut vcpu = Vcpu::default();
    for (size, value) in [(1, 0x44), (2, 0x3344), (4, 0x1122_3344)] {
        let _ = vcpu.call(
            exit::IOIO,
            info(0x3F8, size, 0),
            0,
            &[(field::RAX, 0x1122_3344)],
        );
        assert_eq!(vcpu.answer(), SERVED);
        assert_eq!(vcpu.host.ports.pop(), Some((0x3F8, size as u8, value)));
    }
}

#[test]
fn in_leaves_the_upper_bytes_alone() {
    let mut vcpu = Vcpu::default();
    for (size, value) in [
        (1, 0xAAAA_AAAA_AAAA_AA78),
        (2, 0xAAAA_AAAA_AAAA_5678),
        (4, 0x1234_5678),
    ] {
        let rax = (field::RAX, 0xAAAA_AAAA_AAAA_AAAA);
        let _ = vcpu.call(exit::IOIO, info(0x60, size, IN), 0, &[rax]);
        assert_eq!(vcpu.field(field::RAX), Some(value));
    }
    let _ = vcpu.call(exit::IOIO, info(0x60, 1, IN), 0, &[]);
    assert_eq!(vcpu.field(field::RAX), Some(0x78));
}

#[test]
fn port_access_is_checked() {
    let mut vcpu = Vcpu::default();
    for size in [0, 3, 7] {
        let _ = vcpu.call(exit::IOIO, info(0x60, size, IN), 0, &[]);
        assert_eq!(vcpu.answer(), refused(malformed::INVALID_INPUT));
    }
    let _ = vcpu.call(exit::IOIO, info(0x60, 1, 0), 0, &[]);
    assert_eq!(vcpu.answer(), refused(malformed::MISSING_INPUT));
    assert!(vcpu.host.ports.is_empty());
}

#[test]
fn string_output_takes_units_from_the_scratch_area() {
    let mut vcpu = Vcpu::default();
    vcpu.put(BUFFER, &[1, 0, 2, 0, 3, 0]);
    let flags = STRING | REP;
    let scratch = [(field::SCRATCH, BUFFER)];
    let _ = vcpu.call(exit::IOIO, info(0x1F0, 2, flags), 3, &scratch);
    assert_eq!(vcpu.answer(), SERVED);
    assert_eq!(
        vcpu.host.ports,
        [(0x1F0, 2, 1), (0x1F0, 2, 2), (0x1F0, 2, 3)]
    );
}

#[test]
fn string_input_fills_shared_memory_outside_the_ghcb() {
    let mut vcpu = Vcpu::default();
    let scratch = [(field::SCRATCH, SHARED + 0xFFC)];
    let _ = vcpu.call(exit::IOIO, info(0x1F0, 4, IN | STRING | REP), 2, &scratch);
    assert_eq!(vcpu.answer(), SERVED);
    assert_eq!(
        vcpu.get(SHARED + 0xFFC, 8),
        [0x78, 0x56, 0x34, 0x12, 0x78, 0x56, 0x34, 0x12]
    );
}

#[test]
fn the_scratch_area_has_to_be_where_it_may_be() {
    let mut vcpu = Vcpu::default();
    for scratch in [
        0,
        GHCB + 0x7FC,       // Runs into the shared buffer.
        BUFFER + 0x7F0 - 4, // Runs out of it.
        GHCB - 4,           // Runs into the page.
        PRIVATE,
        SHARED + 0x1FFC, // Runs out of shared memory.
        u64::MAX - 3,
    ] {
        let _ = vcpu.call(
            exit::IOIO,
            info(0x1F0, 4, STRING),
            2,
            &[(field::SCRATCH, scratch)],
        );
        assert_eq!(
            vcpu.answer(),
            refused(malformed::INVALID_SCRATCH),
            "{scratch:#x}"
        );
    }
    let _ = vcpu.call(exit::IOIO, info(0x1F0, 4, STRING), 2, &[]);
    assert_eq!(vcpu.answer(), refused(malformed::MISSING_INPUT));
    assert!(vcpu.host.ports.is_empty());
}

#[test]
fn a_string_is_no_longer_than_the_scratch_area_may_be() {
    let mut vcpu = Vcpu::default();
    for count in [0x1001, u64::MAX] {
        let _ = vcpu.call(
            exit::IOIO,
            info(0x1F0, 4, STRING),
            count,
            &[(field::SCRATCH, BUFFER)],
        );
        assert_eq!(vcpu.answer(), refused(malformed::INVALID_INPUT));
    }
}

#[test]
fn mmio_goes_by_the_scratch_area() {
    let mut vcpu = Vcpu::default();
    let scratch = [(field::SCRATCH, BUFFER)];
    vcpu.put(BUFFER, &[1, 2, 3, 4]);
    let _ = vcpu.call(exit::MMIO_WRITE, 0xFEE0_0080, 4, &scratch);
    assert_eq!(vcpu.answer(), SERVED);
    vcpu.put(BUFFER, &[0; 4]);
    let _ = vcpu.call(exit::MMIO_READ, 0xFEE0_0080, 4, &scratch);
    assert_eq!(vcpu.get(BUFFER, 4), [1, 2, 3, 4]);
}

#[test]
fn mmio_is_checked() {
    let mut vcpu = Vcpu::default();
    for code in [exit::MMIO_READ, exit::MMIO_WRITE] {
        for length in [0, 3, 16, 1 << 40] {
            let _ = vcpu.call(code, 0xFEE0_0000, length, &[(field::SCRATCH, BUFFER)]);
            assert_eq!(vcpu.answer(), refused(malformed::INVALID_INPUT));
        }
        let _ = vcpu.call(code, 0xFEE0_0000, 4, &[(field::SCRATCH, PRIVATE)]);
        assert_eq!(vcpu.answer(), refused(malformed::INVALID_SCRATCH));
    }
    // Nothing there.
    let _ = vcpu.call(exit::MMIO_READ, 0x1234, 4, &[(field::SCRATCH, BUFFER)]);
    assert_eq!(vcpu.answer(), refused(malformed::INVALID_INPUT));
}
