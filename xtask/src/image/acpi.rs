// SPDX-License-Identifier: MIT OR Apache-2.0
//! ACPI tables of QEMU's q35 machine as its firmware leaves it, for a guest that has no firmware to
//! ask. They are measured: the number of vCPUs is the builder's, not the host's.
//!
//! Facts are QEMU's (`hw/i386/acpi-build.c`, ICH9 and MCH data sheets); the tables that stock QEMU
//! generates itself say the same, which a test holds them against.

mod dsdt;

use acpi_tables::Aml;
use acpi_tables::facs::FACS;
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;

use super::guest_memory::Machine;

const OEM: [u8; 6] = *b"PARAPT";
const OEM_TABLE: [u8; 8] = *b"PARAPET ";
const OEM_REVISION: u32 = 1;

/// Addresses and interrupts of the machine.
mod q35 {
    /// I/O port of the ICH9's power management block, as SeaBIOS programs it.
    pub(super) const PM: u16 = 0x600;
    /// Its ACPI interrupt.
    pub(super) const SCI: u16 = 9;
    /// I/O port and commands of the ICH9's APM control.
    pub(super) const SMI: (u32, u8, u8) = (0xB2, 2, 3);
    /// Reset control register, and what to write there.
    pub(super) const RESET: (u16, u8) = (0xCF9, 0x0F);
    /// Index of the century in the CMOS memory.
    pub(super) const CENTURY: u8 = 0x32;
    /// Local APICs.
    pub(super) const LAPIC: u32 = 0xFEE0_0000;
    /// I/O APIC.
    pub(super) const IOAPIC: u32 = 0xFEC0_0000;
    /// High precision event timer.
    pub(super) const HPET: u64 = 0xFED0_0000;
    /// PCI Express configuration space of 256 buses, as SeaBIOS programs it.
    pub(super) const ECAM: u64 = 0xB000_0000;
}

/// Bytes and place of PCI Express configuration space, for the memory map.
pub(crate) const ECAM: (u64, u64) = (q35::ECAM, 256 << 20);

/// The tables, to be loaded as one.
#[derive(Debug)]
pub(crate) struct Tables {
    /// What to load.
    pub(crate) bytes: Vec<u8>,
    /// Address of the RSDP.
    pub(crate) rsdp: u64,
}

/// What the tables say beside the number of vCPUs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Devices {
    /// The guest owns the second serial port. Under an SVSM that port takes the SVSM's log.
    pub(crate) second_serial: bool,
}

/// Makes the tables, to lie at guest-physical `base`.
pub(crate) fn build(base: u64, machine: &Machine, devices: Devices) -> Tables {
    let mut tables = Placer {
        base,
        bytes: Vec::new(),
    };
    let facs = tables.place(&FACS::new());
    let dsdt = tables.place(&dsdt::dsdt(machine, devices));
    let entries = [
        tables.place(&fadt(facs, dsdt)),
        tables.place(&madt(machine.vcpus)),
        tables.place(&hpet()),
        tables.place(&mcfg()),
    ];
    let mut xsdt = table(*b"XSDT", 1);
    entries
        .iter()
        .for_each(|entry| xsdt.append_slice(&entry.to_le_bytes()));
    let xsdt = tables.place(&xsdt);
    let rsdp = tables.place(&Rsdp::new(OEM, xsdt));
    Tables {
        bytes: tables.bytes,
        rsdp,
    }
}

struct Placer {
    base: u64,
    bytes: Vec<u8>,
}

impl Placer {
    /// Appends a table and returns its address.
    fn place(&mut self, table: &dyn Aml) -> u64 {
        let aligned = self.bytes.len().next_multiple_of(64); // what the FACS asks for
        self.bytes.resize(aligned, 0);
        table.to_aml_bytes(&mut self.bytes);
        self.base + aligned as u64
    }
}

/// An empty table.
fn table(signature: [u8; 4], revision: u8) -> Sdt {
    const HEADER: u32 = 36;
    Sdt::new(signature, HEADER, revision, OEM, OEM_TABLE, OEM_REVISION)
}

