// SPDX-License-Identifier: MIT OR Apache-2.0
//! The platform: what the processor keeps of each page and of each vCPU, and a host that can be told to misbehave.

use super::memory::FakeMemory;
use super::std::collections::{BTreeMap, BTreeSet};
use super::std::sync::{Mutex, MutexGuard};
use super::std::vec::Vec;
use crate::cpu::TrapFrame;
use crate::guest::{Exit, Registers, VcpuState};
use crate::memory::{Access, Frame, GuestMemory, Page, PageSize, Pages};
use crate::platform::{
    Cpuid, EvidenceError, Fatal, Host, HostError, PageError, Platform, Trap, VcpuError,
};
use svsm_launch::{GuestStart, LaunchInfo, Range};

/// A 4K page.
#[derive(Debug, Clone, Copy)]
struct PageState {
    /// The core accepted it and did not release it since.
    accepted: bool,
    /// What the hardware says; it differs where the host put another page there.
    validated: bool,
    access: Access,
    /// Accepted and not zeroed since.
    dirty: bool,
    is_vcpu: bool,
}

/// A vCPU of the guest's.
#[derive(Debug, Clone, Copy)]
struct FakeVcpu {
    registers: Registers,
    exit: Exit,
    stopped: bool,
}

#[derive(Debug, Default)]
struct Inside {
    pages: BTreeMap<u64, PageState>,
    /// Pages whose rights were taken away, and that a TLB may still have.
    stale: BTreeSet<u64>,
    vcpus: BTreeMap<u64, FakeVcpu>,
    /// 2M pages that the hardware holds in 4K pages.
    smashed: BTreeSet<u64>,
    flushes: usize,
    started: bool,
    requested: u64,
    next_report: Option<EvidenceError>,
    certificates: Vec<u8>,
    reports: Vec<[u8; 64]>,
}

/// The platform.
#[derive(Debug)]
pub struct FakePlatform {
    memory: FakeMemory,
    inside: Mutex<Inside>,
}

/// Offsets in a vCPU's state of what is checked: the guest writes them, here as on SNP.
mod state {
    pub(super) const VMPL: u64 = 0xCA;
    pub(super) const SVME: u64 = 0xD1;
    pub(super) const FEATURES: u64 = 0x3B0;
    pub(super) const GUEST_VMPL: u8 = 2;
    pub(super) const SVME_BIT: u8 = 0x10;
    pub(super) const GUEST_FEATURES: u8 = 1;
}

