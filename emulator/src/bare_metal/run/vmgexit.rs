// SPDX-License-Identifier: MIT OR Apache-2.0
//! VMGEXIT: what a level asks for is served, and the level that runs next may be another.

use alloc::vec::Vec;
use core::mem::offset_of;

use emulator::decode::Operation;
use emulator::hostile;
use emulator::snp::ghcb::{self, HostServices as _, Outcome};
use emulator_defs::exit::RunEnd;
use emulator_defs::trace::Kind;
use snp_defs::VMPL_COUNT;
use snp_defs::exit;
use snp_defs::ghcb::Ghcb;

use super::services::Services;
use crate::host::instructions::rdtsc;
use crate::records::report::{self, say};
use crate::records::tracing::Event;
use crate::vcpu::{Call, RunState, Vcpu};

impl Vcpu {
    /// VMMCALL or VMGEXIT: the prefix makes the difference, and QEMU's processor ignores it.
    pub(super) fn vmmcall(&mut self, vmpl: u8) {
        let instruction = self.instruction(vmpl);
        match instruction.operation {
            Operation::Vmgexit => {
                let level = self.level(vmpl);
                level.advance(instruction.length);
                // So the VMSA has it (24593, appendix C), and a more privileged VMPL looks for it.
                level.block.control.exit_code = exit::VMGEXIT;
                self.vmgexit(vmpl);
            }
            Operation::Vmmcall => self.raise_vc(vmpl, exit::VMMCALL),
            // Overwritten since: it executes again.
            _ => {}
        }
    }

    /// The state of the protocol, and the services for it.
    fn protocol(&mut self, vmpl: u8) -> (&mut ghcb::Level, Services<'_>) {
        let present: [bool; VMPL_COUNT] = core::array::from_fn(|n| self.has_vmsa(n));
        let (machine, shared) = (self.machine, self.shared);
        let level = &mut self.levels[usize::from(vmpl)];
        let restricted = level.restricted();
        let services = Services {
            machine,
            shared,
            vmpl,
            restricted,
            lapic: &mut level.lapic,
            nmi_masked: &mut level.nmi_masked,
            present,
        };
        (&mut level.ghcb, services)
    }

    /// What a VMGEXIT is about to ask for, for the diary: the code of the MSR protocol, or the exit
    /// code in the GHCB.
    fn request_code(&mut self, vmpl: u8) -> u64 {
        match self.levels[usize::from(vmpl)].ghcb.msr & 0xFFF {
            0 => self.ghcb_field(vmpl, offset_of!(Ghcb, sw_exit_code)),
            code => code,
        }
    }

    /// The eight bytes at `offset` of the GHCB; 0 where it is none.
    fn ghcb_field(&mut self, vmpl: u8, offset: usize) -> u64 {
        let (level, mut services) = self.protocol(vmpl);
        let mut bytes = [0; 8];
        match services.read_shared(level.msr.wrapping_add(offset as u64), &mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes),
            Err(_) => 0,
        }
    }

    fn vmgexit(&mut self, vmpl: u8) {
        let request = self.request_code(vmpl);
        self.shared.diary.lock().request(request);
        let machine = self.machine;
        let started = machine.tracer.now();
        let msr = self.levels[usize::from(vmpl)].ghcb.msr;
        let event = if msr & 0xFFF == 0 {
            machine
                .tracer
                .request(vmpl, request, |offset| self.ghcb_field(vmpl, offset))
        } else {
            machine.tracer.request(vmpl, msr, |_| 0)
        };
        let (level, mut services) = self.protocol(vmpl);
        let mut tricks = Vec::new();
        let outcome = match &machine.hostile {
            None => ghcb::handle_vmgexit(level, &mut services),
            Some(host) => hostile::handle_vmgexit(host.engine(), level, &mut services, &mut tricks),
        };
        self.perform(vmpl, tricks);
        machine.tracer.since(Kind::Vmgexit, started, event);
        match outcome {
            Outcome::Resume => {}
            Outcome::ResetHold => self.level(vmpl).run_state = RunState::ResetHold,
            Outcome::RunVmpl(target) => self.run_vmpl(vmpl, target),
            Outcome::Terminate(termination) => self.end(vmpl, RunEnd::Terminated, |_| {
                let (owner, meaning) = report::reason(termination);
                say(format_args!(
                    "VMPL{vmpl} asked to be terminated: reason set {}, code {}: {owner}: {meaning}",
                    termination.set, termination.code,
                ));
            }),
            Outcome::Violation(rule) => self.violation(vmpl, &rule),
        }
    }

    /// RUN_VMPL: `target` is runnable, and the caller stops until it is asked for.
    fn run_vmpl(&mut self, caller: u8, target: u8) {
        if caller == target {
            return;
        }
        if caller == 0 {
            self.end_call();
        }
        if target == 0 && (self.machine.config.bench || self.machine.tracer.is_on()) {
            let level = self.level(caller);
            self.call = Some(Call {
                vmpl: caller,
                rax: level.block.save.rax,
                rcx: level.gprs.rcx,
                started: rdtsc(),
                ticks: 0,
            });
        }
        self.take_waiting_vmsa(target);
        self.level(caller).run_state = RunState::Stopped;
        self.level(target).run_state = RunState::Runnable;
    }

    /// VMPL0 is done with the call that it was asked for, as far as anyone keeps the books.
    fn end_call(&mut self) {
        let Some(call) = self.call.take() else {
            return;
        };
        if self.machine.config.bench {
            let mut diary = self.shared.diary.lock();
            diary.interval(call.rax, call.rcx, call.ticks);
        }
        self.note_call(&call);
    }

    pub(super) fn note_call(&self, call: &Call) {
        let event = Event {
            vmpl: call.vmpl,
            small: 0,
            a: call.rax,
            b: call.rcx,
        };
        let tracer = &self.machine.tracer;
        tracer.since(Kind::SvsmCall, call.started, event);
    }

    /// The SIPI that an AP reset hold waits for has come.
    pub(crate) fn release_reset_hold(&mut self, vmpl: u8) {
        let (level, mut services) = self.protocol(vmpl);
        level.release_reset_hold(&mut services);
    }
}
