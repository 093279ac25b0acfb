// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU: up to four levels (VMPLs), each with a VMSA of its own, of which one at a time has its
//! registers in the processor.

mod events;
mod level;
pub(crate) mod linear;
mod registers;

use emulator::snp::refusal::Refusal;
use emulator::snp::vmsa;
use emulator_defs::trace::Kind;
use snp_defs::VMPL_COUNT;

use crate::host::physical;
use crate::machine::hostile_host::Stepping;
use crate::machine::{Machine, Order, Shared};
use crate::memory::backings::View;
use crate::records::tracing::Event;
use crate::svm::enter::HostState;

pub(crate) use level::{Level, RunState};

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
        self.level(vmpl).clear();
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