impl FakePlatform {
    /// A platform with the guest's memory at `memory`, none of which is in the machine, but for `preloaded`.
    pub fn new(memory: &[Range], preloaded: &[Range]) -> Self {
        let frames = |ranges: &[Range]| {
            ranges
                .iter()
                .flat_map(|range| (range.base..range.base + range.size).step_by(4096))
                .collect::<Vec<_>>()
        };
        let page = |validated| PageState {
            accepted: validated,
            validated,
            access: Access::None,
            dirty: false,
            is_vcpu: false,
        };
        let mut inside = Inside::default();
        inside
            .pages
            .extend(frames(memory).into_iter().map(|gpa| (gpa, page(false))));
        inside
            .pages
            .extend(frames(preloaded).into_iter().map(|gpa| (gpa, page(true))));
        Self {
            memory: FakeMemory::new(memory),
            inside: Mutex::new(inside),
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().expect("no rule was broken")
    }

    /// The guest's memory.
    pub fn fake_memory(&self) -> &FakeMemory {
        &self.memory
    }

    /// From now on pages must be zeroed before they are granted.
    pub fn started(&self) {
        self.inside().started = true;
    }

    /// Number of flushes so far.
    pub fn flushes(&self) -> usize {
        self.inside().flushes
    }

    /// Whether a right that was taken away may live on in a TLB.
    pub fn is_stale(&self) -> bool {
        !self.inside().stale.is_empty()
    }

    /// The host puts another page, that is not validated, in the place of this one.
    pub fn remap(&self, gpa: u64) {
        if let Some(page) = self.inside().pages.get_mut(&gpa) {
            page.validated = false;
            page.access = Access::None;
        }
    }

    /// The hardware holds the 2M page at `gpa` in 4K pages.
    pub fn smash(&self, gpa: u64) {
        self.inside().smashed.insert(gpa);
    }

    /// Whether the guest can use the page.
    pub fn has_access(&self, gpa: u64) -> bool {
        self.inside()
            .pages
            .get(&gpa)
            .is_some_and(|page| page.access == Access::Full)
    }

    /// Whether the host took the page away, or put another in its place.
    pub fn is_tampered(&self, gpa: u64) -> bool {
        let replaced = |page: &PageState| page.accepted && !page.validated;
        self.memory.is_stolen(gpa) || self.inside().pages.get(&gpa).is_some_and(replaced)
    }

    /// Whether the page is in the machine, as the core left it.
    pub fn is_accepted(&self, gpa: u64) -> bool {
        self.inside()
            .pages
            .get(&gpa)
            .is_some_and(|page| page.accepted)
    }

    /// Whether the page holds a vCPU.
    pub fn is_vcpu(&self, gpa: u64) -> bool {
        self.inside()
            .pages
            .get(&gpa)
            .is_some_and(|page| page.is_vcpu)
    }

    /// Pages that the core asked the host for.
    pub fn requested(&self) -> u64 {
        self.inside().requested
    }

    /// The next request for a report ends so.
    pub fn fail_report(&self, error: EvidenceError) {
        self.inside().next_report = Some(error);
    }

    /// What the host has for certificates.
    pub fn set_certificates(&self, bytes: &[u8]) {
        self.inside().certificates = bytes.to_vec();
    }

    /// What reports were asked over.
    pub fn reports(&self) -> Vec<[u8; 64]> {
        self.inside().reports.clone()
    }

    /// Sets why the vCPU stops.
    pub fn set_exit(&self, vcpu: Frame, exit: Exit) {
        if let Some(vcpu) = self.inside().vcpus.get_mut(&vcpu.gpa()) {
            vcpu.exit = exit;
        }
    }

    /// The guest sets a vCPU's registers.
    pub fn guest_registers(&self, vcpu: Frame, registers: Registers) {
        let mut inside = self.inside();
        let vcpu = inside.vcpus.get_mut(&vcpu.gpa()).expect("a vCPU");
        assert!(!vcpu.stopped, "a vCPU that is stopped does not run");
        vcpu.registers = registers;
    }

    /// The guest looks at a vCPU's registers.
    pub fn registers_of(&self, vcpu: Frame) -> Registers {
        let inside = self.inside();
        let vcpu = inside.vcpus.get(&vcpu.gpa()).expect("a vCPU");
        assert!(!vcpu.stopped, "a vCPU that is stopped does not run");
        vcpu.registers
    }

    /// Writes a page that may become a vCPU's state.
    pub fn write_state(&self, gpa: u64) {
        self.memory.poke(gpa + state::VMPL, &[state::GUEST_VMPL]);
        self.memory.poke(gpa + state::SVME, &[state::SVME_BIT]);
        self.memory
            .poke(gpa + state::FEATURES, &[state::GUEST_FEATURES]);
    }

    /// Applies `change` to each 4K page, if `check` has nothing against any of them.
    fn each(
        &self,
        page: Page,
        check: impl Fn(&PageState) -> Result<(), PageError>,
        change: impl Fn(&mut PageState),
    ) -> Result<(), PageError> {
        let mut inside = self.inside();
        if page.size() == PageSize::Size2M && inside.smashed.contains(&page.gpa()) {
            return Err(PageError::SizeMismatch);
        }
        for frame in page.frames() {
            if self.memory.is_stolen(frame.gpa()) {
                return Err(PageError::NotPresent);
            }
            let state = inside.pages.get(&frame.gpa());
            check(state.expect("rule: the core names pages of the guest's memory only"))?;
        }
        for frame in page.frames() {
            if let Some(state) = inside.pages.get_mut(&frame.gpa()) {
                change(state);
            }
        }
        Ok(())
    }
}

impl Host for FakePlatform {
    fn port_write(&self, _: u16, _: u8) {}

    fn port_read(&self, _: u16) -> u8 {
        u8::MAX
    }

    fn terminate(&self, reason: Fatal) -> ! {
        panic!("terminated: {reason:?}")
    }

