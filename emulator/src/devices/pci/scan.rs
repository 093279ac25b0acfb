// SPDX-License-Identifier: MIT OR Apache-2.0
//! The list of PCI functions, taken once before the guest runs.

use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::AtomicU64;

use emulator_defs::trace;

use super::super::msi::TableEntry;
use super::super::{PortIo, Width};
use super::{
    Address, COMMAND, COMMAND_IO, COMMAND_MEMORY, Function, HOST_PCIEXBAR, Kind, MemoryBar,
    NOT_DECODED, PortBar, ROM_NUMBER, Table, read, write,
};

const HEADER_TYPE: u16 = 0x0E;
const HEADER_MULTIFUNCTION: u8 = 1 << 7;
const HEADER_BRIDGE: u8 = 1;
const SECONDARY_BUS: u16 = 0x19;
const STATUS: u16 = 0x06;
const STATUS_CAPABILITIES: u32 = 1 << 4;
const FIRST_CAPABILITY: u16 = 0x34;
const CAPABILITY_MSI: u8 = 0x05;
const CAPABILITY_MSIX: u8 = 0x11;

const BAR_FIRST: u16 = 0x10;
const BAR_PORTS: u32 = 1;
const BAR_WIDE: u32 = 0b100;
const ROM: u16 = 0x30;
const ROM_OF_BRIDGE: u16 = 0x38;
const ROM_MASK: u32 = !0x7FF;

/// Intel Q35 host bridge and ICH9 LPC bridge.
const ID_HOST: u32 = 0x29C0_8086;
const ID_LPC: u32 = 0x2918_8086;
const ID_HIDDEN: u32 = (trace::PCI_ID.1 as u32) << 16 | trace::PCI_ID.0 as u32;

/// All functions of bus 0 and of the buses that firmware numbered behind its bridges.
pub(super) fn functions(ports: &impl PortIo) -> Vec<Function> {
    let mut functions = Vec::new();
    let mut buses = Vec::from([0_u8]);
    while let Some(bus) = buses.pop() {
        for device in 0..32_u8 {
            let address = |function: u8| Address {
                bus,
                devfn: device << 3 | function,
                offset: 0,
            };
            if !is_present(ports, address(0)) {
                continue;
            }
            let header = read(ports, address(0).at(HEADER_TYPE), Width::Byte) as u8;
            let count = if header & HEADER_MULTIFUNCTION != 0 {
                8
            } else {
                1
            };
            for address in (0..count).map(address).filter(|a| is_present(ports, *a)) {
                let function = function(ports, address);
                if function.kind == Kind::Bridge {
                    let behind = read(ports, address.at(SECONDARY_BUS), Width::Byte) as u8;
                    // Numbers grow away from the root, so that the walk ends.
                    if behind > bus {
                        buses.push(behind);
                    }
                }
                functions.push(function);
            }
        }
    }
    functions
}

/// Where the host bridge decodes the memory-mapped configuration space; empty if nowhere.
pub(super) fn ecam(ports: &impl PortIo) -> Range<u64> {
    let host = Address {
        bus: 0,
        devfn: 0,
        offset: HOST_PCIEXBAR.start,
    };
    if read(ports, host.at(0), Width::Dword) != ID_HOST {
        return 0..0;
    }
    let low = u64::from(read(ports, host, Width::Dword));
    let high = u64::from(read(ports, host.at(host.offset + 4), Width::Dword));
    let size = match low & 7 {
        0b001 => 256 << 20,
        0b011 => 128 << 20,
        0b101 => 64 << 20,
        _ => return 0..0,
    };
    let base = (high << 32 | low) & 0xF_FC00_0000 & !(size - 1);
    base..base + size
}

fn is_present(ports: &impl PortIo, address: Address) -> bool {
    read(ports, address, Width::Word) != 0xFFFF
}

