// SPDX-License-Identifier: MIT OR Apache-2.0
//! A real machine for tests: a q35 as QEMU has it, as far as [`super::Bus`] looks at it.
//!
//! The I/O APIC and the local APICs are modelled after what QEMU's do with lines and messages, so
//! that a test follows an interrupt from a device's line to the guest's handler.

mod guest;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use super::ioapic::IOAPIC_BASE;
use super::{LogicalId, PhysIo, PortIo, RealLapic, Width};

pub(super) use guest::Guest;

pub(super) const PMBASE: u16 = 0x600;
pub(super) const ECAM: u64 = 0xB000_0000;
pub(super) const HIGH_BAR: u64 = 0x38_0000_0000;
pub(super) const NET_BAR: u64 = 0xFEBD_4000;
pub(super) const TRACE_BAR: u64 = 0xFE00_0000;

/// Devices 00:00.0 host bridge, 00:02.0 virtio-net, 00:03.0 ivshmem, 00:04.0 a bridge to bus 1,
/// 00:1f.0 LPC, 00:1f.2 AHCI with MSI, 01:00.0 virtio-blk.
pub(super) const NET: u8 = 2 << 3;
pub(super) const TRACE: u8 = 3 << 3;
pub(super) const BRIDGE: u8 = 4 << 3;
pub(super) const LPC: u8 = 31 << 3;
pub(super) const AHCI: u8 = 31 << 3 | 2;

#[derive(Clone)]
pub(super) struct Function {
    config: Vec<u8>,
    writable: Vec<u8>,
}

impl Function {
    fn new(id: u32, header: u8) -> Self {
        let mut function = Self {
            config: std::vec![0; 4096],
            writable: std::vec![0; 4096],
        };
        function.set(0, id, 0);
        function.set(4, 0, 0x0000_0507);
        function.config[0x0E] = header;
        function
    }

    fn set(&mut self, offset: usize, value: u32, writable: u32) {
        self.config[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        self.writable[offset..offset + 4].copy_from_slice(&writable.to_le_bytes());
    }

    /// A memory BAR of 64 bits.
    fn wide_bar(&mut self, offset: usize, base: u64, size: u64) {
        self.set(offset, base as u32 | 0xC, !(size - 1) as u32);
        self.set(offset + 4, (base >> 32) as u32, (!(size - 1) >> 32) as u32);
    }

    fn enable(&mut self) {
        self.config[4] = 7;
    }
}

#[derive(Default)]
pub(super) struct State {
    functions: BTreeMap<(u8, u8), Function>,
    config_address: u32,
    pub(super) ports: BTreeMap<u16, u8>,
    pub(super) port_writes: Vec<(u16, Width, u32)>,
    pub(super) memory: BTreeMap<u64, u8>,
    pub(super) accesses: Vec<(u64, Width)>,
    select: u8,
    pub(super) entries: [u64; 24],
    lines: u32,
    /// What QEMU's I/O APIC calls irr.
    pending: u32,
    lapics: Vec<RealState>,
}

#[derive(Default, Clone)]
struct RealState {
    requested: Vec<u8>,
    level: BTreeSet<u8>,
    in_service: Option<u8>,
    logical: Option<LogicalId>,
}

pub(super) struct Machine(pub(super) RefCell<State>);

impl Machine {
    pub(super) fn new(cpus: usize) -> Self {
        let mut functions = BTreeMap::new();

        let mut host = Function::new(0x29C0_8086, 0);
        host.set(0x60, ECAM as u32 | 1, u32::MAX);
        host.set(0x64, 0, u32::MAX);
        (0x90..0xA0)
            .step_by(4)
            .for_each(|at| host.set(at, 0, u32::MAX));
        functions.insert((0, 0), host);

        let mut net = Function::new(0x1041_1AF4, 0);
        net.set(0x10, 0xC001, 0xFFE0);
        net.set(0x14, NET_BAR as u32, 0xFFFF_F000);
        net.wide_bar(0x20, HIGH_BAR, 0x4000);
        net.set(0x30, 0xFEB0_0000, 0xFFFC_0001);
        // MSI-X: 4 entries at 0x800 of BAR 1.
        net.config[0x06] = 0x10;
        net.config[0x34] = 0x98;
        net.set(0x98, 3 << 16 | 0x11, 0xC000_0000);
        net.set(0x9C, 0x801, 0);
        net.set(0xA0, 0xC01, 0);
        net.enable();
        functions.insert((0, NET), net);

        let mut trace = Function::new(0x1110_1AF4, 0);
        trace.set(0x10, 0xFEBD_5000, 0xFFFF_FF00);
        trace.wide_bar(0x18, TRACE_BAR, 0x40_0000);
        trace.enable();
        functions.insert((0, TRACE), trace);

        let mut bridge = Function::new(0x000C_1B36, 1);
        bridge.set(0x18, 0x0001_0100, 0x00FF_FFFF);
        bridge.enable();
        functions.insert((0, BRIDGE), bridge);

        let mut lpc = Function::new(0x2918_8086, 0x80);
        lpc.set(0x40, u32::from(PMBASE) | 1, 0xFF80);
        lpc.set(0x44, 0x80, 0x87);
        lpc.set(0xF0, 0xFED1_C001, 0xFFFF_C001);
        functions.insert((0, LPC), lpc);

        let mut ahci = Function::new(0x2922_8086, 0);
        ahci.set(0x24, 0xFEBD_6000, 0xFFFF_F000);
        ahci.config[0x06] = 0x10;
        ahci.config[0x34] = 0x80;
        ahci.set(0x80, 0x0080_0005, 0x0071_0000);
        ahci.set(0x84, 0, 0xFFFF_FFFC);
        ahci.set(0x88, 0, 0xFFFF_FFFF);
        ahci.set(0x8C, 0, 0xFFFF);
        ahci.enable();
        functions.insert((0, AHCI), ahci);

        let mut block = Function::new(0x1042_1AF4, 0);
        block.set(0x14, 0xFE80_0000, 0xFFFF_F000);
        block.enable();
        functions.insert((1, 0), block);

        // The writable command register: I/O, memory, bus master.
        for function in functions.values_mut() {
            function.writable[4] = 7;
            function.writable[5] = 4;
        }
        Self(RefCell::new(State {
            functions,
            entries: [1 << 16; 24],
            lapics: std::vec![RealState::default(); cpus],
            ..State::default()
        }))
    }

