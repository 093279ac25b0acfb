// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first serial port, and the end of the machine, both over the GHCB's port I/O.

use core::fmt;

use crate::machine::ghcb;

/// Data register of the first serial port.
const COM1: u16 = 0x3F8;
/// Line status register; bit 5: a byte can be written.
const COM1_STATUS: u16 = COM1 + 5;
/// How often to ask for it before the byte is given up.
const PATIENCE: u32 = 10_000;
/// ACPI PM1a control register where SeaBIOS puts it on q35.
const PM1A_CONTROL: u16 = 0x604;
/// SLP_EN with SLP_TYP 0: S5 on q35.
const POWER_OFF: u16 = 1 << 13;

/// Writes text to the first serial port.
pub(crate) struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // Otherwise the device drops bytes when its other end is slow.
            for _ in 0..PATIENCE {
                if ghcb::port_read(COM1_STATUS, 1).is_ok_and(|status| status & 0x20 != 0) {
                    break;
                }
            }
            ghcb::port_write(COM1, u32::from(byte), 1).map_err(|_| fmt::Error)?;
        }
        Ok(())
    }
}

/// Powers the machine off.
pub(crate) fn power_off() -> ! {
    loop {
        let _ = ghcb::port_write(PM1A_CONTROL, u32::from(POWER_OFF), 2);
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    use core::fmt::Write as _;
    let _ = writeln!(Console, "Bail out! {info}");
    power_off()
}
