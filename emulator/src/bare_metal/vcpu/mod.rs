// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU: up to four levels (VMPLs), each with a VMSA of its own, of which one at a time has its
//! registers in the processor.

pub(crate) mod linear;
mod registers;

use emulator::devices::Lapic;
use emulator::snp::ghcb;
use emulator::snp::refusal::Refusal;
use emulator::snp::vmsa;
use emulator::vmcb::{Gprs, event, intercept1, vintr};
use emulator_defs::trace::Kind;
use snp_defs::VMPL_COUNT;
use snp_defs::vmsa::sev_features;

use crate::host::physical;
use crate::machine::hostile_host::Stepping;
use crate::machine::{Machine, Order, Shared};
use crate::memory::backings::View;
use crate::records::tracing::Event;
use crate::svm::block::Block;
use crate::svm::enter::HostState;

/// Whether a level would run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunState {
    /// Until someone asks for it with RUN_VMPL.
    Stopped,
    /// Yes.
    Runnable,
    /// Once an event wakes it.
    Halted,
    /// Once a start-up IPI releases it (AP reset hold).
    ResetHold,
}

/// A VMPL of a vCPU.
pub(crate) struct Level {
    pub(crate) vmpl: u8,
    pub(crate) block: Block,
    pub(crate) gprs: Gprs,
    pub(crate) ghcb: ghcb::Level,
    pub(crate) lapic: Lapic<'static>,
    /// Guest-physical address of the VMSA that runs here.
    pub(crate) vmsa: Option<u64>,
    /// The VMSA that is to run from the next INIT on.
    on_init: Option<u64>,
    pub(crate) run_state: RunState,
    pub(crate) sev_features: u64,
    /// DR0 to DR3, x87 and SSE, TSC_AUX and so on: what the control block has no room for.
    pub(crate) xss: u64,
    pub(crate) xcr0: u64,
    pub(crate) pkru: u32,
    /// An event whose delivery was interrupted, in the format of EVENTINJ.
    pub(crate) reinject: Option<u64>,
    /// The vector that was offered by V_IRQ at the last entry.
    offered: Option<u8>,
    nmi_pending: bool,
    pub(crate) nmi_masked: bool,
    /// #HV is to be injected.
    pub(crate) signal: bool,
}

/// A call of a less privileged VMPL to VMPL0: from RUN_VMPL to RUN_VMPL.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// The caller, and its registers.
    pub(crate) vmpl: u8,
    pub(crate) rax: u64,
    pub(crate) rcx: u64,
    /// When it asked for VMPL0.
    pub(crate) started: u64,
    /// Ticks that VMPL0 has executed for it.
    pub(crate) ticks: u64,
}

/// A vCPU, owned by its processor.
pub(crate) struct Vcpu {
    pub(crate) machine: &'static Machine,
    pub(crate) shared: &'static Shared,
    pub(crate) levels: [Level; VMPL_COUNT],
    /// The level whose registers are in the processor.
    pub(crate) loaded: Option<u8>,
    pub(crate) host: HostState,
    /// Time-stamp for which the timer is set.
    pub(crate) armed: Option<u64>,
    /// The call that VMPL0 serves, while there is a benchmark or a trace.
    pub(crate) call: Option<Call>,
    /// INVLPGB was executed, and no TLBSYNC since.
    pub(crate) invalidation_pending: bool,
    /// Set while a hostile host stops a level after each instruction.
    pub(crate) stepping: Option<Stepping>,
    /// How often VMRUN refused what a hostile host wanted run.
    pub(crate) refused: u32,
    /// Nested page faults since the last request, as a hostile host counts them.
    pub(crate) faults: u32,
}

/// Notes in the trace that the guest got an interrupt at the entry at time-stamp `when`.
fn note_interrupt(machine: &Machine, vmpl: u8, vector: u8, when: u64) {
    let event = Event {
        vmpl,
        small: vector.into(),
        ..Event::default()
    };
    machine.tracer.span(Kind::Interrupt, when, when, event);
}

impl Level {
    fn new(machine: &'static Machine, shared: &'static Shared, vmpl: u8) -> Self {
        Self {
            vmpl,
            block: Block::new(&machine.maps),
            gprs: Gprs::default(),
            ghcb: ghcb::Level::default(),
            lapic: Lapic::new(&shared.levels[usize::from(vmpl)].posted, shared.index == 0),
            vmsa: None,
            on_init: None,
            run_state: RunState::Stopped,
            sev_features: 0,
            xss: 0,
            xcr0: 0,
            pkru: 0,
            reinject: None,
            offered: None,
            nmi_pending: false,
            nmi_masked: false,
            signal: false,
        }
    }

