// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens at an exit. Three kinds, as on an SNP host (24593, 15.35.4): automatic exits, which
//! the host serves; what the guest serves itself after #VC; and what the emulator executes in place
//! of the processor.

use emulator::decode::{Instruction, Operation, decode};
use emulator::exception::{self, Undeliverable};
use emulator::paging::Mode;
use emulator::snp::refusal::Refusal;
use emulator::snp::rule::Rule;
use emulator_defs::exit::RunEnd;
use emulator_defs::trace::Kind;
use snp_defs::exit;

use crate::end_of_run::end_run;
use crate::records::report::{say, say_registers};
use crate::records::tracing::Event;
use crate::vcpu::linear::Linear;
use crate::vcpu::{RunState, Vcpu};

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
            exit::CR8_WRITE => self.write_cr8(vmpl),
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
}
