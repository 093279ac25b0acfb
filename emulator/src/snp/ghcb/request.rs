// SPDX-License-Identifier: MIT OR Apache-2.0
//! One NAE event: the copy of the GHCB that asked, and the answer as it grows.

use core::mem::offset_of;

use snp_defs::ghcb::{Ghcb, SHARED_BUFFER_OFFSET, SHARED_BUFFER_SIZE, result};

use super::Rule;
use super::services::{HostServices, NotShared};

/// The part of the page that holds registers, up to the valid bitmap.
const HEAD: usize = 0x400;
const BITMAP: usize = offset_of!(Ghcb, valid_bitmap);
const BITMAP_SIZE: usize = 16;

/// A field that the valid bitmap covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field(usize);

impl Field {
    /// One byte; its bit is that of the eight bytes around it.
    pub(super) const CPL: Self = Self(offset_of!(Ghcb, cpl));
    pub(super) const XSS: Self = Self(offset_of!(Ghcb, xss));
    pub(super) const RAX: Self = Self(offset_of!(Ghcb, rax));
    pub(super) const RBX: Self = Self(offset_of!(Ghcb, rbx));
    pub(super) const RCX: Self = Self(offset_of!(Ghcb, rcx));
    pub(super) const RDX: Self = Self(offset_of!(Ghcb, rdx));
    pub(super) const CODE: Self = Self(offset_of!(Ghcb, sw_exit_code));
    pub(super) const INFO1: Self = Self(offset_of!(Ghcb, sw_exit_info1));
    pub(super) const INFO2: Self = Self(offset_of!(Ghcb, sw_exit_info2));
    pub(super) const SCRATCH: Self = Self(offset_of!(Ghcb, sw_scratch));
    pub(super) const XCR0: Self = Self(offset_of!(Ghcb, xcr0));

    const fn bit(self) -> usize {
        self.0 / 8
    }
}

/// Why an event is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// SW_EXITINFO1 = 2; one of `snp_defs::ghcb::malformed`.
    Malformed(u64),
    /// SW_EXITINFO1 = 1: the guest is to raise #GP(0).
    GeneralProtection,
    /// No answer: the run ends.
    Violation(Rule),
}

/// #GP(0) in EVENTINJ format (APM vol. 2, 15.20).
const GENERAL_PROTECTION: u64 = 13 | (3 << 8) | (1 << 11) | (1 << 31);

/// Registers that an event may return besides SW_EXITINFO1 and 2.
const OUTPUTS: [Field; 4] = [Field::RAX, Field::RBX, Field::RCX, Field::RDX];

/// An event.
#[derive(Debug)]
pub(super) struct Request {
    gpa: u64,
    head: [u8; HEAD],
    version: u16,
    usage: u32,
    outputs: [Option<u64>; OUTPUTS.len()],
    info2: u64,
}

impl Request {
    /// Reads the GHCB at `gpa`, once.
    pub(super) fn read<S: HostServices + ?Sized>(
        gpa: u64,
        services: &mut S,
    ) -> Result<Self, NotShared> {
        let mut request = Self {
            gpa,
            head: [0; HEAD],
            version: 0,
            usage: 0,
            outputs: [None; OUTPUTS.len()],
            info2: 0,
        };
        services.read_shared(gpa, &mut request.head)?;
        let mut tail = [0; 6];
        services.read_shared(gpa + offset_of!(Ghcb, protocol_version) as u64, &mut tail)?;
        request.version = u16::from_le_bytes([tail[0], tail[1]]);
        request.usage = u32::from_le_bytes([tail[2], tail[3], tail[4], tail[5]]);
        Ok(request)
    }

    pub(super) const fn gpa(&self) -> u64 {
        self.gpa
    }

    pub(super) const fn version(&self) -> u16 {
        self.version
    }

    pub(super) const fn usage(&self) -> u32 {
        self.usage
    }