    /// Whether the host may inject nothing but #HV.
    pub(crate) const fn restricted(&self) -> bool {
        self.sev_features & sev_features::RESTRICTED_INJECTION != 0
    }

    /// Continues after an intercepted instruction of `length` bytes.
    pub(crate) fn advance(&mut self, length: u8) {
        let save = &mut self.block.save;
        save.rip = save.rip.wrapping_add(length.into());
        self.block.control.interrupt_shadow = 0;
    }

    /// Raises an exception at the next entry, in place of whatever was interrupted.
    pub(crate) fn raise(&mut self, vector: u8, error_code: Option<u32>) {
        let code = error_code.map_or(0, |code| u64::from(code) << 32 | event::ERROR_CODE_VALID);
        self.reinject = Some(event::VALID | event::TYPE_EXCEPTION | u64::from(vector) | code);
    }

    fn nmi_is_open(&self) -> bool {
        self.nmi_pending && !self.nmi_masked
    }

    /// Whether something waits that ends a HLT.
    fn has_event(&self, machine: &Machine) -> bool {
        if self.reinject.is_some() {
            return true;
        }
        if self.restricted() {
            let waiting = self
                .doorbell(machine)
                .is_some_and(emulator::snp::hv_doorbell::pending);
            return waiting || self.nmi_pending || self.lapic.deliverable().is_some();
        }
        let open = self.block.save.rflags & (1 << 9) != 0;
        self.nmi_is_open() || open && self.lapic.deliverable().is_some()
    }

    /// Whether a message of another vCPU or of a device could end its HLT.
    fn is_wakeable(&self) -> bool {
        self.vmsa.is_some()
            && match self.run_state {
                RunState::Runnable => true,
                // With restricted injection there is no event but what the doorbell page has.
                RunState::Halted if self.restricted() => self.ghcb.doorbell().is_some(),
                RunState::Halted => self.block.save.rflags & (1 << 9) != 0,
                RunState::Stopped | RunState::ResetHold => false,
            }
    }

    /// First word of the #HV doorbell page, as far as it is shared memory.
    fn doorbell(&self, machine: &Machine) -> Option<&'static core::sync::atomic::AtomicU32> {
        let gpa = self.ghcb.doorbell()?;
        if !gpa.is_multiple_of(4096) || !machine.rmp.is_shared(gpa, 4) {
            return None;
        }
        machine
            .memory
            .host(gpa, View::Shared)
            .map(physical::half_word)
    }

    /// Decides what the guest gets at this entry: exceptions and NMIs by EVENTINJ, interrupts by
    /// V_IRQ.
    ///
    /// Interrupts never go by EVENTINJ: QEMU delivers such a one at VMRUN, but leaves its vector in
    /// `exception_index`, and when the processor's thread is asked to leave its loop before the
    /// next exit it delivers it again, whatever RFLAGS.IF says by then.
    pub(crate) fn inject(&mut self, machine: &Machine) {
        self.block.control.event_inj = 0;
        let mut vintr = vintr::MASKING | u64::from(self.lapic.cr8());
        if self.restricted() {
            self.inject_hv(machine);
        } else {
            self.inject_classic();
            // The hardware delivers if the priority is above V_TPR, QEMU if it is not below: what
            // the task priority holds back is offered with the priority below its own.
            let deliverable = self.lapic.deliverable().map(|vector| (vector, vector >> 4));
            let held = || {
                let vector = self.lapic.held_by_tpr()?;
                Some((vector, (vector >> 4) - 1))
            };
            let waiting = deliverable.or_else(held);
            if let Some((vector, priority)) = waiting {
                vintr |= vintr::IRQ
                    | u64::from(priority) << vintr::PRIORITY_SHIFT
                    | u64::from(vector) << vintr::VECTOR_SHIFT;
            }
            self.offered = waiting.map(|(vector, _)| vector);
        }
        self.block.control.vintr = vintr;
        self.block.control.intercept1 = self.block.control.intercept1 & !intercept1::IRET
            | if self.nmi_masked { intercept1::IRET } else { 0 };
    }

    fn inject_classic(&mut self) {
        let shadow = self.block.control.interrupt_shadow & 1 != 0;
        if let Some(event) = self.reinject.take() {
            self.block.control.event_inj = event;
        } else if self.nmi_is_open() && !shadow {
            self.nmi_pending = false;
            self.nmi_masked = true;
            self.block.control.event_inj = event::VALID | event::TYPE_NMI | 2;
        }
    }

    /// Restricted injection: events go to the doorbell page, and #HV says so (56421, 5).
    fn inject_hv(&mut self, machine: &Machine) {
        use emulator::snp::hv_doorbell::{Event, HV_EVENT_INJECTION, post};
        if let Some(word) = self.doorbell(machine) {
            if self.nmi_pending {
                let posted = post(word, Event::Nmi);
                self.nmi_pending = !posted.accepted;
                self.signal |= posted.signal;
            }
            if let Some(vector) = self.lapic.deliverable() {
                let posted = post(
                    word,
                    Event::Interrupt {
                        vector,
                        no_eoi: false,
                    },
                );
                if posted.accepted {
                    self.lapic.accept(vector);
                    note_interrupt(machine, self.vmpl, vector, machine.tracer.now());
                }
                self.signal |= posted.signal;
            }
        }
        if let Some(event) = self.reinject.take() {
            self.block.control.event_inj = event;
        } else if core::mem::take(&mut self.signal) {
            self.block.control.event_inj = HV_EVENT_INJECTION;
        }
    }

    /// The entry was put off: what was to be injected is still to be.
    pub(crate) fn not_entered(&mut self) {
        let event = core::mem::take(&mut self.block.control.event_inj);
        if event & event::VALID != 0 {
            self.reinject = Some(event);
        }
        self.offered = None;
    }

    /// Takes stock after an exit: what was injected at the entry at time-stamp `entered`, and what was
    /// interrupted.
    pub(crate) fn take_back_events(&mut self, machine: &Machine, entered: u64) {
        let vintr = self.block.control.vintr;
        self.lapic.set_cr8((vintr & vintr::TPR_MASK) as u8);
        let info = self.block.control.exit_int_info;
        let vector = info as u8;
        let mut delivered = vintr & vintr::IRQ == 0;
        if info & event::VALID != 0 {
            if vector >= 32 && info & event::TYPE_MASK != event::TYPE_SOFTWARE {
                // V_IRQ was under way: it is still requested, and offered again. QEMU says
                // "exception" here.
                delivered = false;
            } else {
                // Software interrupts among them, whose RIP is past the instruction already.
                self.reinject = Some(info);
            }
        }
        if let Some(offered) = self.offered.take()
            && delivered
        {
            self.lapic.accept(offered);
            note_interrupt(machine, self.vmpl, offered, entered);
        }
    }
}

