// SPDX-License-Identifier: MIT OR Apache-2.0
//! A host for tests: a little memory, of which some is shared, and a record of what was asked of it.

extern crate std;

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use core::mem::offset_of;

use snp_defs::ghcb::{Ghcb, SHARED_BUFFER_OFFSET};
use snp_defs::rmp::RmpSize;

use super::*;

/// Where the fake guest has its GHCB.
pub(crate) const GHCB: u64 = 0x1000;
/// The GHCB's shared buffer.
pub(crate) const BUFFER: u64 = GHCB + SHARED_BUFFER_OFFSET as u64;
/// Two more shared pages.
pub(crate) const SHARED: u64 = 0x2000;
/// A private page.
pub(crate) const PRIVATE: u64 = 0x4000;
const MEMORY: usize = 0x8000;

/// The host.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) memory: Vec<u8>,
    pub(crate) shared: BTreeSet<u64>,
    pub(crate) vmpl: u8,
    pub(crate) vmpls: Vec<u8>,
    pub(crate) restricted: bool,
    pub(crate) ports: Vec<(u16, u8, u32)>,
    pub(crate) port_value: u32,
    pub(crate) mmio: BTreeMap<u64, Vec<u8>>,
    pub(crate) pages: Vec<(u64, PageOp, RmpSize)>,
    pub(crate) refuse_pages: BTreeSet<u64>,
    pub(crate) aps: Vec<ApRequest>,
    pub(crate) refuse_ap: bool,
    pub(crate) apic_ids: u32,
    pub(crate) jump_table: u64,
    pub(crate) apic_msrs: BTreeMap<u32, u64>,
    pub(crate) firmware_status: u32,
    pub(crate) firmware_calls: usize,
    pub(crate) certificates: Vec<u8>,
    pub(crate) doorbell: Option<u64>,
    pub(crate) ipis: Vec<u64>,
    pub(crate) nmis: usize,
    pub(crate) cpuid_asked: Vec<(u32, u32, u64, u64)>,
    pub(crate) notes: Vec<Note>,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            memory: std::vec![0xEE; MEMORY],
            shared: [GHCB, SHARED, SHARED + 0x1000].into(),
            vmpl: 0,
            vmpls: std::vec![0, 2],
            restricted: false,
            ports: Vec::new(),
            port_value: 0x1234_5678,
            mmio: BTreeMap::new(),
            pages: Vec::new(),
            refuse_pages: BTreeSet::new(),
            aps: Vec::new(),
            refuse_ap: false,
            apic_ids: 4,
            jump_table: 0,
            apic_msrs: BTreeMap::new(),
            firmware_status: 0,
            firmware_calls: 0,
            certificates: Vec::new(),
            doorbell: None,
            ipis: Vec::new(),
            nmis: 0,
            cpuid_asked: Vec::new(),
            notes: Vec::new(),
        }
    }
}

impl HostServices for Host {
    fn apic_id(&self) -> u32 {
        1
    }

    fn vmpl(&self) -> u8 {
        self.vmpl
    }

    fn read_shared(&mut self, gpa: u64, to: &mut [u8]) -> Result<(), NotShared> {
        if !self.is_shared(gpa, to.len() as u64) {
            return Err(NotShared);
        }
        to.copy_from_slice(&self.memory[gpa as usize..][..to.len()]);
        Ok(())
    }

    fn write_shared(&mut self, gpa: u64, from: &[u8]) -> Result<(), NotShared> {
        if !self.is_shared(gpa, from.len() as u64) {
            return Err(NotShared);
        }
        self.memory[gpa as usize..][..from.len()].copy_from_slice(from);
        Ok(())
    }

    fn is_shared(&self, gpa: u64, length: u64) -> bool {
        let Some(end) = gpa.checked_add(length) else {
            return false;
        };
        end <= MEMORY as u64
            && (gpa & !0xFFF..end)
                .step_by(0x1000)
                .all(|page| self.shared.contains(&page))
    }

    fn port_in(&mut self, port: u16, size: u8) -> u32 {
        self.ports.push((port, size, u32::MAX));
        self.port_value
    }

    fn port_out(&mut self, port: u16, size: u8, value: u32) {
        self.ports.push((port, size, value));
    }

    fn mmio_read(&mut self, gpa: u64, to: &mut [u8]) -> Result<(), Refused> {
        let from = self.mmio.get(&gpa).ok_or(Refused)?;
        to.copy_from_slice(&from[..to.len()]);
        Ok(())
    }

    fn mmio_write(&mut self, gpa: u64, from: &[u8]) -> Result<(), Refused> {
        self.mmio.insert(gpa, from.to_vec());
        Ok(())
    }

    fn cpuid(&mut self, leaf: u32, subleaf: u32, xcr0: u64, xss: u64) -> CpuidAnswer {
        self.cpuid_asked.push((leaf, subleaf, xcr0, xss));
        CpuidAnswer {
            eax: leaf,
            ebx: 0xB,
            ecx: 0xC,
            edx: 0xD,
        }
    }

    fn tsc(&mut self) -> u64 {
        0x0123_4567_89AB_CDEF
    }

    fn apic_msr_read(&mut self, msr: u32) -> Result<u64, Refused> {
        self.apic_msrs.get(&msr).copied().ok_or(Refused)
    }

    fn apic_msr_write(&mut self, msr: u32, value: u64) -> Result<(), Refused> {
        self.apic_msrs.insert(msr, value);
        Ok(())
    }

    fn nmi_complete(&mut self) {
        self.nmis += 1;
    }

