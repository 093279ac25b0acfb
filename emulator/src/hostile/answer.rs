// SPDX-License-Identifier: MIT OR Apache-2.0
//! A request in a GHCB, as a host looks at it that means no good, and answers to it.

use core::mem::offset_of;

use snp_defs::ghcb::{Ghcb, bitmap_index};

use crate::snp::ghcb::{HostServices, NotShared};

pub(super) const RAX: usize = offset_of!(Ghcb, rax);
pub(super) const RBX: usize = offset_of!(Ghcb, rbx);
pub(super) const RCX: usize = offset_of!(Ghcb, rcx);
pub(super) const RDX: usize = offset_of!(Ghcb, rdx);
pub(super) const INFO1: usize = offset_of!(Ghcb, sw_exit_info1);
pub(super) const INFO2: usize = offset_of!(Ghcb, sw_exit_info2);
const CODE: usize = offset_of!(Ghcb, sw_exit_code);
const BITMAP: usize = offset_of!(Ghcb, valid_bitmap);
/// Everything up to the shared buffer but the registers of the guest's #VC handler.
const HEAD: usize = 0x400;

/// A request: where it is, and what it says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    pub(super) gpa: u64,
    pub(super) code: u64,
    pub(super) info1: u64,
    pub(super) info2: u64,
    head: [u8; HEAD],
}

impl Page {
    /// Reads the GHCB at `gpa`.
    pub(super) fn read<S: HostServices>(gpa: u64, services: &mut S) -> Result<Self, NotShared> {
        let mut head = [0; HEAD];
        services.read_shared(gpa, &mut head)?;
        let word = |offset: usize| word(&head, offset);
        Ok(Self {
            gpa,
            code: word(CODE),
            info1: word(INFO1),
            info2: word(INFO2),
            head,
        })
    }

    /// Puts the request back as it was: the honest host may be asked again.
    pub(super) fn restore<S: HostServices>(&self, services: &mut S) {
        // What is not shared any more needs no request.
        let _ = services.write_shared(self.gpa, &self.head);
    }

    /// Changes a field of the request.
    pub(super) fn set<S: HostServices>(&self, field: usize, value: u64, services: &mut S) {
        let _ = services.write_shared(self.gpa + field as u64, &value.to_le_bytes());
    }

    /// A field as it is now.
    pub(super) fn now<S: HostServices>(&self, field: usize, services: &mut S) -> Option<u64> {
        let mut bytes = [0; 8];
        services
            .read_shared(self.gpa + field as u64, &mut bytes)
            .ok()?;
        Some(u64::from_le_bytes(bytes))
    }

    /// Answers with SW_EXITINFO1 and 2 and these registers.
    pub(super) fn answer<S: HostServices>(
        &self,
        info1: u64,
        info2: u64,
        registers: &[(usize, u64)],
        services: &mut S,
    ) {
        let mut bitmap = [0_u8; 16];
        for &(field, value) in [(INFO1, info1), (INFO2, info2)].iter().chain(registers) {
            self.set(field, value, services);
            let bit = bitmap_index(field);
            bitmap[bit / 8] |= 1 << (bit % 8);
        }
        let _ = services.write_shared(self.gpa + BITMAP as u64, &bitmap);
    }
}

fn word(bytes: &[u8], offset: usize) -> u64 {
    bytes
        .get(offset..offset + 8)
        .and_then(|word| word.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}
