// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real ports and the real MMIO behind [`emulator::devices::Bus`].

use emulator::devices::{PhysIo, PortIo, Width};

use super::instructions::{in8, in16, in32, out8, out16, out32};
use super::physical::{read_volatile, write_volatile};

/// QEMU's I/O ports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports;

impl PortIo for Ports {
    fn read(&self, port: u16, width: Width) -> u32 {
        match width {
            Width::Byte => in8(port).into(),
            Width::Word => in16(port).into(),
            Width::Dword | Width::Qword => in32(port),
        }
    }

    fn write(&self, port: u16, width: Width, value: u32) {
        match width {
            Width::Byte => out8(port, value as u8),
            Width::Word => out16(port, value as u16),
            Width::Dword | Width::Qword => out32(port, value),
        }
    }
}

/// QEMU's memory-mapped I/O.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mmio;

impl PhysIo for Mmio {
    fn read(&self, address: u64, width: Width) -> u64 {
        match width {
            Width::Byte => read_volatile::<u8>(address).into(),
            Width::Word => read_volatile::<u16>(address).into(),
            Width::Dword => read_volatile::<u32>(address).into(),
            Width::Qword => read_volatile(address),
        }
    }

    fn write(&self, address: u64, width: Width, value: u64) {
        match width {
            Width::Byte => write_volatile(address, value as u8),
            Width::Word => write_volatile(address, value as u16),
            Width::Dword => write_volatile(address, value as u32),
            Width::Qword => write_volatile(address, value),
        }
    }
}
