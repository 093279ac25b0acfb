// SPDX-License-Identifier: MIT OR Apache-2.0
//! The trace buffer: the memory of QEMU's ivshmem-plain device, which the emulator fills and the
//! tool reads after the run.
//!
//! A header page, then one area of equal size for each vCPU. An area holds records in the order in
//! which their events ended; when it is full, what follows is counted in [`Header::lost`] and not
//! written. An event that took more ticks than a record has room for is several records, one after
//! the other.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// PCI vendor and device number of QEMU's ivshmem-plain.
pub const PCI_ID: (u16, u16) = (0x1AF4, 0x1110);
/// First bytes of the buffer once the emulator has set it up.
pub const MAGIC: [u8; 8] = *b"PARATRC1";
/// Bytes from the start of the buffer to the area of vCPU 0.
pub const AREAS_OFFSET: usize = 4096;

/// The start of the buffer.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// Time-stamp counter frequency, in Hz.
    pub tsc_hz: u64,
    /// Time-stamp counter at the start of the run.
    pub tsc_start: u64,
    /// Number of areas.
    pub vcpus: u32,
    /// Bytes of one area.
    pub area_size: u32,
    /// Records written to each area so far.
    pub written: [u64; 64],
    /// Records that did not fit in each area.
    pub lost: [u64; 64],
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Record {
    /// Time-stamp counter when the event began.
    pub tsc: u64,
    /// Ticks that it took; 0 for an instant.
    pub duration: u32,
    /// One of [`Kind`].
    pub kind: u8,
    /// VMPL to which the event belongs.
    pub vmpl: u8,
    /// Kind-specific small value (a vector, a page size, a target VMPL).
    pub small: u16,
    /// Kind-specific value (an exit code, a GPA, a call number).
    pub a: u64,
    /// Kind-specific second value.
    pub b: u64,
}

/// What a [`Record`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A VMPL executed; `a` = exit code that ended it, `b` = RIP at the exit.
    Guest = 1,
    /// The emulator served an exit; `a` = exit code; `b` = the MSR's number for an MSR, the GPA for
    /// a nested page fault, else EXITINFO1; `small` = 1 if an MSR or the page was written.
    Exit = 2,
    /// A GHCB or GHCB MSR request; `a` = exit code or MSR value; `b` = the MSR's number for an MSR,
    /// the leaf for CPUID, else SW_EXITINFO1; `small` = 1 if an MSR was written.
    Vmgexit = 3,
    /// Another VMPL is going to run; `small` = the new one, `a` = its VMSA's GPA.
    Switch = 4,
    /// From a RUN_VMPL that asked for VMPL0 to the one by which VMPL0 went back, as a call does it;
    /// `a` = RAX, `b` = RCX of the caller.
    SvsmCall = 5,
    /// A page changed its state; `a` = GPA, `small` = operation ([`page_op`]), `b` = size in bytes.
    PageState = 6,
    /// An interrupt was offered at an entry and taken before the exit; `small` = vector.
    Interrupt = 7,
    /// An interrupt was posted to a vCPU by a vCPU, or by a device to the vCPU where it arrived;
    /// `small` = vector, `a` = target APIC id.
    InterruptPosted = 8,
    /// An exception or an NMI was delivered by the emulator; `small` = vector, `a` = error code.
    Exception = 9,
    /// A vCPU waits for an event.
    Idle = 10,
    /// Translations were flushed on all vCPUs.
    Flush = 11,
    /// A request to the security firmware; `a` = message type, `b` = status.
    Firmware = 12,
    /// The hostile host did what its script says; `a` = number of the rule.
    Hostile = 13,
}

/// Values of `small` in a [`Kind::PageState`] record.
pub mod page_op {
    /// The host made the page private.
    pub const PRIVATE: u16 = 1;
    /// The host made the page shared.
    pub const SHARED: u16 = 2;
    /// The host split a 2M page.
    pub const PSMASH: u16 = 3;
    /// The host merged 4K pages into one of 2M.
    pub const UNSMASH: u16 = 4;
    /// PVALIDATE set the validated bit.
    pub const VALIDATE: u16 = 5;
    /// PVALIDATE cleared the validated bit.
    pub const RESCIND: u16 = 6;
    /// RMPADJUST changed permissions or the VMSA bit.
    pub const ADJUST: u16 = 7;
}

const _: () = assert!(size_of::<Record>() == 32);
const _: () = assert!(size_of::<Header>() <= AREAS_OFFSET);
