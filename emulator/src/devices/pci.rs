// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI functions: their configuration space, which the guest uses directly but for a few
//! registers, and their memory BARs, by which an MMIO address finds its function.
//!
//! Firmware numbered the buses before the emulator started; the functions are listed once. The
//! list follows the guest when it moves a BAR.
//!
//! What the guest cannot do:
//! * see the device of the emulator's trace buffer;
//! * move memory windows of the chipset over RAM (PAM, SMRAM, TSEG, PCIEXBAR, RCBA): those writes
//!   are dropped, as from locked registers;
//! * renumber buses, or move an I/O BAR over the emulator's own ports: refused;
//! * program a message that is no ordinary interrupt ([`msi`]): refused.

mod scan;

use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use emulator_defs::exit::{DEBUG_EXIT_PORT, LOG_PORT};
use spin::Mutex;

use super::msi::{self, Capability};
use super::{PhysIo, PortIo, Refused, Width};

/// CONFIG_ADDRESS of configuration mechanism 1.
pub(super) const CONFIG_ADDRESS: u16 = 0xCF8;
/// CONFIG_DATA of configuration mechanism 1: four ports.
pub(super) const CONFIG_DATA: u16 = 0xCFC;

const COMMAND: u16 = 0x04;
const COMMAND_IO: u16 = 1 << 0;
const COMMAND_MEMORY: u16 = 1 << 1;
const BUS_NUMBERS: Range<u16> = 0x18..0x1B;
const ROM_ENABLE: u32 = 1;
/// Registers that decide which BARs are decoded, and where.
const DECODING: Range<u16> = COMMAND..0x3C;

/// ICH9 LPC bridge, PMBASE and ACPI_CNTL.
const LPC_POWER: Range<u16> = 0x40..0x45;
const LPC_ACPI_ENABLE: u8 = 1 << 7;
/// ICH9 LPC bridge, RCBA.
const LPC_RCBA: Range<u16> = 0xF0..0xF4;
/// Q35 host bridge, PCIEXBAR.
const HOST_PCIEXBAR: Range<u16> = 0x60..0x68;
/// Q35 host bridge, PAM0 to PAM6, SMRAM, ESMRAMC and what lies between.
const HOST_WINDOWS: Range<u16> = 0x90..0xA0;

/// One register of one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    /// Bus number.
    pub(super) bus: u8,
    /// Device number (5 bits) and function number (3 bits).
    pub(super) devfn: u8,
    /// Byte offset, less than 4096.
    pub(super) offset: u16,
}

impl Address {
    /// By what CONFIG_ADDRESS holds and which of the data ports is accessed; `None` if it does not
    /// enable configuration accesses.
    pub(super) const fn from_port(latch: u32, port: u16) -> Option<Self> {
        if latch & 1 << 31 == 0 {
            return None;
        }
        Some(Self {
            bus: (latch >> 16) as u8,
            devfn: (latch >> 8) as u8,
            offset: (latch & 0xFC) as u16 | port & 3,
        })
    }

    /// By the offset into the memory-mapped configuration space (PCI Express 7.2.2).
    pub(super) const fn from_ecam(offset: u64) -> Self {
        Self {
            bus: (offset >> 20) as u8,
            devfn: (offset >> 12) as u8,
            offset: (offset & 0xFFF) as u16,
        }
    }

    const fn at(self, offset: u16) -> Self {
        Self { offset, ..self }
    }

    const fn latch(self) -> u32 {
        1 << 31 | (self.bus as u32) << 16 | (self.devfn as u32) << 8 | (self.offset & 0xFC) as u32
    }

    fn overlaps(self, width: Width, range: &Range<u16>) -> bool {
        self.offset < range.end && range.start < self.offset + width.bytes() as u16
    }
}

/// Which function it is, as far as the emulator cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Host,
    Lpc,
    Bridge,
    Hidden,
    Other,
}

/// A base address register of memory, or the expansion ROM's.
#[derive(Debug)]
struct MemoryBar {
    /// Offset of the register.
    register: u16,
    /// Number of the register, as MSI-X names it.
    number: u8,
    /// The next register holds the upper half.
    wide: bool,
    /// Bytes, a power of two.
    size: u64,
    /// Where it is decoded; [`NOT_DECODED`] if it is not.
    base: AtomicU64,
}

const NOT_DECODED: u64 = u64::MAX;
const ROM_NUMBER: u8 = 6;

/// A base address register of ports.
#[derive(Debug)]
struct PortBar {
    register: u16,
    size: u32,
}