    pub(super) fn config(&self, bus: u8, devfn: u8, offset: u16) -> u32 {
        let state = self.0.borrow();
        let config = &state.functions[&(bus, devfn)].config;
        let at = usize::from(offset);
        u32::from_le_bytes(config[at..at + 4].try_into().unwrap())
    }

    /// A device asserts or deasserts a line of the I/O APIC.
    pub(super) fn line(&self, pin: usize, asserted: bool) {
        self.0.borrow_mut().line(pin, asserted);
    }

    /// A device writes a message.
    pub(super) fn message(&self, address: u64, data: u32) {
        self.0.borrow_mut().message(address, data);
    }

    /// The vector that the real processor takes now; it is in service after.
    pub(super) fn take(&self, cpu: usize) -> Option<u8> {
        let mut state = self.0.borrow_mut();
        let lapic = &mut state.lapics[cpu];
        if lapic.in_service.is_some() {
            return None;
        }
        let vector = *lapic.requested.iter().max()?;
        lapic.requested.retain(|other| *other != vector);
        lapic.in_service = Some(vector);
        Some(vector)
    }

    pub(super) fn lapic(&self, cpu: usize) -> Real<'_> {
        Real { machine: self, cpu }
    }
}

impl State {
    fn line(&mut self, pin: usize, asserted: bool) {
        let bit = 1 << pin;
        let risen = asserted && self.lines & bit == 0;
        self.lines = self.lines & !bit | u32::from(asserted) << pin;
        let entry = self.entries[pin];
        if entry & 1 << 15 != 0 {
            self.pending = self.pending & !bit | u32::from(asserted) << pin;
        } else if risen && entry & 1 << 16 == 0 {
            self.pending |= bit;
        }
        self.service();
    }

    fn service(&mut self) {
        for pin in 0..24 {
            let entry = self.entries[pin];
            let level = entry & 1 << 15 != 0;
            if self.pending & 1 << pin == 0 || entry & 1 << 16 != 0 {
                continue;
            }
            if level {
                if entry & 1 << 14 != 0 {
                    continue;
                }
                self.entries[pin] |= 1 << 14;
            } else {
                self.pending &= !(1 << pin);
            }
            let address = 0xFEE0_0000 | (entry >> 56) << 12 | (entry >> 11 & 1) << 2;
            let data = entry as u32 & 0x87FF;
            self.message(address, data);
        }
    }

    fn message(&mut self, address: u64, data: u32) {
        let destination = (address >> 12 & 0xFF) as u8;
        let logical = address & 4 != 0;
        let (vector, mode) = (data as u8, data >> 8 & 7);
        assert!(mode <= 1 && vector >= 32, "the emulator's own: {data:#x}");
        for (id, lapic) in self.lapics.iter_mut().enumerate() {
            let reached = match (logical, lapic.logical) {
                (false, _) => destination == 0xFF || usize::from(destination) == id,
                (true, None) => false,
                (true, Some(own)) if own.flat => destination & own.ldr != 0,
                (true, Some(own)) => {
                    destination >> 4 == own.ldr >> 4 && destination & own.ldr & 0xF != 0
                }
            };
            if !reached {
                continue;
            }
            if !lapic.requested.contains(&vector) {
                lapic.requested.push(vector);
            }
            if data & 1 << 15 != 0 {
                lapic.level.insert(vector);
            } else {
                lapic.level.remove(&vector);
            }
            if mode == 1 {
                break;
            }
        }
    }

    fn end(&mut self, vector: u8) {
        for entry in &mut self.entries {
            if *entry as u8 == vector && *entry & 1 << 15 != 0 {
                *entry &= !(1 << 14);
            }
        }
        self.service();
    }

