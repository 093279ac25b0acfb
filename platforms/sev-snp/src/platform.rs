// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verbs of the core, for SEV-SNP.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parapet_snp::cpuid::Table;
use parapet_snp::door::Door;
use parapet_snp::features;
use parapet_snp::ghcb::Ghcb;
use parapet_snp::guest_pages::make_guest_secrets;
use parapet_snp::messages::Channel;
use parapet_snp::msr_protocol;
use parapet_snp::vmsa::Start;
use snp_defs::PAGE_SIZE;
use snp_defs::msr::terminate;
use snp_defs::psc;
use snp_defs::report::REPORT_SIZE;
use snp_defs::rmp::{Permissions, RmpAttributes, RmpResult, RmpSize};
use snp_defs::secrets::{SecretsPage, VMPCK_SIZE};
use snp_defs::vmsa::sev_features;
use svsm::cpu::{Lock, TrapFrame, index};
use svsm::fatal;
use svsm::guest::{Exit, Registers, VcpuState};
use svsm::memory::{Access, DirectMap, GuestMemory, Page, PageSize, Pages};
use svsm::platform::{
    Cpuid, EvidenceError, Fatal, Host, HostError, PageError, Platform, Trap, VcpuError,
};
use svsm_launch::{GuestStart, LaunchInfo, MAX_VCPUS};
use x86_64::registers::control::{Cr0, Cr3, Cr4, Efer};
use zerocopy::{FromZeros, IntoBytes};

use crate::entry;
use crate::instructions::{self, pvalidate, rmpadjust};
use crate::pages;
use crate::reports;
use crate::trap;

/// A VMPL less privileged than the SVSM's, to name where an RMPADJUST is only about the VMSA bit.
const VMPL1: u8 = 1;

/// Index, and APIC id, of the CPU on which the machine and its guest start.
const BOOT_CPU: usize = 0;

/// The door to the host.
pub(crate) struct Vmgexit;

impl Door for Vmgexit {
    #[inline]
    fn by_msr(&self, request: u64) -> u64 {
        instructions::vmgexit(request)
    }

    fn by_page(&self, ghcb: u64) {
        instructions::vmgexit(ghcb);
    }
}

/// Ends the machine; should the host not obey, this CPU does nothing more.
pub(crate) fn end(reason: Fatal) -> ! {
    use terminate::parapet;
    let code = match reason {
        Fatal::Panic => parapet::PANIC,
        Fatal::Exception => parapet::EXCEPTION,
        Fatal::Launch => parapet::LAUNCH,
        Fatal::HostProtocol => parapet::HOST_PROTOCOL,
        Fatal::Memory => parapet::MEMORY,
        Fatal::Features => parapet::FEATURES,
    };
    loop {
        instructions::vmgexit(msr_protocol::termination(terminate::SET_PARAPET, code));
        instructions::halt();
    }
}

/// The machine, but for what changes while the guest runs. It lies where nothing can be written
/// once the machine started.
pub(crate) struct Snp {
    launch: &'static LaunchInfo,
    memory: DirectMap,
    cpuid: Option<Table<'static>>,
    guest_vmpl: u8,
    /// The SVSM's own SEV features, from [`Platform::start_here`] of the boot CPU on; 0 before.
    sev_features: AtomicU64,
    changing: &'static Changing,
}

/// What changes while the guest runs.
struct Changing {
    /// Which CPUs have a GHCB.
    ready: [AtomicBool; MAX_VCPUS as usize],
    channel: Lock<Channel>,
}

static CHANGING: Changing = Changing {
    ready: [const { AtomicBool::new(false) }; _],
    channel: Lock::new(Channel::closed()),
};

impl Snp {
    /// The machine that `launch` describes. Nothing is asked of the host yet.
    pub(crate) fn new(launch: &'static LaunchInfo) -> Self {
        let end = launch
            .guest_memory
            .iter()
            // Not checked yet (`svsm::run::boot` does).
            .map(|range| range.base.saturating_add(range.size))
            .max();
        Self {
            launch,
            // SAFETY: the image builder maps the guest's memory there and nothing else.
            memory: unsafe { DirectMap::new(end.unwrap_or(0)) },
            cpuid: Table::parse(pages::cpuid(launch)),
            guest_vmpl: launch.guest.vmpl as u8,
            sev_features: AtomicU64::new(0),
            changing: &CHANGING,
        }
    }

