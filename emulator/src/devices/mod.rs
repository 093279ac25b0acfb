// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupt controllers that the guest sees, and QEMU's devices, which it uses directly.
//!
//! The guest never drives the real interrupt controllers: it gets a local APIC for each vCPU and
//! VMPL ([`lapic`]) and an I/O APIC ([`ioapic`]) of the emulator's. Everything else that answers to
//! a port or to an MMIO address is QEMU's own device. The guest's accesses pass through [`Bus`],
//! which hides what belongs to the emulator and refuses what could take the machine from under it.
//!
//! # How an interrupt of a device finds its vCPU
//!
//! A device's message or a redirection entry of the real I/O APIC carries the vector and the
//! destination that the guest chose. QEMU's vCPU `n` has the APIC id of the guest's vCPU `n`, and
//! each real local APIC repeats the logical destination of the guest's ([`RealLapic::set_logical`]),
//! so QEMU picks the real vCPU on which the guest's vCPU lives. There [`Bus::arrived`] posts the
//! vector to the guest's local APIC and ends it at the real one.
//!
//! # Use
//!
//! One [`Bus`] for the machine. For each vCPU and VMPL one [`Posted`], which anyone may post to, and
//! over it one [`Lapic`], which only the thread of that vCPU touches:
//!
//! ```text
//! // An exit for MMIO, a port, or an APIC register by RDMSR/WRMSR:
//! let value = bus.mmio_read(&mut lapic, now, gpa, width)?;
//! let effect = bus.mmio_write(&mut lapic, now, gpa, width, value)?;   // -> Effect
//! let effect = lapic.msr_write(msr, value, now)?;                     // -> Effect, or #GP
//! match effect {
//!     Effect::None => {}
//!     Effect::Ipi(ipi) => { let kick = ipi.send(|n| fleet.get(n)); /* set of vCPUs */ }
//!     Effect::Eoi { vector, level: true } => bus.end_of_interrupt(vector),
//!     Effect::Eoi { .. } => {}
//!     Effect::TimerChanged => { /* lapic.next_deadline() is new */ }
//!     Effect::LogicalChanged(id) => real.set_logical(id),    // the guest's VMPL only
//! }
//! let value = bus.port_read(port, width);
//! let effect = bus.port_write(port, width, value)?;                   // -> PortEffect
//!
//! // A real vector of 32 or more arrived at this vCPU:
//! bus.arrived(vector, &real_lapic, &posted);
//!
//! // Before each entry to the VMPL:
//! lapic.tick(now);                      // fires the timer when it is due
//! lapic.merge();                        // takes what others have posted
//! let events = posted.take_events();    // NMI, INIT (then lapic.init()), start-up IPI
//! if let Some(vector) = lapic.deliverable() {
//!     // inject; once it is certain that the guest takes it:
//!     lapic.accept(vector);
//! }
//! ```
//!
//! `now` is always the time-stamp counter as the guest reads it. The timer counts at its rate.
#![forbid(unsafe_code)]

pub mod bus;
#[cfg(test)]
mod fake;
pub mod ioapic;
pub mod lapic;
mod msi;
mod pci;
mod ports;

use core::fmt;

pub use bus::{Bus, PortEffect, Ram};
pub use lapic::{
    Delivery, Destination, Effect, Events, Gp, Ipi, LAPIC_BASE, Lapic, LogicalId, Posted, Targets,
};

/// Bytes that one access moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// 1 byte.
    Byte,
    /// 2 bytes.
    Word,
    /// 4 bytes.
    Dword,
    /// 8 bytes: MMIO only.
    Qword,
}

impl Width {
    /// The width of an access of `bytes` bytes, if the machine has one.
    pub const fn from_bytes(bytes: usize) -> Option<Self> {
        Some(match bytes {
            1 => Self::Byte,
            2 => Self::Word,
            4 => Self::Dword,
            8 => Self::Qword,
            _ => return None,
        })
    }

    /// Bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Dword => 4,
            Self::Qword => 8,
        }
    }

    /// All ones in this width: what a read returns that nothing answers.
    pub const fn ones(self) -> u64 {
        u64::MAX >> (64 - 8 * self.bytes())
    }
}

/// The real machine's I/O ports. The methods take `&self`: they are called from all vCPUs.
pub trait PortIo {
    /// IN of `width` (never [`Width::Qword`]).
    fn read(&self, port: u16, width: Width) -> u32;
    /// OUT of `width` (never [`Width::Qword`]); bits above the width are zero.
    fn write(&self, port: u16, width: Width, value: u32);
}

/// The real machine's MMIO, by host-physical address. [`Bus`] never names RAM here, nor an access
/// that is not aligned to its width.
pub trait PhysIo {
    /// One load of exactly `width`.
    fn read(&self, address: u64, width: Width) -> u64;
    /// One store of exactly `width`; bits above the width are zero.
    fn write(&self, address: u64, width: Width, value: u64);
}

/// The real local APIC of the vCPU that calls.
pub trait RealLapic {
    /// Whether the trigger mode register has `vector` as level triggered.
    fn is_level(&self, vector: u8) -> bool;
    /// Ends the interrupt in service.
    fn end_of_interrupt(&self);
    /// Makes the real local APIC answer to these logical destinations.
    fn set_logical(&self, id: LogicalId);
}

/// An access that no hardware would answer with data, or that would take the real machine away
/// from the emulator. It ends the run with a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// A device access to an address where no device is: guest memory, the emulator's memory, or
    /// nothing at all.
    NoDevice {
        /// Host-physical address.
        address: u64,
    },
    /// A device was told to interrupt by a message that is no ordinary interrupt.
    Message {
        /// Address of the message.
        address: u64,
        /// Data of the message.
        data: u32,
    },
    /// A PCI bridge was given other bus numbers than firmware gave it.
    BusNumbers {
        /// Bus that the bridge is on.
        bus: u8,
        /// Device and function number of the bridge.
        devfn: u8,
    },
    /// An I/O BAR was moved over ports of the emulator.
    PortBar {
        /// First port of the BAR.
        base: u32,
    },
    /// A sleep state from which the emulated machine cannot come back.
    Sleep {
        /// SLP_TYP.
        kind: u8,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDevice { address } => {
                write!(
                    f,
                    "device access to memory, or to the emulator's, at {address:#x}"
                )
            }
            Self::Message { address, data } => write!(
                f,
                "a device is to send message {data:#x} to {address:#x}: only fixed and \
                 lowest-priority interrupts with vectors from 32 on are emulated"
            ),
            Self::BusNumbers { bus, devfn } => write!(
                f,
                "PCI bridge {bus:02x}:{:02x}.{} is to change its bus numbers",
                devfn >> 3,
                devfn & 7
            ),
            Self::PortBar { base } => {
                write!(
                    f,
                    "a PCI I/O BAR is moved over ports of the emulator, to {base:#x}"
                )
            }
            Self::Sleep { kind } => write!(f, "sleep with SLP_TYP {kind} is not emulated"),
        }
    }
}

impl core::error::Error for Refused {}
