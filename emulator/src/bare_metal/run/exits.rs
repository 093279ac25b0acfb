// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens at an exit. Three kinds, as on an SNP host (24593, 15.35.4): automatic exits, which
//! the host serves; what the guest serves itself after #VC; and what the emulator executes in place
//! of the processor.

use alloc::vec::Vec;

use emulator::decode::{Instruction, Operation, decode};
use emulator::exception::{self, Undeliverable};
use emulator::hostile;
use emulator::paging::Mode;
use emulator::snp::ghcb::{self, HostServices as _, Outcome};
use emulator::snp::refusal::Refusal;
use emulator::snp::rmp::{Access, Decision};
use emulator::snp::rule::Rule;
use emulator_defs::exit::RunEnd;
use emulator_defs::layout::{C_BIT, ISA_RANGE};
use emulator_defs::trace::Kind;
use snp_defs::VMPL_COUNT;
use snp_defs::exit;
use snp_defs::ghcb::Ghcb;
use snp_defs::rmp::RmpSize;

use crate::end_of_run::end_run;
use crate::host::instructions::rdtsc;
use crate::memory::backings::{GuestMemory, View};
use crate::memory::npt::Rights;
use crate::records::report::{self, say, say_registers};
use crate::records::tracing::Event;
use crate::run::services::Services;
use crate::vcpu::linear::Linear;
use crate::vcpu::{Call, RunState, Vcpu};

const EXIT_SOFTWARE_INTERRUPT: u64 = 0x75;
const EXIT_TASK_SWITCH: u64 = 0x7D;

impl Vcpu {
    /// Serves the exit of a level.
    pub(crate) fn serve(&mut self, vmpl: u8, code: u64) {
        match code {
            exit::INTR | exit::NMI => self.take_interrupts(),
            exit::SMI => {}
            exit::NPF => self.nested_page_fault(vmpl),
            exit::VMMCALL => self.vmmcall(vmpl),
            exit::UD => self.undefined(vmpl),
            exit::MSR => self.model_specific(vmpl),
            exit::CR0_WRITE => self.write_cr0(vmpl),
            exit::HLT => {
                if self.expect(vmpl, Operation::Hlt) {
                    self.level(vmpl).run_state = RunState::Halted;
                }
            }
            // The handler returns: the next NMI may come. (One instruction early: IRET itself
            // has not executed yet.)
            exit::IRET => self.level(vmpl).nmi_masked = false,
            EXIT_SOFTWARE_INTERRUPT => self.software_interrupt(vmpl),
            exit::DR0_READ..=0x2F
            | exit::DR0_WRITE..=0x3F
            | exit::RDPMC
            | exit::CPUID
            | exit::INVD
            | exit::INVLPGA
            | exit::IOIO
            | exit::VMRUN
            | exit::VMLOAD
            | exit::VMSAVE
            | exit::STGI
            | exit::CLGI
            | exit::SKINIT
            | exit::WBINVD
            | exit::MONITOR
            | exit::MWAIT
            | exit::XSETBV
            | EXIT_TASK_SWITCH => self.raise_vc(vmpl, code),
            exit::SHUTDOWN => self.end(vmpl, RunEnd::Shutdown, |_| {
                say(format_args!("VMPL{vmpl} shut down (triple fault)"));
            }),
            _ => self.end(vmpl, RunEnd::EmulatorFault, |_| {
                say(format_args!(
                    "VMPL{vmpl} stopped with exit {code:#x}, which the emulator does not expect"
                ));
            }),
        }
    }

    /// Ends the run at this level, with its registers in the report.
    pub(crate) fn end(&self, vmpl: u8, how: RunEnd, explain: impl FnOnce(&Self)) -> ! {
        if let Some(call) = &self.call {
            self.note_call(call);
        }
        end_run(self.machine, self.shared, how, |_| {
            explain(self);
            let level = &self.levels[usize::from(vmpl)];
            say_registers(&level.block, &level.gprs);
        })
    }