    fn trap(&self, _: &mut TrapFrame) -> Trap {
        Trap::Fatal(Fatal::Exception)
    }
}

// SAFETY: pages are the process's own, and no two parts of it use one at a time unless the core lets them.
unsafe impl Platform for FakePlatform {
    const REPORT_SIZE: usize = 1184;
    type Memory = FakeMemory;

    fn start_here(&self, _: usize) -> Result<(), Fatal> {
        Ok(())
    }

    fn cpuid(&self, _: u32, _: u32) -> Cpuid {
        Cpuid::default()
    }

    fn memory(&self) -> &FakeMemory {
        &self.memory
    }

    unsafe fn accept(&self, page: Page) -> Result<(), PageError> {
        let check = |state: &PageState| {
            assert!(!state.accepted, "rule: {page:?} comes in twice");
            if state.validated {
                Err(PageError::Unchanged)
            } else {
                Ok(())
            }
        };
        self.each(page, check, |state| {
            state.accepted = true;
            state.validated = true;
            state.dirty = true;
            state.access = Access::None;
        })?;
        // Whatever was in the page that the host found.
        for frame in page.frames() {
            self.memory.poke(frame.gpa() + 8, b"somebody else's");
        }
        Ok(())
    }

    unsafe fn release(&self, page: Page) -> Result<(), PageError> {
        let check = |state: &PageState| {
            assert!(
                state.access == Access::None,
                "rule: {page:?} leaves while the guest has it"
            );
            assert!(!state.is_vcpu, "rule: {page:?} leaves while it is a vCPU");
            if state.validated {
                Ok(())
            } else {
                Err(PageError::Unchanged)
            }
        };
        self.each(page, check, |state| {
            state.accepted = false;
            state.validated = false;
        })
    }

    unsafe fn protect(&self, page: Page, access: Access) -> Result<(), PageError> {
        let grant = access == Access::Full;
        let started = self.inside().started;
        let check = |state: &PageState| {
            if !state.validated {
                return Err(PageError::NotPresent);
            }
            assert!(
                !state.is_vcpu,
                "rule: {page:?} is a vCPU, and the guest gets it"
            );
            Ok(())
        };
        // Before the change, since the guest may write from then on.
        if grant && started {
            let dirty = |gpa: &u64| self.inside().pages.get(gpa).is_some_and(|page| page.dirty);
            for gpa in page.frames().map(Frame::gpa).filter(dirty) {
                let mut bytes = [0; 4096];
                // A page that the host took is refused below.
                // SAFETY: the page is busy, and nothing lies in it.
                let there = unsafe { self.memory.read(gpa, &mut bytes) }.is_ok();
                let zero = !there || bytes == [0; 4096];
                assert!(zero, "rule: {page:?} is granted before it was zeroed");
            }
        }
        self.each(page, check, |state| {
            state.access = access;
            state.dirty &= !grant;
        })?;
        if access == Access::None {
            self.inside().stale.extend(page.frames().map(Frame::gpa));
        }
        Ok(())
    }

    fn flush(&self) {
        let mut inside = self.inside();
        inside.stale.clear();
        inside.flushes += 1;
    }

    fn request_private(&self, pages: &mut dyn Iterator<Item = Page>) -> Result<(), HostError> {
        for page in pages {
            self.inside().requested += page.size().bytes() / 4096;
        }
        Ok(())
    }

    fn create_vcpu(&self, vcpu: VcpuState, creator: VcpuState) -> Result<(), VcpuError> {
        let gpa = vcpu.frame().gpa();
        let mut inside = self.inside();
        assert!(
            inside.vcpus.contains_key(&creator.frame().gpa()),
            "the creator is a vCPU"
        );
        assert!(
            !inside.stale.contains(&gpa),
            "rule: a vCPU's state is read before the flush"
        );
        let page = inside
            .pages
            .get_mut(&gpa)
            .expect("a page of the guest's memory");
        assert!(
            page.access == Access::None,
            "rule: a vCPU's state is read while the guest has it"
        );
        let byte = |offset| {
            let mut byte = [0];
            self.memory.peek(gpa + offset, &mut byte);
            byte[0]
        };
        if byte(state::VMPL) != state::GUEST_VMPL
            || byte(state::SVME) & state::SVME_BIT == 0
            || byte(state::FEATURES) != state::GUEST_FEATURES
        {
            return Err(VcpuError::Malformed);
        }
        if !page.validated {
            return Err(VcpuError::Page(PageError::NotPresent));
        }
        page.is_vcpu = true;
        let vcpu = FakeVcpu {
            registers: Registers::default(),
            exit: Exit::Other,
            stopped: false,
        };
        inside.vcpus.insert(gpa, vcpu);
        Ok(())
    }

