// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way from a guest's access to the device that answers it.
//!
//! | physical address | what answers |
//! |---|---|
//! | RAM, of the guest or the emulator | nothing: refused |
//! | 0xA0000 to 0xFFFFF | nothing: reads ones (no video memory, no option ROM) |
//! | 0xFEE00000, xAPIC mode | the vCPU's own [`Lapic`] |
//! | 0xFEC00000 | [`super::ioapic`] |
//! | 0xFED00000 | QEMU's HPET |
//! | PCIEXBAR | PCI configuration space ([`super::pci`]) |
//! | a memory BAR | QEMU's device |
//! | anything else | nothing: reads ones |

use emulator_defs::layout::{GIB, ISA_RANGE};
use spin::Mutex;

use super::ioapic::{IOAPIC_BASE, Ioapic};
use super::msi::{self, TableEntry};
use super::pci::{Address, Claim, Pci};
use super::ports::Latches;
use super::{Effect, Lapic, PhysIo, PortIo, Posted, RealLapic, Refused, Width};

const HPET_BASE: u64 = 0xFED0_0000;
const HPET_SIZE: u64 = 0x400;
/// First of the HPET's timers; each has 32 bytes, its configuration first.
const HPET_TIMERS: u64 = 0x100;
/// A timer sends a message of its own instead of raising an interrupt line. QEMU's HPET does not
/// offer it, but does it.
const HPET_TIMER_MESSAGE: u64 = 1 << 14;

/// From here to 4 GiB there are only the chipset's own devices: a BAR that the guest puts there
/// is not decoded.
const CHIPSET: core::ops::Range<u64> = IOAPIC_BASE..4 * GIB;

/// Where RAM is in host-physical memory: device accesses never go there.
#[derive(Debug, Clone, Copy)]
pub struct Ram {
    /// End (exclusive) of the RAM that starts at 0.
    pub low_end: u64,
    /// End (exclusive) of the RAM that starts at 4 GiB.
    pub high_end: u64,
}

/// What a write to a port means beyond the device that took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortEffect {
    /// Nothing.
    None,
    /// The guest powers the machine off; the write did not reach QEMU.
    PowerOff,
    /// The guest resets the machine; the write did not reach QEMU.
    Reset,
}

/// All devices of the machine. Shared by all vCPUs.
#[derive(Debug)]
pub struct Bus<P, M> {
    pub(super) ports: P,
    pub(super) memory: M,
    pub(super) latches: Latches,
    pub(super) pci: Pci,
    ram: Ram,
    ioapic: Mutex<Ioapic>,
    /// Held over check and write of an MSI-X table entry.
    tables: Mutex<()>,
}

/// What answers at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Lapic(u16),
    Ioapic(u64),
    Hpet(u64),
    Config(Address),
    Device,
    Table(u64),
    Nothing,
}

impl<P: PortIo, M: PhysIo> Bus<P, M> {
    /// Takes stock of the real machine: lists the PCI functions, finds the power management ports,
    /// masks all pins of the I/O APIC. No device is in use yet, and no other vCPU runs.
    pub fn new(ports: P, memory: M, ram: Ram) -> Self {
        let pci = Pci::new(&ports);
        let ioapic = Mutex::new(Ioapic::new(&memory));
        Self {
            ports,
            memory,
            latches: Latches::default(),
            pci,
            ram,
            ioapic,
            tables: Mutex::new(()),
        }
    }

    /// A load from MMIO by the vCPU and VMPL to which `lapic` belongs.
    pub fn mmio_read(
        &self,
        lapic: &mut Lapic<'_>,
        now: u64,
        gpa: u64,
        width: Width,
    ) -> Result<u64, Refused> {
        if !is_aligned(gpa, width) {
            return (0..width.bytes()).try_fold(0, |value, byte| {
                let at = gpa.wrapping_add(byte as u64);
                let byte_read = self.mmio_read(lapic, now, at, Width::Byte)?;
                Ok(value | byte_read << (8 * byte))
            });
        }
        let dword = width == Width::Dword;
        Ok(match self.target(lapic, gpa)? {
            Target::Lapic(offset) if dword => lapic.mmio_read(offset, now).into(),
            Target::Ioapic(offset) if dword => self.ioapic.lock().read(offset).into(),
            // Undefined in other widths; the registers are of 32 bits.
            Target::Lapic(_) | Target::Ioapic(_) => 0,
            Target::Config(address) if width <= Width::Dword => self
                .pci
                .read(&self.ports, &self.memory, address, width)
                .into(),
            Target::Hpet(_) | Target::Device | Target::Table(_) => self.memory.read(gpa, width),
            Target::Config(_) | Target::Nothing => width.ones(),
        })
    }