    /// The field, where the guest marked it valid.
    pub(super) fn get(&self, field: Field) -> Option<u64> {
        let bit = field.bit();
        if self.head[BITMAP + bit / 8] & (1 << (bit % 8)) == 0 {
            return None;
        }
        if field == Field::CPL {
            return Some(self.head[field.0].into());
        }
        let bytes = self.head.get(field.0..field.0 + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// A field that the event requires.
    pub(super) fn need(&self, field: Field) -> Result<u64, Failure> {
        use snp_defs::ghcb::malformed::MISSING_INPUT;
        self.get(field).ok_or(Failure::Malformed(MISSING_INPUT))
    }

    /// SW_EXITINFO1; every event has it, see [`super::handle_vmgexit`].
    pub(super) fn info1(&self) -> u64 {
        self.get(Field::INFO1).unwrap_or(0)
    }

    /// SW_EXITINFO2.
    pub(super) fn info2(&self) -> u64 {
        self.get(Field::INFO2).unwrap_or(0)
    }

    /// Returns a register.
    pub(super) fn set(&mut self, field: Field, value: u64) {
        if let Some(n) = OUTPUTS.iter().position(|output| *output == field) {
            self.outputs[n] = Some(value);
        }
    }

    /// Returns a value in SW_EXITINFO2.
    pub(super) fn set_info2(&mut self, value: u64) {
        self.info2 = value;
    }

    /// Writes the answer: what the event returns, and a valid bitmap that has only that.
    pub(super) fn answer<S: HostServices + ?Sized>(
        &self,
        failure: Option<Failure>,
        services: &mut S,
    ) -> Result<(), NotShared> {
        let (info1, info2) = match failure {
            None => (result::OK, self.info2),
            Some(Failure::Malformed(reason)) => (result::MALFORMED, reason),
            Some(Failure::GeneralProtection) => (result::EXCEPTION, GENERAL_PROTECTION),
            Some(Failure::Violation(_)) => return Ok(()),
        };
        let mut bitmap = [0u8; BITMAP_SIZE];
        let mut mark = |field: Field| bitmap[field.bit() / 8] |= 1 << (field.bit() % 8);
        if failure.is_none() {
            for (field, value) in OUTPUTS.into_iter().zip(self.outputs) {
                if let Some(value) = value {
                    services.write_shared(self.gpa + field.0 as u64, &value.to_le_bytes())?;
                    mark(field);
                }
            }
        }
        mark(Field::INFO1);
        mark(Field::INFO2);
        let mut info = [0; 16];
        info[..8].copy_from_slice(&info1.to_le_bytes());
        info[8..].copy_from_slice(&info2.to_le_bytes());
        services.write_shared(self.gpa + Field::INFO1.0 as u64, &info)?;
        services.write_shared(self.gpa + BITMAP as u64, &bitmap)
    }

    /// The scratch area with room for `length` bytes: in the GHCB's shared buffer, or in other shared
    /// memory (56421, GHCB layout: SW_SCRATCH).
    pub(super) fn scratch<S: HostServices + ?Sized>(
        &self,
        length: u64,
        services: &S,
    ) -> Result<u64, Failure> {
        let scratch = self.need(Field::SCRATCH)?;
        let end = scratch.checked_add(length);
        let (Some(end), true) = (end, scratch != 0 && length <= MAX_SCRATCH) else {
            return Err(INVALID_SCRATCH);
        };
        let page = self.gpa..self.gpa + 4096;
        if end > page.start && scratch < page.end {
            return self.in_shared_buffer(scratch, end);
        }
        if services.is_shared(scratch, length) {
            Ok(scratch)
        } else {
            Err(INVALID_SCRATCH)
        }
    }

    /// The scratch area of an event whose data has to be in the GHCB's shared buffer.
    pub(super) fn scratch_in_ghcb(&self, length: u64) -> Result<u64, Failure> {
        let scratch = self.need(Field::SCRATCH)?;
        let end = scratch.checked_add(length).ok_or(INVALID_SCRATCH)?;
        self.in_shared_buffer(scratch, end)
    }

    fn in_shared_buffer(&self, scratch: u64, end: u64) -> Result<u64, Failure> {
        let start = self.gpa + SHARED_BUFFER_OFFSET as u64;
        if scratch < start || end > start + SHARED_BUFFER_SIZE as u64 {
            return Err(INVALID_SCRATCH);
        }
        Ok(scratch)
    }
}

/// The most that a scratch area outside of the GHCB may hold, as KVM has it.
pub(super) const MAX_SCRATCH: u64 = 16 << 10;

const INVALID_SCRATCH: Failure = Failure::Malformed(snp_defs::ghcb::malformed::INVALID_SCRATCH);

impl From<NotShared> for Failure {
    /// Memory that was shared when it was checked no longer is: the guest changed it meanwhile.
    fn from(_: NotShared) -> Self {
        INVALID_SCRATCH
    }
}