/// Where the MSI-X table is.
#[derive(Debug)]
struct Table {
    bar: u8,
    range: Range<u64>,
}

#[derive(Debug)]
struct Function {
    address: Address,
    kind: Kind,
    memory: Vec<MemoryBar>,
    ports: Vec<PortBar>,
    table: Option<Table>,
    /// Offset of the MSI capability.
    message: Option<u16>,
}

/// What an MMIO address means on the PCI bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// A function takes it.
    Memory,
    /// It is in the MSI-X table that starts at this address.
    Table(u64),
}

/// All PCI functions.
#[derive(Debug)]
pub(super) struct Pci {
    functions: Vec<Function>,
    /// Memory-mapped configuration space.
    ecam: Range<u64>,
    /// Base of the power management ports, 0 if they are off.
    power: AtomicU16,
    /// Held over the two halves of a real configuration access, and over check and write.
    lock: Mutex<()>,
}

impl Pci {
    /// Lists the functions. Sizes their BARs, so no device may be in use.
    pub(super) fn new(ports: &impl PortIo) -> Self {
        let pci = Self {
            functions: scan::functions(ports),
            ecam: scan::ecam(ports),
            power: AtomicU16::new(0),
            lock: Mutex::new(()),
        };
        for function in &pci.functions {
            // Firmware's own BARs are where no port of the emulator is.
            let _ = pci.follow(ports, function);
        }
        pci
    }

    /// The memory-mapped configuration space, by physical address.
    pub(super) fn ecam(&self) -> &Range<u64> {
        &self.ecam
    }

    /// Base of the power management ports (ICH9 PMBASE), if they are on.
    pub(super) fn power_ports(&self) -> Option<u16> {
        match self.power.load(Ordering::Relaxed) {
            0 => None,
            base => Some(base),
        }
    }

    /// The function that takes a memory access, if one does that the guest may see.
    pub(super) fn claim(&self, address: u64) -> Option<Claim> {
        for function in &self.functions {
            for bar in &function.memory {
                let base = bar.base.load(Ordering::Relaxed);
                let Some(offset) = address.checked_sub(base).filter(|o| *o < bar.size) else {
                    continue;
                };
                if function.kind == Kind::Hidden {
                    return None;
                }
                return Some(match &function.table {
                    Some(table) if table.bar == bar.number && table.range.contains(&offset) => {
                        Claim::Table(base + table.range.start)
                    }
                    _ => Claim::Memory,
                });
            }
        }
        None
    }

    /// Reads a register, by a real access of the same width.
    pub(super) fn read(
        &self,
        ports: &impl PortIo,
        memory: &impl PhysIo,
        address: Address,
        width: Width,
    ) -> u32 {
        match self.function(address) {
            Some(function) if function.kind == Kind::Hidden => width.ones() as u32,
            _ if address.offset < 256 => {
                let _guard = self.lock.lock();
                read(ports, address, width)
            }
            _ => self
                .extended(address)
                .map_or(width.ones() as u32, |at| memory.read(at, width) as u32),
        }
    }

    /// Writes a register, by a real access of the same width.
    pub(super) fn write(
        &self,
        ports: &impl PortIo,
        memory: &impl PhysIo,
        address: Address,
        width: Width,
        value: u32,
    ) -> Result<(), Refused> {
        if address.offset >= 256 {
            let hidden = |function: &Function| function.kind == Kind::Hidden;
            if !self.function(address).is_some_and(hidden)
                && let Some(at) = self.extended(address)
            {
                memory.write(at, width, value.into());
            }
            return Ok(());
        }
        let _guard = self.lock.lock();
        let Some(function) = self.function(address) else {
            write(ports, address, width, value);
            return Ok(());
        };
        let touches = |range: &Range<u16>| address.overlaps(width, range);
        match function.kind {
            Kind::Hidden => return Ok(()),
            Kind::Host if touches(&HOST_PCIEXBAR) || touches(&HOST_WINDOWS) => return Ok(()),
            Kind::Lpc if touches(&LPC_RCBA) => return Ok(()),
            Kind::Bridge if touches(&BUS_NUMBERS) => {
                let before = read(ports, address.at(BUS_NUMBERS.start), Width::Dword);
                if patched(before, address, width, value) & 0xFF_FFFF != before & 0xFF_FFFF {
                    return Err(Refused::BusNumbers {
                        bus: address.bus,
                        devfn: address.devfn,
                    });
                }
            }
            _ => {}
        }
        if let Some(capability) = function.message {
            check_message(ports, address, width, value, capability)?;
        }
        let before = read(ports, address, width);
        write(ports, address, width, value);
        if touches(&DECODING) || function.kind == Kind::Lpc && touches(&LPC_POWER) {
            self.follow(ports, function)
                .inspect_err(|_| write(ports, address, width, before))?;
        }
        Ok(())
    }

