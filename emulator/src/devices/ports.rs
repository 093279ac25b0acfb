// SPDX-License-Identifier: MIT OR Apache-2.0
//! I/O ports: QEMU's devices, but for the ports that are the emulator's own and those by which a
//! guest powers off, resets, or changes the machine under the emulator.
//!
//! | port | what happens |
//! |---|---|
//! | 0xF4 to 0xF7, 0x402, 0x5658, 0x5659 | not there: debug exit, log, VMware backdoor |
//! | 0xCF8, 0xCFC to 0xCFF | PCI configuration space ([`super::pci`]) |
//! | 0xCF9, 0x64, 0x60, 0x92 | a reset is the guest's, not QEMU's; A20 cannot be turned off |
//! | PM1a_CNT | sleep states S5 and S4 power off; others are refused |
//! | SMI_EN, 0xB2 | no SMI; 0xB2 turns ACPI on and off as firmware would |

use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use emulator_defs::exit::{DEBUG_EXIT_PORT, LOG_PORT};

use super::pci::{Address, CONFIG_ADDRESS, CONFIG_DATA};
use super::{Bus, PhysIo, PortEffect, PortIo, Refused, Width};

const KEYBOARD_DATA: u16 = 0x60;
const KEYBOARD_COMMAND: u16 = 0x64;
/// Keyboard controller: the next byte of data goes to its output port.
const KEYBOARD_WRITE_OUTPUT: u8 = 0xD1;
const KEYBOARD_DISABLE_A20: u8 = 0xDD;
/// Output port of the keyboard controller: not in reset.
const OUTPUT_RUNNING: u8 = 1 << 0;
/// Output port of the keyboard controller: A20 on.
const OUTPUT_A20: u8 = 1 << 1;

/// System control port A: reset, A20.
const CONTROL_A: u16 = 0x92;
const CONTROL_A_RESET: u8 = 1 << 0;
const CONTROL_A_A20: u8 = 1 << 1;

/// Reset control register, in the midst of CONFIG_ADDRESS.
const RESET_CONTROL: u16 = 0xCF9;
const RESET_CONTROL_RESET: u8 = 1 << 2;

/// Advanced power management control: a write raises an SMI.
const APM_CONTROL: u16 = 0xB2;
/// What QEMU's firmware takes for turning ACPI on and off.
const APM_ACPI_ENABLE: u8 = 2;
const APM_ACPI_DISABLE: u8 = 3;

/// Offsets from PMBASE (ICH9 datasheet, 13.8.3).
const PM1_CONTROL: u16 = 0x04;
const SMI_ENABLE: Range<u16> = 0x30..0x34;
const PM1_SCI_ENABLE: u16 = 1 << 0;
const PM1_SLEEP_ENABLE: u16 = 1 << 13;

const VMWARE_BACKDOOR: Range<u16> = 0x5658..0x565A;

/// The guest's half of devices whose ports are watched.
#[derive(Debug, Default)]
pub(super) struct Latches {
    config_address: AtomicU32,
    keyboard_output_next: AtomicBool,
}

/// Whether a port is not there for the guest.
const fn is_own(port: u16) -> bool {
    matches!(port - port % 4, DEBUG_EXIT_PORT)
        || port == LOG_PORT
        || VMWARE_BACKDOOR.start <= port && port < VMWARE_BACKDOOR.end
}

impl<P: PortIo, M: PhysIo> Bus<P, M> {
    /// IN of one item. `width` is at most a dword.
    pub fn port_read(&self, port: u16, width: Width) -> u32 {
        match (port, width) {
            (_, Width::Qword) => u32::MAX,
            (CONFIG_ADDRESS, Width::Dword) => self.latches.config_address.load(Ordering::Relaxed),
            _ if is_config_data(port, width) => match self.config_address(port) {
                Some(address) => self.pci.read(&self.ports, &self.memory, address, width),
                None => width.ones() as u32,
            },
            _ if self.all(port, width, |port| !self.is_read_specially(port)) => {
                self.ports.read(port, width)
            }
            (_, Width::Byte) => 0xFF,
            _ => (0..width.bytes()).fold(0, |value, byte| {
                let byte_read = match port.checked_add(byte as u16) {
                    Some(port) => self.port_read(port, Width::Byte),
                    None => 0xFF,
                };
                value | byte_read << (8 * byte)
            }),
        }
    }

    /// OUT of one item. `width` is at most a dword.
    pub fn port_write(&self, port: u16, width: Width, value: u32) -> Result<PortEffect, Refused> {
        let value = value & width.ones() as u32;
        let done = Ok(PortEffect::None);
        match (port, width) {
            (_, Width::Qword) => done,
            (CONFIG_ADDRESS, Width::Dword) => {
                self.latches.config_address.store(value, Ordering::Relaxed);
                done
            }
            _ if is_config_data(port, width) => {
                if let Some(address) = self.config_address(port) {
                    self.pci
                        .write(&self.ports, &self.memory, address, width, value)?;
                }
                done
            }
            (_, Width::Word | Width::Dword) if Some(port) == self.pm1_control() => {
                self.write_pm1_control(value as u16)
            }
            _ if self.all(port, width, |port| !self.is_written_specially(port)) => {
                self.ports.write(port, width, value);
                done
            }
            (_, Width::Byte) => self.write_special(port, value as u8),
            _ => {
                for byte in 0..width.bytes() {
                    let Some(port) = port.checked_add(byte as u16) else {
                        break;
                    };
                    let effect = self.port_write(port, Width::Byte, value >> (8 * byte) & 0xFF)?;
                    if effect != PortEffect::None {
                        return Ok(effect);
                    }
                }
                done
            }
        }
    }