impl Vcpu {
    /// The vCPU of the calling processor.
    pub(crate) fn new(machine: &'static Machine, index: u32) -> Self {
        let shared = &machine.vcpus[index as usize];
        Self {
            machine,
            shared,
            levels: core::array::from_fn(|vmpl| Level::new(machine, shared, vmpl as u8)),
            loaded: None,
            host: HostState::save(),
            armed: None,
            call: None,
            invalidation_pending: false,
            stepping: None,
            refused: 0,
            faults: 0,
        }
    }

    pub(crate) fn level(&mut self, vmpl: u8) -> &mut Level {
        &mut self.levels[usize::from(vmpl)]
    }

    /// #VMEXIT for good: the registers in the processor go back to their VMSA.
    pub(crate) fn leave(&mut self) {
        let Some(vmpl) = self.loaded.take() else {
            return;
        };
        let level = &self.levels[usize::from(vmpl)];
        let Some((gpa, page)) = level.vmsa.and_then(|gpa| Some((gpa, self.vmsa_page(gpa)?))) else {
            return;
        };
        let control = &level.block.control;
        let exit = vmsa::Exit {
            code: control.exit_code,
            info1: control.exit_info1,
            info2: control.exit_info2,
            int_info: control.exit_int_info,
            next_rip: 0,
        };
        vmsa::leave(&self.machine.rmp, page, gpa, &level.unload(), &exit);
    }

    /// VMRUN: the registers of `vmpl` go into the processor, if they are not there.
    pub(crate) fn enter(&mut self, vmpl: u8) -> Result<(), (u64, Refusal)> {
        if self.loaded == Some(vmpl) {
            return Ok(());
        }
        self.leave();
        let Some(gpa) = self.levels[usize::from(vmpl)].vmsa else {
            return Err((0, Refusal::NotAVmsa));
        };
        let page = self.vmsa_page(gpa).ok_or((gpa, Refusal::NotAVmsa))?;
        let state = vmsa::enter(&self.machine.rmp, page, gpa, vmpl).map_err(|why| (gpa, why))?;
        self.level(vmpl).load(&state);
        self.loaded = Some(vmpl);
        self.machine.tracer.instant(
            Kind::Switch,
            Event {
                vmpl,
                small: vmpl.into(),
                a: gpa,
                ..Event::default()
            },
        );
        Ok(())
    }