    fn function(&self, address: Address) -> Option<&Function> {
        self.functions
            .iter()
            .find(|f| (f.address.bus, f.address.devfn) == (address.bus, address.devfn))
    }

    /// Physical address of a register in the memory-mapped configuration space.
    fn extended(&self, address: Address) -> Option<u64> {
        let at = self.ecam.start
            + (u64::from(address.bus) << 20
                | u64::from(address.devfn) << 12
                | u64::from(address.offset));
        self.ecam.contains(&at).then_some(at)
    }

    /// Notes where a function is decoded now. The lock is held, or nobody else runs.
    fn follow(&self, ports: &impl PortIo, function: &Function) -> Result<(), Refused> {
        let at = |offset| function.address.at(offset);
        let command = read(ports, at(COMMAND), Width::Word) as u16;
        if command & COMMAND_IO != 0 {
            for bar in &function.ports {
                let base = read(ports, at(bar.register), Width::Dword) & !3;
                if overlaps_own(base, bar.size) {
                    return Err(Refused::PortBar { base });
                }
            }
        }
        for bar in &function.memory {
            let low = read(ports, at(bar.register), Width::Dword);
            let high = match bar.wide {
                true => read(ports, at(bar.register + 4), Width::Dword),
                false => 0,
            };
            let decoded = command & COMMAND_MEMORY != 0
                && (bar.number != ROM_NUMBER || low & ROM_ENABLE != 0);
            let base = (u64::from(high) << 32 | u64::from(low)) & !(bar.size - 1);
            let base = if decoded { base } else { NOT_DECODED };
            bar.base.store(base, Ordering::Relaxed);
        }
        if function.kind == Kind::Lpc {
            let base = read(ports, at(LPC_POWER.start), Width::Dword) & 0xFF80;
            let enabled = read(ports, at(LPC_POWER.start + 4), Width::Byte) as u8;
            let enabled = enabled & LPC_ACPI_ENABLE != 0;
            self.power
                .store(if enabled { base as u16 } else { 0 }, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Whether a range of ports covers one of those that the emulator uses itself.
fn overlaps_own(base: u32, size: u32) -> bool {
    let covers = |port: u16| base <= port.into() && u32::from(port) - base < size;
    (DEBUG_EXIT_PORT..DEBUG_EXIT_PORT + 4).any(covers)
        || covers(LOG_PORT)
        || (CONFIG_ADDRESS..CONFIG_DATA + 4).any(covers)
}

/// Checks a write against the MSI capability at `capability`.
fn check_message(
    ports: &impl PortIo,
    address: Address,
    width: Width,
    value: u32,
    capability: u16,
) -> Result<(), Refused> {
    if !address.overlaps(width, &(capability..capability + Capability::SIZE)) {
        return Ok(());
    }
    let mut dwords = [0; 4];
    for (offset, dword) in (capability..).step_by(4).zip(&mut dwords) {
        *dword = read(ports, address.at(offset), Width::Dword);
    }
    // Accesses do not leave their dword, and the capability begins with one.
    let offset = usize::from(address.offset - capability);
    msi::patch(&mut dwords, offset, width.bytes(), value.into());
    Capability(dwords).check()
}

/// The dword at `address`, whose value is `before`, after a write within it.
fn patched(before: u32, address: Address, width: Width, value: u32) -> u32 {
    let mut dwords = [before, 0, 0, 0];
    let offset = usize::from(address.offset % 4);
    msi::patch(&mut dwords, offset, width.bytes(), value.into());
    dwords[0]
}

/// A real read by configuration mechanism 1. It stays within its dword.
fn read(ports: &impl PortIo, address: Address, width: Width) -> u32 {
    ports.write(CONFIG_ADDRESS, Width::Dword, address.latch());
    ports.read(CONFIG_DATA + address.offset % 4, width)
}

/// A real write by configuration mechanism 1. It stays within its dword.
fn write(ports: &impl PortIo, address: Address, width: Width, value: u32) {
    ports.write(CONFIG_ADDRESS, Width::Dword, address.latch());
    ports.write(CONFIG_DATA + address.offset % 4, width, value);
}
