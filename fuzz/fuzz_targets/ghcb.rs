// SPDX-License-Identifier: MIT OR Apache-2.0
//! VMGEXIT with whatever a guest may have left in its GHCB and in its GHCB MSR, several times over: no
//! panic, no endless loop, and nothing written to memory that is not shared.
//!
//! `cargo +nightly fuzz run ghcb -- -max_len=12400`
#![no_main]

use emulator::snp::ghcb::{
    ApRequest, CpuidAnswer, HostServices, Level, NotShared, Note, PageOp, Refused, handle_vmgexit,
};
use libfuzzer_sys::fuzz_target;
use snp_defs::rmp::RmpSize;

/// Pages 1 to 3 of eight are shared; the first of them is the GHCB.
const SHARED: core::ops::Range<u64> = 0x1000..0x4000;
const MEMORY: usize = 0x8000;
const PRIVATE_BYTE: u8 = 0xA5;

struct Host {
    memory: Vec<u8>,
    certificates: Vec<u8>,
    jump_table: u64,
    steps: u32,
    restricted: bool,
}

impl HostServices for Host {
    fn apic_id(&self) -> u32 {
        0
    }

    fn vmpl(&self) -> u8 {
        2
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
        gpa >= SHARED.start && gpa.checked_add(length).is_some_and(|end| end <= SHARED.end)
    }

    fn port_in(&mut self, port: u16, _size: u8) -> u32 {
        port.into()
    }

    fn port_out(&mut self, _port: u16, size: u8, value: u32) {
        assert!(size == 4 || value >> (8 * size) == 0);
    }

    fn mmio_read(&mut self, gpa: u64, to: &mut [u8]) -> Result<(), Refused> {
        assert!(matches!(to.len(), 1 | 2 | 4 | 8));
        to.fill(gpa as u8);
        Ok(())
    }

    fn mmio_write(&mut self, _gpa: u64, from: &[u8]) -> Result<(), Refused> {
        assert!(matches!(from.len(), 1 | 2 | 4 | 8));
        Ok(())
    }

    fn cpuid(&mut self, leaf: u32, subleaf: u32, _xcr0: u64, _xss: u64) -> CpuidAnswer {
        CpuidAnswer {
            eax: leaf,
            ebx: subleaf,
            ..CpuidAnswer::default()
        }
    }

    fn tsc(&mut self) -> u64 {
        1
    }

    fn apic_msr_read(&mut self, msr: u32) -> Result<u64, Refused> {
        Ok(msr.into())
    }

    fn apic_msr_write(&mut self, _msr: u32, value: u64) -> Result<(), Refused> {
        if value & 1 == 0 { Ok(()) } else { Err(Refused) }
    }

    fn nmi_complete(&mut self) {}

    fn page_state(&mut self, gpa: u64, _op: PageOp, size: RmpSize) -> Result<(), Refused> {
        self.steps += 1;
        assert!(self.steps <= 300_000, "a list has at most 253 entries");
        assert_eq!(gpa & (size.bytes() - 1), 0);
        if gpa >> 40 == 0 { Ok(()) } else { Err(Refused) }
    }

    fn ap_create(&mut self, request: &ApRequest) -> Result<(), Refused> {
        assert!((2..4).contains(&request.vmpl), "never above the caller");
        Ok(())
    }

    fn has_vmpl(&self, vmpl: u8) -> bool {
        vmpl == 0
    }

    fn apic_id_of(&self, index: u32) -> Option<u32> {
        (index < 1500).then_some(index)
    }

    fn ap_jump_table(&self) -> u64 {
        self.jump_table
    }

    fn set_ap_jump_table(&mut self, gpa: u64) {
        self.jump_table = gpa;
    }

    fn guest_request(&mut self, request: &[u8; 4096], response: &mut [u8; 4096]) -> u32 {
        *response = *request;
        u32::from(request[0] & 1)
    }

    fn certificates(&self) -> &[u8] {
        &self.certificates
    }

    fn set_doorbell(&mut self, gpa: Option<u64>) {
        assert!(gpa.is_none_or(|gpa| self.is_shared(gpa, 4096)));
    }

    fn hv_ipi(&mut self, icr: u64) -> Result<(), Refused> {
        if icr & 1 == 0 { Ok(()) } else { Err(Refused) }
    }

    fn restricted_injection(&self) -> bool {
        self.restricted
    }

    fn note(&mut self, _note: Note) {}
}

fuzz_target!(|data: &[u8]| {
    let Some((&[flags, certificates], mut rest)) = data.split_first_chunk() else {
        return;
    };
    let mut host = Host {
        memory: vec![PRIVATE_BYTE; MEMORY],
        certificates: vec![7; usize::from(certificates) * 64],
        jump_table: 0,
        steps: 0,
        restricted: flags & 1 != 0,
    };
    let mut level = Level::default();
    // Without this, nothing but registration would ever be reached.
    level.msr = SHARED.start | 0x012;
    let _ = handle_vmgexit(&mut level, &mut host);
    for _ in 0..4 {
        // The MSR, then what the guest writes to its shared memory, starting with the GHCB.
        let Some((msr, more)) = rest.split_first_chunk::<8>() else {
            break;
        };
        let msr = u64::from_le_bytes(*msr);
        level.msr = if msr & 1 == 0 { SHARED.start } else { msr };
        let length = more.len().min(0x1000);
        let (bytes, later) = more.split_at(length);
        host.memory[SHARED.start as usize..][..length].copy_from_slice(bytes);
        rest = later;
        host.steps = 0;
        let _ = handle_vmgexit(&mut level, &mut host);
        level.release_reset_hold(&mut host);
    }
    let private = host.memory[..SHARED.start as usize]
        .iter()
        .chain(&host.memory[SHARED.end as usize..]);
    assert!(private.into_iter().all(|byte| *byte == PRIVATE_BYTE));
});