    /// The private backing of the page at `gpa`.
    fn vmsa_page(&self, gpa: u64) -> Option<&'static vmsa::Page> {
        if !gpa.is_multiple_of(4096) {
            return None;
        }
        let host = self.machine.memory.host(gpa, View::Private)?;
        physical::words(host, 512).try_into().ok()
    }

    /// Carries out orders of AP creation.
    pub(crate) fn take_orders(&mut self) {
        for vmpl in 0..VMPL_COUNT as u8 {
            let order = self.shared.levels[usize::from(vmpl)].order.lock().take();
            match order {
                None => {}
                Some(Order::CreateOnInit(gpa)) => self.level(vmpl).on_init = Some(gpa),
                Some(Order::Create(gpa)) => self.create(vmpl, gpa),
                Some(Order::Destroy) => {
                    self.destroy(vmpl);
                    log::debug!("vCPU {}: VMPL{vmpl} destroyed", self.shared.index);
                }
            }
        }
    }

    /// Whether a level has a VMSA, be it one that waits for INIT: RUN_VMPL finds both, as hosts do it.
    /// An SVSM registers the first VMSA of its guest so, which is to run when it is asked for and
    /// not before.
    pub(crate) fn has_vmsa(&self, vmpl: usize) -> bool {
        self.levels
            .get(vmpl)
            .is_some_and(|level| level.vmsa.is_some() || level.on_init.is_some())
    }

    /// A level that is asked for takes the VMSA that waits for INIT, if it has no other.
    pub(crate) fn take_waiting_vmsa(&mut self, vmpl: u8) {
        let level = self.level(vmpl);
        if level.vmsa.is_none()
            && let Some(gpa) = level.on_init.take()
        {
            self.create(vmpl, gpa);
        }
    }

    fn create(&mut self, vmpl: u8, gpa: u64) {
        log::debug!(
            "vCPU {}: VMPL{vmpl} runs the VMSA at {gpa:#x}",
            self.shared.index
        );
        self.destroy(vmpl);
        let level = self.level(vmpl);
        level.vmsa = Some(gpa);
        level.run_state = RunState::Runnable;
        let effect = level.lapic.init();
        self.follow_logical_id(vmpl, effect);
    }

    fn destroy(&mut self, vmpl: u8) {
        if self.loaded == Some(vmpl) {
            self.leave();
        }
        let level = self.level(vmpl);
        level.vmsa = None;
        level.on_init = None;
        level.run_state = RunState::Stopped;
        level.ghcb = ghcb::Level::default();
        level.reinject = None;
        level.offered = None;
        level.nmi_pending = false;
        level.nmi_masked = false;
        level.signal = false;
        level.block.control.interrupt_shadow = 0;
        level.block.control.exit_int_info = 0;
    }

    /// The real local APIC answers to what the guest's answers to.
    pub(crate) fn follow_logical_id(&self, vmpl: u8, effect: emulator::devices::Effect) {
        use emulator::devices::{Effect, RealLapic};
        if let Effect::LogicalChanged(id) = effect
            && vmpl == self.machine.config.guest_vmpl
        {
            crate::host::apic::Real.set_logical(id);
        }
    }

    /// Looks at what was posted to a level and at its timer.
    fn poll(&mut self, vmpl: u8, now: u64) {
        let shared = &self.shared.levels[usize::from(vmpl)];
        let level = &mut self.levels[usize::from(vmpl)];
        if level.vmsa.is_none() && level.on_init.is_none() {
            return;
        }
        if shared.posted.is_pending() {
            level.lapic.merge();
            let events = shared.posted.take_events();
            level.nmi_pending |= events.nmi;
            if events.init
                && let Some(gpa) = level.on_init.take()
            {
                self.create(vmpl, gpa);
            } else if events.startup.is_some() && level.run_state == RunState::ResetHold {
                level.run_state = RunState::Runnable;
                self.release_reset_hold(vmpl);
            }
        }
        let level = &mut self.levels[usize::from(vmpl)];
        if level.vmsa.is_none() {
            return;
        }
        if level.lapic.next_deadline().is_some() {
            level.lapic.tick(now);
        }
        if level.run_state == RunState::Halted && level.has_event(self.machine) {
            level.run_state = RunState::Runnable;
        }
    }

    /// The level that runs next: of those that would, the most privileged.
    pub(crate) fn schedule(&mut self, now: u64) -> Option<u8> {
        for vmpl in 0..VMPL_COUNT as u8 {
            self.poll(vmpl, now);
        }
        (0..VMPL_COUNT as u8).find(|&vmpl| {
            let level = &self.levels[usize::from(vmpl)];
            level.vmsa.is_some() && level.run_state == RunState::Runnable
        })
    }

    /// When a timer of some level is due next.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.levels
            .iter()
            .filter(|level| level.vmsa.is_some())
            .filter_map(|level| level.lapic.next_deadline())
            .min()
    }

    /// Whether a message of another vCPU or of a device could wake it.
    pub(crate) fn is_wakeable(&self) -> bool {
        self.levels.iter().any(Level::is_wakeable)
    }
}