/// Fixed hardware (ACPI 6.5, 5.2.9).
fn fadt(facs: u64, dsdt: u64) -> impl Aml {
    let port = |offset: u16, bits: u8| {
        let port = u64::from(q35::PM + offset);
        GAS::new(AddressSpace::SystemIo, bits, 0, AccessSize::Undefined, port)
    };
    let (smi, enable, disable) = q35::SMI;
    let (reset, reset_value) = q35::RESET;
    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, OEM_REVISION)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        .flag(Flags::SlpButton)
        .flag(Flags::RtcS4)
        .flag(Flags::ResetRegSup)
        .flag(Flags::UsePlatformClock);
    fadt.firmware_ctrl = (facs as u32).into();
    fadt.dsdt = (dsdt as u32).into();
    fadt.x_dsdt = dsdt.into();
    fadt.sci_int = q35::SCI.into();
    fadt.smi_cmd = smi.into();
    fadt.acpi_enable = enable;
    fadt.acpi_disable = disable;
    fadt.pm1a_evt_blk = u32::from(q35::PM).into();
    fadt.pm1_evt_len = 4;
    fadt.pm1a_cnt_blk = u32::from(q35::PM + 4).into();
    fadt.pm1_cnt_len = 2;
    fadt.pm_tmr_blk = u32::from(q35::PM + 8).into();
    fadt.pm_tmr_len = 4;
    fadt.gpe0_blk = u32::from(q35::PM + 0x20).into();
    fadt.gpe0_blk_len = 16;
    fadt.p_lvl2_lat = 0xFFF.into();
    fadt.p_lvl3_lat = 0xFFF.into();
    fadt.century = q35::CENTURY;
    // No keyboard controller: QEMU has one, but every look at it is an exit.
    fadt.iapc_boot_arch = 0.into();
    fadt.reset_reg = GAS::new(
        AddressSpace::SystemIo,
        8,
        0,
        AccessSize::Undefined,
        reset.into(),
    );
    fadt.reset_value = reset_value;
    fadt.x_pm1a_evt_blk = port(0, 32);
    fadt.x_pm1a_cnt_blk = port(4, 16);
    fadt.x_pm_tmr_blk = port(8, 32);
    fadt.x_gpe0_blk = port(0x20, 128);
    fadt.finalize()
}

/// Interrupt controllers (ACPI 6.5, 5.2.12).
fn madt(vcpus: u32) -> Sdt {
    const PCAT_COMPAT: u32 = 1;
    const ENABLED: u32 = 1;
    const ACTIVE_HIGH_LEVEL: u16 = 0b1101;
    let mut madt = table(*b"APIC", 3);
    madt.append_slice(&q35::LAPIC.to_le_bytes());
    madt.append_slice(&PCAT_COMPAT.to_le_bytes());
    for id in 0..vcpus as u8 {
        madt.append_slice(&[0, 8, id, id]);
        madt.append_slice(&ENABLED.to_le_bytes());
    }
    madt.append_slice(&[1, 12, 0, 0]);
    madt.append_slice(&q35::IOAPIC.to_le_bytes());
    madt.append_slice(&0u32.to_le_bytes());
    // The timer comes in at pin 2; PCI's and ACPI's interrupts are level-triggered.
    let overrides = [(0u8, 2u32, 0u16)]
        .into_iter()
        .chain([5u8, 9, 10, 11].map(|irq| (irq, irq.into(), ACTIVE_HIGH_LEVEL)));
    for (irq, gsi, flags) in overrides {
        madt.append_slice(&[2, 10, 0, irq]);
        madt.append_slice(&gsi.to_le_bytes());
        madt.append_slice(&flags.to_le_bytes());
    }
    // NMI at LINT1 of every processor.
    madt.append_slice(&[4, 6, 0xFF, 0, 0, 1]);
    madt
}

/// High precision event timer (IA-PC HPET specification, 3.2.4).
fn hpet() -> Sdt {
    let mut hpet = table(*b"HPET", 1);
    hpet.append_slice(&0x8086_A201u32.to_le_bytes());
    hpet.append_slice(&[0, 0, 0, 0]); // in memory
    hpet.append_slice(&q35::HPET.to_le_bytes());
    hpet.append_slice(&[0; 4]); // first of its kind, no minimum period, no protection
    hpet
}

/// PCI Express configuration space (PCI Firmware specification, 4.1.2).
fn mcfg() -> Sdt {
    let mut mcfg = table(*b"MCFG", 1);
    mcfg.append_slice(&[0; 8]);
    mcfg.append_slice(&q35::ECAM.to_le_bytes());
    mcfg.append_slice(&[0, 0, 0, 255, 0, 0, 0, 0]); // segment 0, buses 0 to 255
    mcfg
}

#[cfg(test)]
mod tests;