    fn page_state(&mut self, gpa: u64, op: PageOp, size: RmpSize) -> Result<(), Refused> {
        assert_eq!(
            gpa & (size.bytes() - 1),
            0,
            "the host is asked for aligned pages"
        );
        if self.refuse_pages.contains(&gpa) {
            return Err(Refused);
        }
        self.pages.push((gpa, op, size));
        Ok(())
    }

    fn ap_create(&mut self, request: &ApRequest) -> Result<(), Refused> {
        if self.refuse_ap {
            return Err(Refused);
        }
        self.aps.push(*request);
        Ok(())
    }

    fn has_vmpl(&self, vmpl: u8) -> bool {
        self.vmpls.contains(&vmpl)
    }

    fn apic_id_of(&self, index: u32) -> Option<u32> {
        (index < self.apic_ids).then_some(10 + index)
    }

    fn ap_jump_table(&self) -> u64 {
        self.jump_table
    }

    fn set_ap_jump_table(&mut self, gpa: u64) {
        self.jump_table = gpa;
    }

    fn guest_request(&mut self, request: &[u8; 4096], response: &mut [u8; 4096]) -> u32 {
        self.firmware_calls += 1;
        for (to, from) in response.iter_mut().zip(request) {
            *to = !from;
        }
        self.firmware_status
    }

    fn certificates(&self) -> &[u8] {
        &self.certificates
    }

    fn set_doorbell(&mut self, gpa: Option<u64>) {
        self.doorbell = gpa;
    }

    fn hv_ipi(&mut self, icr: u64) -> Result<(), Refused> {
        self.ipis.push(icr);
        Ok(())
    }

    fn restricted_injection(&self) -> bool {
        self.restricted
    }

    fn note(&mut self, note: Note) {
        self.notes.push(note);
    }
}

/// A field of the GHCB, by offset.
pub(crate) mod field {
    use super::*;
    pub(crate) const CPL: usize = offset_of!(Ghcb, cpl) / 8 * 8;
    pub(crate) const XSS: usize = offset_of!(Ghcb, xss);
    pub(crate) const RAX: usize = offset_of!(Ghcb, rax);
    pub(crate) const RBX: usize = offset_of!(Ghcb, rbx);
    pub(crate) const RCX: usize = offset_of!(Ghcb, rcx);
    pub(crate) const RDX: usize = offset_of!(Ghcb, rdx);
    pub(crate) const CODE: usize = offset_of!(Ghcb, sw_exit_code);
    pub(crate) const INFO1: usize = offset_of!(Ghcb, sw_exit_info1);
    pub(crate) const INFO2: usize = offset_of!(Ghcb, sw_exit_info2);
    pub(crate) const SCRATCH: usize = offset_of!(Ghcb, sw_scratch);
    pub(crate) const XCR0: usize = offset_of!(Ghcb, xcr0);
    pub(crate) const BITMAP: usize = offset_of!(Ghcb, valid_bitmap);
    pub(crate) const VERSION: usize = offset_of!(Ghcb, protocol_version);
    pub(crate) const USAGE: usize = offset_of!(Ghcb, usage);
}

/// A vCPU of the fake guest, with a registered GHCB.
#[derive(Debug)]
pub(crate) struct Vcpu {
    pub(crate) level: Level,
    pub(crate) host: Host,
}

impl Default for Vcpu {
    fn default() -> Self {
        Self {
            level: Level {
                msr: GHCB,
                registered: Some(GHCB),
                ..Level::default()
            },
            host: Host::default(),
        }
    }
}

impl Vcpu {
    /// An NAE event with these fields set and marked valid, besides code and both infos.
    pub(crate) fn call(
        &mut self,
        code: u64,
        info1: u64,
        info2: u64,
        fields: &[(usize, u64)],
    ) -> Outcome {
        self.prepare(code, info1, info2, fields);
        handle_vmgexit(&mut self.level, &mut self.host)
    }

    /// Fills the GHCB without exiting.
    pub(crate) fn prepare(&mut self, code: u64, info1: u64, info2: u64, fields: &[(usize, u64)]) {
        self.put(GHCB + field::BITMAP as u64, &[0; 16]);
        let head = [
            (field::CODE, code),
            (field::INFO1, info1),
            (field::INFO2, info2),
        ];
        for (offset, value) in head.iter().chain(fields) {
            self.put(GHCB + *offset as u64, &value.to_le_bytes());
            let at = GHCB as usize + field::BITMAP + offset / 64;
            self.host.memory[at] |= 1 << (offset / 8 % 8);
        }
        self.put(GHCB + field::VERSION as u64, &2u16.to_le_bytes());
        self.put(GHCB + field::USAGE as u64, &0u32.to_le_bytes());
    }

    /// A request of the MSR protocol; returns the answer.
    pub(crate) fn msr(&mut self, value: u64) -> (Outcome, u64) {
        self.level.msr = value;
        let outcome = handle_vmgexit(&mut self.level, &mut self.host);
        (outcome, self.level.msr)
    }

    pub(crate) fn put(&mut self, gpa: u64, bytes: &[u8]) {
        self.host.memory[gpa as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn get(&self, gpa: u64, length: usize) -> &[u8] {
        &self.host.memory[gpa as usize..][..length]
    }

    /// A field, if the host marked it valid.
    pub(crate) fn field(&self, offset: usize) -> Option<u64> {
        let at = GHCB as usize + field::BITMAP + offset / 64;
        (self.host.memory[at] & 1 << (offset / 8 % 8) != 0).then(|| {
            let bytes = self.get(GHCB + offset as u64, 8);
            u64::from_le_bytes(bytes.try_into().unwrap())
        })
    }

    /// SW_EXITINFO1 and 2 of the answer.
    pub(crate) fn answer(&self) -> (u64, u64) {
        (
            self.field(field::INFO1).unwrap(),
            self.field(field::INFO2).unwrap(),
        )
    }
}