    fn all(&self, port: u16, width: Width, is: impl Fn(u16) -> bool) -> bool {
        (0..width.bytes() as u16).all(|byte| port.checked_add(byte).is_some_and(&is))
    }

    fn is_read_specially(&self, port: u16) -> bool {
        is_own(port) || matches!(port, CONFIG_ADDRESS..=0xCFF if port != RESET_CONTROL)
    }

    fn is_written_specially(&self, port: u16) -> bool {
        let power = |base: u16| {
            let offset = port.wrapping_sub(base);
            offset == PM1_CONTROL || offset == PM1_CONTROL + 1 || SMI_ENABLE.contains(&offset)
        };
        is_own(port)
            || matches!(
                port,
                KEYBOARD_DATA | KEYBOARD_COMMAND | CONTROL_A | APM_CONTROL | CONFIG_ADDRESS..=0xCFF
            )
            || self.pci.power_ports().is_some_and(power)
    }

    fn write_special(&self, port: u16, value: u8) -> Result<PortEffect, Refused> {
        let pass = |value: u8| {
            self.ports.write(port, Width::Byte, value.into());
            Ok(PortEffect::None)
        };
        match port {
            KEYBOARD_COMMAND => {
                self.latches
                    .keyboard_output_next
                    .store(value == KEYBOARD_WRITE_OUTPUT, Ordering::Relaxed);
                match value {
                    // Pulses of the output port's lines: line 0 is the reset.
                    0xF0..=0xFF if value & OUTPUT_RUNNING == 0 => Ok(PortEffect::Reset),
                    KEYBOARD_DISABLE_A20 => Ok(PortEffect::None),
                    _ => pass(value),
                }
            }
            KEYBOARD_DATA => {
                if !self
                    .latches
                    .keyboard_output_next
                    .swap(false, Ordering::Relaxed)
                {
                    pass(value)
                } else if value & OUTPUT_RUNNING == 0 {
                    Ok(PortEffect::Reset)
                } else {
                    pass(value | OUTPUT_A20)
                }
            }
            CONTROL_A if value & CONTROL_A_RESET != 0 => Ok(PortEffect::Reset),
            CONTROL_A => pass(value | CONTROL_A_A20),
            RESET_CONTROL if value & RESET_CONTROL_RESET != 0 => Ok(PortEffect::Reset),
            RESET_CONTROL => pass(value),
            APM_CONTROL => {
                self.write_apm_control(value);
                Ok(PortEffect::None)
            }
            _ if Some(port) == self.pm1_control() => pass(value),
            _ if port.checked_sub(1) == self.pm1_control() && self.pm1_control().is_some() => {
                match u16::from(value) << 8 {
                    control if control & PM1_SLEEP_ENABLE != 0 => sleep(control),
                    _ => pass(value),
                }
            }
            // The emulator's own, the rest of CONFIG_ADDRESS, SMI_EN.
            _ => Ok(PortEffect::None),
        }
    }

    fn write_pm1_control(&self, value: u16) -> Result<PortEffect, Refused> {
        if value & PM1_SLEEP_ENABLE != 0 {
            return sleep(value);
        }
        if let Some(port) = self.pm1_control() {
            self.ports.write(port, Width::Word, value.into());
        }
        Ok(PortEffect::None)
    }

    /// What firmware's SMI handler does for the two commands that the ACPI tables of a PC name.
    fn write_apm_control(&self, command: u8) {
        let Some(port) = self.pm1_control() else {
            return;
        };
        let control = self.ports.read(port, Width::Word) as u16;
        let control = match command {
            APM_ACPI_ENABLE => control | PM1_SCI_ENABLE,
            APM_ACPI_DISABLE => control & !PM1_SCI_ENABLE,
            _ => return,
        };
        self.ports
            .write(port, Width::Word, (control & !PM1_SLEEP_ENABLE).into());
    }

    fn config_address(&self, port: u16) -> Option<Address> {
        Address::from_port(self.latches.config_address.load(Ordering::Relaxed), port)
    }

    fn pm1_control(&self) -> Option<u16> {
        Some(self.pci.power_ports()? + PM1_CONTROL)
    }
}

/// Whether an access is to CONFIG_DATA and stays in it.
fn is_config_data(port: u16, width: Width) -> bool {
    port & !3 == CONFIG_DATA && usize::from(port & 3) + width.bytes() <= 4
}

/// SLP_TYP of QEMU's ICH9: 0 is S5, 1 is S3, 2 is S4.
fn sleep(control: u16) -> Result<PortEffect, Refused> {
    match control >> 10 & 7 {
        0 | 2 => Ok(PortEffect::PowerOff),
        kind => Err(Refused::Sleep { kind: kind as u8 }),
    }
}