    fn create_boot_vcpu(&self, vcpu: VcpuState, _: &GuestStart) -> Result<(), VcpuError> {
        let fake = FakeVcpu {
            registers: Registers::default(),
            exit: Exit::Other,
            stopped: false,
        };
        self.inside().vcpus.insert(vcpu.frame().gpa(), fake);
        Ok(())
    }

    fn delete_vcpu(&self, vcpu: VcpuState) -> Result<(), VcpuError> {
        let gpa = vcpu.frame().gpa();
        let mut inside = self.inside();
        let fake = *inside
            .vcpus
            .get(&gpa)
            .expect("rule: only a vCPU is deleted");
        assert!(!fake.stopped, "rule: a vCPU is deleted while it is served");
        if fake.exit == Exit::Running {
            return Err(VcpuError::Running);
        }
        inside.vcpus.remove(&gpa);
        inside
            .pages
            .get_mut(&gpa)
            .expect("a page of the guest's memory")
            .is_vcpu = false;
        Ok(())
    }

    fn stop(&self, vcpu: VcpuState) -> Exit {
        let mut inside = self.inside();
        let vcpu = inside
            .vcpus
            .get_mut(&vcpu.frame().gpa())
            .expect("rule: only a vCPU is stopped");
        vcpu.stopped = vcpu.exit != Exit::Running;
        vcpu.exit
    }

    fn registers(&self, vcpu: VcpuState) -> Registers {
        let inside = self.inside();
        let vcpu = inside
            .vcpus
            .get(&vcpu.frame().gpa())
            .expect("rule: only a vCPU has registers");
        assert!(
            vcpu.stopped,
            "rule: a vCPU's registers are read while it runs"
        );
        vcpu.registers
    }

    fn set_registers(&self, vcpu: VcpuState, registers: &Registers) {
        let mut inside = self.inside();
        let vcpu = inside
            .vcpus
            .get_mut(&vcpu.frame().gpa())
            .expect("rule: only a vCPU has registers");
        assert!(
            vcpu.stopped,
            "rule: a vCPU's registers are written while it runs"
        );
        vcpu.registers = *registers;
    }

    fn permit(&self, vcpu: VcpuState) {
        let mut inside = self.inside();
        let vcpu = inside
            .vcpus
            .get_mut(&vcpu.frame().gpa())
            .expect("rule: only a vCPU may run");
        vcpu.stopped = false;
    }

    fn enter(&self, _: Option<VcpuState>) {}

    fn start_cpu(&self, _: usize) -> Result<(), HostError> {
        Ok(())
    }

    fn fill_guest_pages(&self, launch: &LaunchInfo) -> Result<(), PageError> {
        let pages = [launch.guest.secrets_page, launch.guest.cpuid_page];
        for gpa in pages {
            // SAFETY: no page was lent yet.
            unsafe { self.memory.write(gpa, b"filled") }.map_err(|_| PageError::NotPresent)?;
        }
        Ok(())
    }

    fn report(
        &self,
        data: &[u8; 64],
        report: &mut [u8],
        certificates: &mut Pages<'_>,
    ) -> Result<usize, EvidenceError> {
        let mut inside = self.inside();
        if let Some(error) = inside.next_report.take() {
            return Err(error);
        }
        let size = inside.certificates.len();
        if !certificates.is_empty() && certificates.len() * 4096 < size {
            return Err(EvidenceError::CertificatesNeed(size));
        }
        inside.reports.push(*data);
        report[..Self::REPORT_SIZE].fill(0x52);
        report[0x50..0x90].copy_from_slice(data);
        for (page, part) in certificates
            .iter_mut()
            .zip(inside.certificates.chunks(4096))
        {
            page[..part.len()].copy_from_slice(part);
        }
        Ok(if certificates.is_empty() { 0 } else { size })
    }
}