    /// A store to MMIO by the vCPU and VMPL to which `lapic` belongs.
    pub fn mmio_write(
        &self,
        lapic: &mut Lapic<'_>,
        now: u64,
        gpa: u64,
        width: Width,
        value: u64,
    ) -> Result<Effect, Refused> {
        if !is_aligned(gpa, width) {
            for byte in 0..width.bytes() {
                let at = gpa.wrapping_add(byte as u64);
                self.mmio_write(lapic, now, at, Width::Byte, value >> (8 * byte))?;
            }
            return Ok(Effect::None);
        }
        let value = value & width.ones();
        let dword = width == Width::Dword;
        match self.target(lapic, gpa)? {
            Target::Lapic(offset) if dword => {
                return Ok(lapic.mmio_write(offset, value as u32, now));
            }
            Target::Ioapic(offset) if dword => {
                let mut ioapic = self.ioapic.lock();
                ioapic.write(&self.memory, offset, value as u32);
            }
            Target::Config(address) if width <= Width::Dword => {
                self.pci
                    .write(&self.ports, &self.memory, address, width, value as u32)?;
            }
            Target::Hpet(offset) if width >= Width::Dword => {
                self.memory.write(gpa, width, hpet_value(offset, value));
            }
            Target::Device => self.memory.write(gpa, width, value),
            Target::Table(table) => self.write_table(table, gpa, width, value)?,
            Target::Lapic(_)
            | Target::Ioapic(_)
            | Target::Hpet(_)
            | Target::Config(_)
            | Target::Nothing => {}
        }
        Ok(Effect::None)
    }

    /// A real interrupt of a device arrived at the calling vCPU: posts it to the guest's local
    /// APIC there and ends it at the real one. `vector` is 32 or more.
    pub fn arrived(&self, vector: u8, real: &impl RealLapic, posted: &Posted) {
        let level = real.is_level(vector);
        if level {
            self.ioapic.lock().arrived(&self.memory, vector);
        }
        real.end_of_interrupt();
        posted.post(vector, level);
    }

    /// The guest ended a level-triggered interrupt: the pins that raise it are open again.
    pub fn end_of_interrupt(&self, vector: u8) {
        self.ioapic.lock().end_of_interrupt(&self.memory, vector);
    }

    fn target(&self, lapic: &Lapic<'_>, address: u64) -> Result<Target, Refused> {
        if ISA_RANGE.contains(&address) {
            return Ok(Target::Nothing);
        }
        if address < self.ram.low_end || (4 * GIB..self.ram.high_end).contains(&address) {
            return Err(Refused::NoDevice { address });
        }
        if lapic.claims(address) {
            return Ok(Target::Lapic((address & 0xFFF) as u16));
        }
        if CHIPSET.contains(&address) {
            return Ok(match address {
                IOAPIC_BASE..0xFEC0_1000 => Target::Ioapic(address - IOAPIC_BASE),
                _ if (HPET_BASE..HPET_BASE + HPET_SIZE).contains(&address) => {
                    Target::Hpet(address - HPET_BASE)
                }
                _ => Target::Nothing,
            });
        }
        if self.pci.ecam().contains(&address) {
            let offset = address - self.pci.ecam().start;
            return Ok(Target::Config(Address::from_ecam(offset)));
        }
        Ok(match self.pci.claim(address) {
            Some(Claim::Memory) => Target::Device,
            Some(Claim::Table(table)) => Target::Table(table),
            None => Target::Nothing,
        })
    }

    /// A store into the MSI-X table that starts at `table`.
    fn write_table(
        &self,
        table: u64,
        address: u64,
        width: Width,
        value: u64,
    ) -> Result<(), Refused> {
        let _guard = self.tables.lock();
        // Tables are aligned to 8 bytes, so an aligned access does not leave its entry.
        let offset = (address - table) % TableEntry::SIZE;
        let entry = address - offset;
        let mut dwords = [0; 4];
        for (at, dword) in (entry..).step_by(4).zip(&mut dwords) {
            *dword = self.memory.read(at, Width::Dword) as u32;
        }
        msi::patch(&mut dwords, offset as usize, width.bytes(), value);
        TableEntry(dwords).check()?;
        self.memory.write(address, width, value);
        Ok(())
    }
}

fn is_aligned(address: u64, width: Width) -> bool {
    address.is_multiple_of(width.bytes() as u64)
}

/// What reaches the HPET of a write at `offset`.
fn hpet_value(offset: u64, value: u64) -> u64 {
    if offset >= HPET_TIMERS && offset.is_multiple_of(0x20) {
        value & !HPET_TIMER_MESSAGE
    } else {
        value
    }
}

#[cfg(test)]
mod tests;