    /// The measured launch page.
    pub(crate) fn launch(&self) -> &'static LaunchInfo {
        self.launch
    }

    /// The GHCB of this CPU, once it has one.
    fn ghcb(&self) -> Result<Ghcb<'static>, HostError> {
        let cpu = index();
        match self.changing.ready.get(cpu) {
            Some(ready) if ready.load(Ordering::Relaxed) => Ok(pages::ghcb(self.launch, cpu)),
            _ => Err(HostError::Unsupported),
        }
    }

    /// Checks what the machine is, on the boot CPU.
    fn check_machine(&self) -> Result<(), Fatal> {
        let own = features::own_sev_features(instructions::sev_status()).ok_or(Fatal::Features)?;
        self.sev_features.store(own, Ordering::Relaxed);
        let info = msr_protocol::sev_info(&Vmgexit).map_err(|_| Fatal::HostProtocol)?;
        let host = msr_protocol::hypervisor_features(&Vmgexit).map_err(|_| Fatal::HostProtocol)?;
        let cpuid = self.cpuid.as_ref().ok_or(Fatal::Launch)?;
        let suffices = features::protocol_suffices(info)
            && features::host_suffices(host)
            && features::processor_suffices(cpuid);
        if suffices {
            Ok(())
        } else {
            Err(Fatal::Features)
        }
    }

    /// Opens the dialogue with the firmware, with the key of VMPL0.
    fn open_channel(&self) {
        let mut key = [0; VMPCK_SIZE];
        pages::secrets(self.launch).read_bytes(core::mem::offset_of!(SecretsPage, vmpck), &mut key);
        self.changing.channel.lock().open(&key);
    }

    /// RMPADJUST of a page that is, was or becomes a VMSA. No right that it gives may be one to write.
    fn adjust_vmsa(&self, address: usize, attributes: RmpAttributes) -> Result<(), PageError> {
        // SAFETY: what lies in the page is atomics, if anything (`pages`).
        unsafe { rmpadjust(address, RmpSize::Size4K, attributes) }
    }

    /// PVALIDATE of a page of the guest's.
    ///
    /// # Safety
    /// No object of Rust's lies in it.
    unsafe fn validate(&self, page: Page, validate: bool) -> Result<(), PageError> {
        let address = self.memory.address(page.gpa());
        // SAFETY: as the caller says.
        unsafe { pvalidate(address, rmp_size(page), validate) }
    }
}

fn rmp_size(page: Page) -> RmpSize {
    match page.size() {
        PageSize::Size4K => RmpSize::Size4K,
        PageSize::Size2M => RmpSize::Size2M,
    }
}

impl Host for Snp {
    fn port_write(&self, port: u16, value: u8) {
        let _ = self
            .ghcb()
            .and_then(|ghcb| ghcb.port_write(&Vmgexit, port, value));
    }

    fn port_read(&self, port: u16) -> u8 {
        self.ghcb()
            .and_then(|ghcb| ghcb.port_read(&Vmgexit, port))
            .unwrap_or(u8::MAX)
    }

    fn terminate(&self, reason: Fatal) -> ! {
        end(reason)
    }

    fn trap(&self, frame: &mut TrapFrame) -> Trap {
        trap::serve(frame)
    }
}

// SAFETY: PVALIDATE and RMPADJUST are the processor's, which keeps these promises; the map of the
// guest's memory and the VMSAs are touched through `DirectMap` and `pages` only.
unsafe impl Platform for Snp {
    const REPORT_SIZE: usize = REPORT_SIZE;

    type Memory = DirectMap;