    /// Ends the run because a rule is broken.
    pub(crate) fn violation(&self, vmpl: u8, rule: &Rule) -> ! {
        self.end(vmpl, RunEnd::RuleViolation, |_| {
            say(format_args!("VMPL{vmpl} broke a rule: {rule}"));
            say(format_args!("the rule: {}", rule.source()));
        })
    }

    /// Ends the run because a VMSA can't be run.
    pub(crate) fn vmsa_refused(&self, vmpl: u8, gpa: u64, refusal: Refusal) -> ! {
        self.violation(vmpl, &Rule::VmsaRefused { gpa, refusal })
    }

    /// The memory of a level in its present mode.
    pub(crate) fn linear(&self, vmpl: u8) -> Linear<'static> {
        let mode = Mode::of(&self.levels[usize::from(vmpl)].block.save);
        Linear::new(self.machine, &self.shared.cache, vmpl, mode)
    }

    /// Decodes the instruction that was intercepted.
    pub(crate) fn instruction(&self, vmpl: u8) -> Instruction {
        let level = &self.levels[usize::from(vmpl)];
        let (bytes, length) = self.linear(vmpl).code(level.code_address());
        decode(&bytes[..length], level.is_64_bit())
    }

    /// Continues after the intercepted instruction if it is the one that the exit says. If not, it
    /// was overwritten since, and it executes again.
    fn expect(&mut self, vmpl: u8, operation: Operation) -> bool {
        let instruction = self.instruction(vmpl);
        let as_expected = instruction.operation == operation;
        if as_expected {
            self.level(vmpl).advance(instruction.length);
        }
        as_expected
    }

    /// Delivers #VC with this error code.
    pub(crate) fn raise_vc(&mut self, vmpl: u8, code: u64) {
        let linear = self.linear(vmpl);
        self.machine.tracer.instant(
            Kind::Exception,
            Event {
                vmpl,
                small: exception::VC.into(),
                a: code,
                ..Event::default()
            },
        );
        let level = self.level(vmpl);
        level.block.control.interrupt_shadow = 0;
        // What was interrupted by this executes again or is lost with it: a #VC at the delivery of
        // an event would be a double fault, and there is no guest that lives with one.
        let interrupted = level.reinject;
        let result = exception::deliver(&mut level.block.save, &linear, exception::VC, code as u32);
        let why = match (result, interrupted) {
            (Ok(()), None) => return,
            (Ok(()), Some(event)) => Err(event),
            // A fault at the delivery of #VC is a double fault: a guest with a stack for that has a
            // last word.
            (Err(why), _) => {
                let save = &mut level.block.save;
                if exception::deliver(save, &linear, exception::DOUBLE_FAULT, 0).is_ok() {
                    log::warn!(
                        "VMPL{vmpl} gets #DF, since it can't take #VC with error code {code:#x}: {why}"
                    );
                    return;
                }
                Ok(why)
            }
        };
        self.undeliverable(vmpl, code, why);
    }

    fn undeliverable(&self, vmpl: u8, code: u64, why: Result<Undeliverable, u64>) -> ! {
        self.end(vmpl, RunEnd::Shutdown, |_| match why {
            Ok(why) => say(format_args!(
                "VMPL{vmpl} can't take #VC with error code {code:#x}: {why}"
            )),
            Err(event) => say(format_args!(
                "VMPL{vmpl} gets #VC with error code {code:#x} while event {event:#x} is \
                     delivered to it"
            )),
        })
    }

    /// A nested page fault: what the RMP says about it.
    fn nested_page_fault(&mut self, vmpl: u8) {
        let level = &self.levels[usize::from(vmpl)];
        let (info, address) = (
            level.block.control.exit_info1,
            level.block.control.exit_info2,
        );
        let mode = Mode::of(&level.block.save);
        let gpa = address & !(1 << C_BIT);
        let table = info & exit::npf::TABLE != 0;
        let user = level.block.save.cpl == 3;
        // Which tree the walk went down, and what the access is: fetches and walks are private
        // whatever the C-bit says (24593, 15.34.5). Linux's decompressor has none in CR3.
        let tree = View::of(address & (1 << C_BIT) != 0 || !mode.has_c_bit());
        let fetch = info & exit::npf::FETCH != 0;
        let access = Access {
            gpa,
            c_bit: tree == View::Private || table || fetch,
            vmpl,
            write: info & exit::npf::WRITE != 0,
            fetch,
            user,
            table,
        };
        if access.c_bit {
            self.check_misled(vmpl, gpa);
        }
        match self.map(&access, tree) {
            Decision::Map(leaf) => {
                if leaf.size == RmpSize::Size4K && tree == View::of(leaf.private) {
                    self.map_around(&access, tree);
                }
            }
            Decision::Host(duty) => self.serve_duty(vmpl, gpa, duty),
            // ROMs, which a kernel maps as devices: nothing answers there.
            Decision::Violation(Rule::SharedAccessToUnshared { gpa })
                if ISA_RANGE.contains(&gpa) =>
            {
                self.raise_vc(vmpl, exit::NPF);
            }
            Decision::NotValidated => self.raise_vc(vmpl, exit::PAGE_NOT_VALIDATED),
            Decision::Mmio if !access.fetch && !table => self.raise_vc(vmpl, exit::NPF),
            Decision::Mmio => self.end(vmpl, RunEnd::RuleViolation, |_| {
                say(format_args!(
                    "VMPL{vmpl} {} at {gpa:#x}, where no memory is",
                    if table { "has page tables" } else { "executes" }
                ));
            }),
            Decision::Violation(rule) => self.violation(vmpl, &rule),
        }
    }

    /// Enters the leaf for an access that the RMP allows, and returns what the RMP says.
    fn map(&self, access: &Access, tree: View) -> Decision {
        let machine = self.machine;
        let gpa = access.gpa;
        if GuestMemory::is_hosts_own(gpa) {
            return Decision::Mmio;
        }
        machine.rmp.check_then(access, |decision| {
            if let Decision::Map(leaf) = decision {
                let view = View::of(leaf.private);
                let leaf = machine.memory.contiguous(leaf, gpa);
                let Some(host) = machine.memory.host(leaf.gpa, view) else {
                    return Decision::Mmio;
                };
                let rights = Rights::new(leaf.rights, access.user);
                let tables = &machine.tables[usize::from(access.vmpl)];
                if tree == view {
                    tables.map(view, gpa, host, leaf.size, rights);
                } else {
                    // The private page shows in the shared view: from now on a shared access of
                    // this VMPL to this very page goes unnoticed.
                    let offset = gpa & (leaf.size.bytes() - 1) & !0xFFF;
                    tables.map(tree, gpa, host + offset, RmpSize::Size4K, rights);
                }
            }
            decision
        })
    }

    /// Enters leaves for the pages around one that faulted, as far as they may be read: an exit for
    /// each of them would cost more than looking at all.
    fn map_around(&self, access: &Access, tree: View) {
        const AROUND: u64 = 16 * 4096;
        let (first, page) = (access.gpa & !(AROUND - 1), access.gpa & !0xFFF);
        for gpa in (first..first + AROUND).step_by(4096) {
            if gpa != page && !self.is_misled(gpa) {
                let read = Access {
                    gpa,
                    write: false,
                    fetch: false,
                    table: false,
                    ..*access
                };
                self.map(&read, tree);
            }
        }
    }

    /// VMMCALL or VMGEXIT: the prefix makes the difference, and QEMU's processor ignores it.
    fn vmmcall(&mut self, vmpl: u8) {
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
            0 => self.ghcb_field(vmpl, core::mem::offset_of!(Ghcb, sw_exit_code)),
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

    fn note_call(&self, call: &Call) {
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
