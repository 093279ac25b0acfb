// SPDX-License-Identifier: MIT OR Apache-2.0
//! The date and the time of day, from the real-time clock (MC146818).

use emulator::kvm_clock;

use super::instructions::{in8, out8};

const PORT_INDEX: u16 = 0x70;
const PORT_DATA: u16 = 0x71;
const STATUS_A: u8 = 0x0A;
const STATUS_B: u8 = 0x0B;
const CENTURY: u8 = 0x32;
const UPDATE_IN_PROGRESS: u8 = 1 << 7;
const BINARY: u8 = 1 << 2;

fn register(index: u8) -> u8 {
    out8(PORT_INDEX, index);
    in8(PORT_DATA)
}

/// Seconds, minutes, hours, day, month, year, century, as the clock has them.
fn registers() -> [u8; 7] {
    [0x00, 0x02, 0x04, 0x07, 0x08, 0x09, CENTURY].map(register)
}

/// Seconds since 1970, with QEMU's clock at UTC and in 24-hour mode, as SeaBIOS leaves it.
pub(crate) fn seconds_since_1970() -> u64 {
    let mut values = registers();
    // An update may fall into the reading: two equal ones had none.
    for _ in 0..1000 {
        if register(STATUS_A) & UPDATE_IN_PROGRESS == 0 {
            let again = registers();
            if again == values {
                break;
            }
            values = again;
        }
    }
    let binary = register(STATUS_B) & BINARY != 0;
    let number = |value: u8| {
        u32::from(if binary {
            value
        } else {
            10 * (value >> 4) + (value & 0xF)
        })
    };
    let [seconds, minutes, hours, day, month, year, century] = values.map(number);
    let year = (100 * century + year).max(1970);
    kvm_clock::seconds_since_1970(year, month, day, [hours, minutes, seconds])
}