    fn start_here(&self, cpu: usize) -> Result<(), Fatal> {
        if cpu == BOOT_CPU {
            self.check_machine()?;
        }
        // The page is not part of the image and was never validated: what the host
        // finds there is what is written to it.
        let gpa = pages::ghcb_gpa(self.launch, cpu);
        msr_protocol::page_state(&Vmgexit, gpa, psc::OP_SHARED)
            .and_then(|()| msr_protocol::register_ghcb(&Vmgexit, gpa))
            .map_err(|_| Fatal::HostProtocol)?;
        self.changing
            .ready
            .get(cpu)
            .ok_or(Fatal::Panic)?
            .store(true, Ordering::Relaxed);
        if cpu == BOOT_CPU {
            let ghcb = self.ghcb().map_err(|_| Fatal::Panic)?;
            reports::share_pages(self.launch, ghcb).map_err(|_| Fatal::HostProtocol)?;
            self.open_channel();
        }
        Ok(())
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> Cpuid {
        self.cpuid
            .map(|table| table.get(leaf, subleaf))
            .unwrap_or_default()
    }

    fn memory(&self) -> &DirectMap {
        &self.memory
    }

    #[inline]
    unsafe fn accept(&self, page: Page) -> Result<(), PageError> {
        // SAFETY: as the caller says.
        unsafe { self.validate(page, true) }
    }

    #[inline]
    unsafe fn release(&self, page: Page) -> Result<(), PageError> {
        // SAFETY: as the caller says.
        unsafe { self.validate(page, false) }
    }

    #[inline]
    unsafe fn protect(&self, page: Page, access: Access) -> Result<(), PageError> {
        let permissions = match access {
            Access::None => Permissions::empty(),
            Access::Full => Permissions::FULL,
        };
        let attributes = RmpAttributes::new(self.guest_vmpl, permissions, false);
        let address = self.memory.address(page.gpa());
        // SAFETY: no object lies in the page, as the caller says.
        unsafe { rmpadjust(address, rmp_size(page), attributes) }
    }

    fn flush(&self) {
        instructions::flush_all();
    }

    fn request_private(&self, pages: &mut dyn Iterator<Item = Page>) -> Result<(), HostError> {
        let mut entries = pages.map(|page| {
            psc::Entry::new(page.gpa(), psc::OP_PRIVATE, page.size() == PageSize::Size2M)
        });
        self.ghcb()?.page_state_change(&Vmgexit, &mut entries)
    }

    fn create_vcpu(&self, state: VcpuState, creator: VcpuState) -> Result<(), VcpuError> {
        if !pages::vmsa(state).may_run(self.guest_vmpl, &pages::vmsa(creator)) {
            return Err(VcpuError::Malformed);
        }
        // Linux reads SEV_FEATURES out of the VMSA that it just gave away, to tell the host.
        let attributes = RmpAttributes::new(self.guest_vmpl, Permissions::READ, true);
        self.adjust_vmsa(state.address(), attributes)
            .map_err(VcpuError::Page)
    }

    fn create_boot_vcpu(&self, state: VcpuState, start: &GuestStart) -> Result<(), VcpuError> {
        /// PE, ET, NE, WP and PG.
        const CR0: u64 = 0x8001_0031;
        /// PAE.
        const CR4: u64 = 0x20;
        /// LME, LMA and NXE.
        const EFER: u64 = 0xD00;
        let features = sev_features::SNP_ACTIVE;
        pages::vmsa(state).fill(&Start {
            vmpl: self.guest_vmpl,
            sev_features: features,
            cr0: CR0,
            cr3: start.cr3 | (1 << features::C_BIT),
            cr4: CR4,
            efer: EFER,
            rip: start.rip,
            rsp: start.rsp,
            rsi: start.rsi,
            rdi: 0,
            code_selector: 0x10,
            data_selector: 0x18,
            gdt_base: start.gdt_base,
            gdt_limit: start.gdt_limit as u32,
        });
        let attributes = RmpAttributes::new(self.guest_vmpl, Permissions::empty(), true);
        self.adjust_vmsa(state.address(), attributes)
            .map_err(VcpuError::Page)?;
        // Not to be run at once, but when it is entered.
        let registered = self.ghcb().and_then(|ghcb| {
            ghcb.create_ap(
                &Vmgexit,
                0,
                self.guest_vmpl,
                state.frame().gpa(),
                features,
                false,
            )
        });
        match registered {
            Ok(()) => Ok(()),
            Err(error) => fatal::end(
                Fatal::HostProtocol,
                format_args!("the host does not take the guest's first vCPU: {error:x?}"),
            ),
        }
    }

    fn delete_vcpu(&self, state: VcpuState) -> Result<(), VcpuError> {
        const IN_USE: u32 = RmpResult::FailInUse as u32;
        let vmsa = pages::vmsa(state);
        if vmsa.stop() == Exit::Running {
            return Err(VcpuError::Running);
        }
        let attributes = RmpAttributes::new(self.guest_vmpl, Permissions::empty(), false);
        let error = match self.adjust_vmsa(state.address(), attributes) {
            Ok(()) => return Ok(()),
            Err(PageError::Refused(IN_USE)) => VcpuError::Running,
            Err(error) => VcpuError::Page(error),
        };
        // As it was: the host may run it again.
        vmsa.start();
        Err(error)
    }

    #[inline]
    fn stop(&self, vcpu: VcpuState) -> Exit {
        pages::vmsa(vcpu).stop()
    }

    #[inline]
    fn registers(&self, vcpu: VcpuState) -> Registers {
        pages::vmsa(vcpu).registers()
    }

    #[inline]
    fn set_registers(&self, vcpu: VcpuState, registers: &Registers) {
        pages::vmsa(vcpu).set_registers(registers);
    }

    #[inline]
    fn permit(&self, vcpu: VcpuState) {
        pages::vmsa(vcpu).start();
    }

    #[inline]
    fn enter(&self, vcpu: Option<VcpuState>) {
        if vcpu.is_none() {
            return instructions::halt();
        }
        match msr_protocol::run_vmpl(&Vmgexit, self.guest_vmpl) {
            Ok(()) => (),
            // There is nothing to run, says the host. The guest may have had a vCPU of its own making
            // destroyed: wait until it makes another, which the host then runs. The first vCPU is
            // the SVSM's making; without it nothing would ever wake this machine.
            Err(HostError::Refused(_) | HostError::Unsupported) if index() != BOOT_CPU => {
                instructions::halt();
            }
            Err(error) => fatal::end(
                Fatal::HostProtocol,
                format_args!("the host does not run the guest: {error:x?}"),
            ),
        }
    }

    fn start_cpu(&self, cpu: usize) -> Result<(), HostError> {
        let features = self.sev_features.load(Ordering::Relaxed);
        let (vmsa, address, gpa) = pages::own_vmsa(self.launch, cpu);
        let (rip, rsp) = entry::secondary_start(self.launch, cpu);
        let (table, table_flags) = Cr3::read_raw();
        vmsa.fill(&Start {
            vmpl: 0,
            sev_features: features,
            cr0: Cr0::read_raw(),
            cr3: table.start_address().as_u64() | u64::from(table_flags),
            cr4: Cr4::read_raw(),
            efer: Efer::read_raw(),
            rip,
            rsp,
            rsi: 0,
            rdi: cpu as u64,
            code_selector: 0x08,
            data_selector: 0x10,
            gdt_base: 0,
            gdt_limit: 0,
        });
        let attributes = RmpAttributes::new(VMPL1, Permissions::empty(), true);
        self.adjust_vmsa(address, attributes)
            .map_err(|_| HostError::Unsupported)?;
        self.ghcb()?
            .create_ap(&Vmgexit, cpu as u32, 0, gpa, features, true)
    }

    fn fill_guest_pages(&self, launch: &LaunchInfo) -> Result<(), PageError> {
        let own = pages::secrets(launch);
        let mut page = SecretsPage::new_zeroed();
        own.read_bytes(0, page.as_mut_bytes());
        make_guest_secrets(&mut page, launch);
        let cpuid = pages::cpuid(launch).as_bytes();
        for (gpa, bytes) in [
            (launch.guest.secrets_page, page.as_bytes()),
            (launch.guest.cpuid_page, cpuid),
        ] {
            // SAFETY: the core calls this before the guest runs, so none of its pages was lent.
            unsafe { self.memory.write(gpa, bytes) }.map_err(|_| PageError::NotPresent)?;
        }
        // The SVSM needs its page no more.
        own.clear();
        Ok(())
    }

    fn report(
        &self,
        data: &[u8; 64],
        report: &mut [u8],
        certificates: &mut Pages<'_>,
    ) -> Result<usize, EvidenceError> {
        let report = report
            .first_chunk_mut()
            .ok_or(EvidenceError::Refused(u32::MAX))?;
        let ghcb = self.ghcb().map_err(|_| EvidenceError::Closed)?;
        let mut channel = self.changing.channel.lock();
        reports::fetch(self.launch, ghcb, &mut channel, data, report, certificates)
    }
}

const _: () = assert!(PAGE_SIZE == size_of::<SecretsPage>());