fn function(ports: &impl PortIo, address: Address) -> Function {
    let header = read(ports, address.at(HEADER_TYPE), Width::Byte) as u8 & 0x7F;
    let kind = match read(ports, address, Width::Dword) {
        ID_HIDDEN => Kind::Hidden,
        ID_HOST => Kind::Host,
        ID_LPC => Kind::Lpc,
        _ if header == HEADER_BRIDGE => Kind::Bridge,
        _ => Kind::Other,
    };
    let mut function = Function {
        address,
        kind,
        memory: Vec::new(),
        ports: Vec::new(),
        table: None,
        message: None,
    };
    let (bars, rom) = match header {
        0 => (6, Some(ROM)),
        HEADER_BRIDGE => (2, Some(ROM_OF_BRIDGE)),
        _ => (0, None),
    };
    // Nothing is decoded while a BAR holds the ones that its size is read by.
    let command = read(ports, address.at(COMMAND), Width::Word);
    let off = command & !u32::from(COMMAND_IO | COMMAND_MEMORY);
    write(ports, address.at(COMMAND), Width::Word, off);
    base_address_registers(ports, &mut function, bars);
    if let Some(register) = rom {
        let size = probe(ports, address.at(register)) & ROM_MASK;
        if size != 0 {
            function.memory.push(MemoryBar {
                register,
                number: ROM_NUMBER,
                wide: false,
                size: u64::from(size & size.wrapping_neg()),
                base: AtomicU64::new(NOT_DECODED),
            });
        }
    }
    write(ports, address.at(COMMAND), Width::Word, command);
    capabilities(ports, &mut function);
    function
}

fn base_address_registers(ports: &impl PortIo, function: &mut Function, count: u8) {
    let mut number = 0;
    while number < count {
        let register = BAR_FIRST + 4 * u16::from(number);
        let address = function.address.at(register);
        let kind = read(ports, address, Width::Dword);
        let writable = probe(ports, address);
        if kind & BAR_PORTS != 0 {
            let writable = writable & 0xFFFC;
            if writable != 0 {
                function.ports.push(PortBar {
                    register,
                    size: writable & writable.wrapping_neg(),
                });
            }
            number += 1;
            continue;
        }
        let wide = kind & BAR_WIDE != 0 && number + 1 < count;
        let high = match wide {
            true => probe(ports, address.at(register + 4)),
            false => 0,
        };
        let writable = u64::from(high) << 32 | u64::from(writable & !0xF);
        if writable != 0 {
            function.memory.push(MemoryBar {
                register,
                number,
                wide,
                size: writable & writable.wrapping_neg(),
                base: AtomicU64::new(NOT_DECODED),
            });
        }
        number += if wide { 2 } else { 1 };
    }
}

/// The bits of a BAR that can be set. Its value stays.
fn probe(ports: &impl PortIo, address: Address) -> u32 {
    let value = read(ports, address, Width::Dword);
    write(ports, address, Width::Dword, u32::MAX);
    let writable = read(ports, address, Width::Dword);
    write(ports, address, Width::Dword, value);
    writable
}

fn capabilities(ports: &impl PortIo, function: &mut Function) {
    let address = function.address;
    if read(ports, address.at(STATUS), Width::Word) & STATUS_CAPABILITIES == 0 {
        return;
    }
    let mut offset = read(ports, address.at(FIRST_CAPABILITY), Width::Byte) as u16 & 0xFC;
    // At most as many as fit: a list that runs in a circle ends.
    for _ in 0..48 {
        if offset < 0x40 {
            return;
        }
        let header = read(ports, address.at(offset), Width::Dword);
        match header as u8 {
            CAPABILITY_MSI => function.message = Some(offset),
            CAPABILITY_MSIX => {
                let entries = u64::from(header >> 16 & 0x7FF) + 1;
                let place = read(ports, address.at(offset + 4), Width::Dword);
                let start = u64::from(place & !7);
                function.table = Some(Table {
                    bar: (place & 7) as u8,
                    range: start..start + entries * TableEntry::SIZE,
                });
            }
            _ => {}
        }
        offset = (header >> 8) as u16 & 0xFC;
    }
}
