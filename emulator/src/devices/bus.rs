// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way from a guest's access to the device that answers it.

use super::{Effect, Lapic, PhysIo, PortIo, Posted, RealLapic, Refused, Width};

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
    ports: P,
    memory: M,
    ram: Ram,
}

impl<P: PortIo, M: PhysIo> Bus<P, M> {
    /// Takes stock of the real machine: PCI functions, power management ports, I/O APIC (all pins
    /// masked).
    pub fn new(ports: P, memory: M, ram: Ram) -> Result<Self, Refused> {
        Ok(Self { ports, memory, ram })
    }

    /// IN of one item. `width` is at most a dword.
    pub fn port_read(&self, _port: u16, _width: Width) -> Result<u32, Refused> {
        todo!()
    }

    /// OUT of one item. `width` is at most a dword.
    pub fn port_write(
        &self,
        _port: u16,
        _width: Width,
        _value: u32,
    ) -> Result<PortEffect, Refused> {
        todo!()
    }

    /// A load from MMIO by the vCPU and VMPL to which `lapic` belongs.
    pub fn mmio_read(
        &self,
        _lapic: &mut Lapic<'_>,
        _now: u64,
        _gpa: u64,
        _width: Width,
    ) -> Result<u64, Refused> {
        todo!()
    }

    /// A store to MMIO by the vCPU and VMPL to which `lapic` belongs.
    pub fn mmio_write(
        &self,
        _lapic: &mut Lapic<'_>,
        _now: u64,
        _gpa: u64,
        _width: Width,
        _value: u64,
    ) -> Result<Effect, Refused> {
        todo!()
    }

    /// A real interrupt of a device arrived at the calling vCPU: posts it to the guest's local
    /// APIC there and ends it at the real one.
    pub fn arrived(&self, _vector: u8, _real: &impl RealLapic, _posted: &Posted) {
        todo!()
    }

    /// The guest ended a level-triggered interrupt: the pins that raise it are open again.
    pub fn end_of_interrupt(&self, _vector: u8) {
        todo!()
    }
}