    fn write_entry(&mut self, register: u8, value: u32) {
        let Some(index) = register.checked_sub(0x10) else {
            return;
        };
        let (pin, shift) = (usize::from(index / 2), u32::from(index % 2) * 32);
        let old = self.entries[pin];
        let new = old & !(0xFFFF_FFFF << shift) | u64::from(value) << shift;
        let mut entry = new & !(1 << 14) | old & 1 << 14;
        if entry & 1 << 15 == 0 {
            entry &= !(1 << 14);
        }
        self.entries[pin] = entry;
        self.service();
    }

    fn config_byte(&mut self, bus: u8, devfn: u8, offset: usize) -> u8 {
        self.functions
            .get(&(bus, devfn))
            .map_or(0xFF, |function| function.config[offset])
    }

    fn write_config_byte(&mut self, bus: u8, devfn: u8, offset: usize, value: u8) {
        if let Some(function) = self.functions.get_mut(&(bus, devfn)) {
            let writable = function.writable[offset];
            let byte = &mut function.config[offset];
            *byte = *byte & !writable | value & writable;
        }
    }
}

impl PortIo for &Machine {
    fn read(&self, port: u16, width: Width) -> u32 {
        let mut state = self.0.borrow_mut();
        let latch = state.config_address;
        (0..width.bytes()).fold(0, |value, byte| {
            let port = port + byte as u16;
            let read = if port & !3 == 0xCFC && latch >> 31 != 0 {
                let offset = (latch & 0xFC) as usize | usize::from(port & 3);
                state.config_byte((latch >> 16) as u8, (latch >> 8) as u8, offset)
            } else {
                *state.ports.get(&port).unwrap_or(&0xFF)
            };
            value | u32::from(read) << (8 * byte)
        })
    }

    fn write(&self, port: u16, width: Width, value: u32) {
        assert!(width == Width::Dword || value >> (8 * width.bytes()) == 0);
        let mut state = self.0.borrow_mut();
        if port == 0xCF8 && width == Width::Dword {
            state.config_address = value;
            return;
        }
        let latch = state.config_address;
        if port & !3 == 0xCFC {
            for byte in 0..width.bytes() {
                let offset = (latch & 0xFC) as usize + usize::from(port & 3) + byte;
                let value = (value >> (8 * byte)) as u8;
                state.write_config_byte((latch >> 16) as u8, (latch >> 8) as u8, offset, value);
            }
            return;
        }
        state.port_writes.push((port, width, value));
        for byte in 0..width.bytes() {
            let value = (value >> (8 * byte)) as u8;
            state.ports.insert(port + byte as u16, value);
        }
    }
}

impl PhysIo for &Machine {
    fn read(&self, address: u64, width: Width) -> u64 {
        assert_eq!(address % width.bytes() as u64, 0, "unaligned");
        let mut state = self.0.borrow_mut();
        state.accesses.push((address, width));
        (0..width.bytes()).fold(0, |value, byte| {
            let at = address + byte as u64;
            let read = match at.checked_sub(ECAM) {
                Some(offset @ 0..0x1000_0000) => state.config_byte(
                    (offset >> 20) as u8,
                    (offset >> 12) as u8,
                    (offset & 0xFFF) as usize,
                ),
                _ => *state.memory.get(&at).unwrap_or(&0),
            };
            value | u64::from(read) << (8 * byte)
        })
    }

    fn write(&self, address: u64, width: Width, value: u64) {
        assert_eq!(address % width.bytes() as u64, 0, "unaligned");
        let mut state = self.0.borrow_mut();
        match (address.wrapping_sub(IOAPIC_BASE), width) {
            (0x00, Width::Dword) => state.select = value as u8,
            (0x10, Width::Dword) => {
                let register = state.select;
                state.write_entry(register, value as u32);
            }
            (0x40, Width::Dword) => state.end(value as u8),
            (0..0x1000, _) => panic!("I/O APIC at {address:#x}"),
            _ => {
                state.accesses.push((address, width));
                for byte in 0..width.bytes() {
                    let at = address + byte as u64;
                    state.memory.insert(at, (value >> (8 * byte)) as u8);
                }
            }
        }
    }
}

pub(super) struct Real<'m> {
    machine: &'m Machine,
    cpu: usize,
}

impl RealLapic for Real<'_> {
    fn is_level(&self, vector: u8) -> bool {
        self.machine.0.borrow().lapics[self.cpu]
            .level
            .contains(&vector)
    }

    fn end_of_interrupt(&self) {
        let mut state = self.machine.0.borrow_mut();
        let lapic = &mut state.lapics[self.cpu];
        let vector = lapic.in_service.take().expect("an interrupt in service");
        if lapic.level.contains(&vector) {
            state.end(vector);
        }
    }

    fn set_logical(&self, id: LogicalId) {
        self.machine.0.borrow_mut().lapics[self.cpu].logical = Some(id);
    }
}
