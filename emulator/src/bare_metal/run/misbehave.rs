// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hands of the hostile host: pages, registers, interrupts.
//!
//! It has the means of a host and no others. Each change of a page is an RMPUPDATE that hardware would let it do, or a change
//! of nested tables that the RMP then stands against; what hardware refuses is logged and has no effect.

use alloc::vec::Vec;
use core::mem::offset_of;

use emulator::hostile::Trick;
use emulator::snp::refusal::Refusal;
use emulator::snp::rmp::{Change, ChangeKind, Entry, HostDuty, HostError};
use emulator::vmcb::event;
use emulator_defs::exit::RunEnd;
use emulator_defs::trace::Kind;
use snp_defs::exit;
use snp_defs::ghcb::{Ghcb, SHARED_BUFFER_OFFSET};
use snp_defs::rmp::RmpSize;

use crate::host::{heap, physical};
use crate::machine::Machine;
use crate::machine::hostile_host::{HostileHost, Spare, Stepping, Why};
use crate::memory::backings::View;
use crate::records::report::say;
use crate::records::tracing::Event;
use crate::vcpu::{RunState, Vcpu};

/// Single step: RFLAGS.TF, and the intercept of #DB that ends it.
const TRAP_FLAG: u64 = 1 << 8;
const INTERCEPT_DB: u32 = 1 << 1;
/// Exit code of an intercepted #DB.
const EXIT_DB: u64 = 0x41;
/// How often the host runs a VMSA again that hardware does not let it run now.
const PATIENCE: u32 = 100_000;
/// Nested page faults in a row after which a host concludes that a VMPL makes no headway: an honest one has
/// a request in between, or a page that comes.
const MOST_FAULTS: u32 = 200_000;
const PAGE: u64 = 4096;

impl Machine {
    /// Every translation of a page is forgotten, on all vCPUs but `caller`, which forgets it at its next entry.
    fn forget(&self, gpa: u64, caller: u32) {
        self.apply(Change {
            gpa,
            size: RmpSize::Size4K,
            kind: ChangeKind::Rescinded,
            fresh: true,
        });
        self.flush_others(caller);
    }

    fn take(&self, gpa: u64, size: RmpSize, caller: u32) -> Result<(), HostError> {
        let result = self
            .rmp
            .make_shared(gpa, size, &mut |change| self.apply(change));
        self.flush_others(caller);
        result
    }

    fn give(&self, gpa: u64, size: RmpSize, caller: u32) -> Result<(), HostError> {
        self.take(gpa, size, caller)?;
        let result = self
            .rmp
            .make_private(gpa, size, &mut |change| self.apply(change));
        self.flush_others(caller);
        result
    }

    /// Puts another host page at `gpa`, or the first one again.
    fn exchange(&self, hostile: &HostileHost, gpa: u64, caller: u32) -> Result<(), HostError> {
        let here = self
            .memory
            .host(gpa, View::Private)
            .ok_or(HostError::NotMemory)?;
        let mut spares = hostile.spare.lock();
        let spare = match spares.iter().position(|spare| spare.gpa == gpa) {
            Some(at) => spares.swap_remove(at),
            None => Spare {
                gpa,
                host: heap::HIGH.allocate(PAGE, PAGE),
                entry: Entry::ASSIGNED,
            },
        };
        match self.rmp.exchange(gpa, spare.entry) {
            Ok(entry) => {
                self.memory.move_page(gpa, spare.host);
                spares.push(Spare {
                    gpa,
                    host: here,
                    entry,
                });
                drop(spares);
                self.forget(gpa, caller);
                Ok(())
            }
            Err(refused) => {
                spares.push(spare);
                Err(refused)
            }
        }
    }

    /// Assigns the host page behind `from` at `gpa`; `from` gets the one that was there, unassigned.
    fn remap(&self, gpa: u64, from: u64, caller: u32) -> Result<(), HostError> {
        let host = |gpa| {
            self.memory
                .host(gpa, View::Private)
                .ok_or(HostError::NotMemory)
        };
        let (here, there) = (host(gpa)?, host(from)?);
        let old = self.rmp.exchange(from, Entry::INITIAL)?;
        if let Err(refused) = self.rmp.exchange(gpa, Entry::ASSIGNED) {
            // As it was. Nobody else exchanges pages of this address but a script with two rules for it.
            let _ = self.rmp.exchange(from, old);
            return Err(refused);
        }
        self.memory.move_page(gpa, there);
        if gpa != from {
            self.memory.move_page(from, here);
        }
        self.forget(gpa, caller);
        self.forget(from, caller);
        Ok(())
    }
}

impl Vcpu {
    /// The host's turn at an exit, after it was served.
    pub(crate) fn misbehave(&mut self, vmpl: u8, code: u64) {
        let Some(hostile) = &self.machine.hostile else {
            return;
        };
        match code {
            exit::VMMCALL => self.faults = 0,
            exit::NPF => self.faults += 1,
            _ => {}
        }
        if self.faults > MOST_FAULTS {
            self.end(vmpl, RunEnd::HostStopped, |_| {
                say(format_args!(
                    "VMPL{vmpl} does nothing but fault, since the hostile host took what it needs"
                ));
            });
        }
        let ghcb = self.level(vmpl).ghcb.registered();
        let mut tricks = Vec::new();
        hostile
            .engine()
            .at_exit(vmpl, self.shared.index, code, ghcb, &mut tricks);
        self.perform(vmpl, tricks);
    }

    /// Does what rules want done besides their answers.
    pub(crate) fn perform(&mut self, vmpl: u8, tricks: Vec<(u32, Trick)>) {
        for (line, trick) in tricks {
            let event = Event {
                vmpl,
                a: line.into(),
                ..Event::default()
            };
            self.machine.tracer.instant(Kind::Hostile, event);
            if let Err(refused) = self.try_to(vmpl, trick) {
                log::info!("hostile host, line {line}: hardware refuses {trick:x?}: {refused:?}");
            }
        }
    }

    fn try_to(&mut self, vmpl: u8, trick: Trick) -> Result<(), HostError> {
        let machine = self.machine;
        let caller = self.shared.index;
        let Some(hostile) = &machine.hostile else {
            return Ok(());
        };
        match trick {
            Trick::Acted => {}
            Trick::Unassign(gpa) => machine.take(gpa, RmpSize::Size4K, caller)?,
            Trick::Reassign(gpa, size) => machine.give(gpa, size, caller)?,
            Trick::Exchange(gpa) => machine.exchange(hostile, gpa, caller)?,
            Trick::Remap(gpa, from) => machine.remap(gpa, from, caller)?,
            Trick::Withhold(gpa, size) => {
                let is_assigned =
                    |gpa| matches!(machine.rmp.entry(gpa), Some((entry, _)) if entry.assigned());
                if is_assigned(gpa) {
                    machine.take(gpa, size, caller)?;
                }
                hostile.keep(gpa..gpa + size.bytes(), Why::Withheld);
            }
            Trick::DoubleMap(gpa, to) => {
                hostile.keep(gpa..gpa + PAGE, Why::Misled(to));
                machine.forget(gpa, caller);
            }
            Trick::Inject(vector) => self.inject(vmpl, vector)?,
            Trick::Signal => self.level(vmpl).signal = true,
            Trick::Resume(other) => {
                let level = self.level(other);
                if level.vmsa.is_some() {
                    level.run_state = RunState::Runnable;
                }
            }
            Trick::Scribble(ghcb, left) => {
                self.stepping = Some(Stepping { vmpl, ghcb, left });
            }
            Trick::Stop => self.end(vmpl, RunEnd::HostStopped, |_| {
                say(format_args!("the hostile host pulls the plug"));
            }),
            Trick::Breach(breach) => self.end(vmpl, RunEnd::Breach, |_| {
                say(format_args!("VMPL{vmpl} gave itself away: {breach}"));
            }),
        }
        Ok(())
    }

    /// EVENTINJ of any vector. With restricted injection VMRUN refuses it (24593, 15.36.16).
    fn inject(&mut self, vmpl: u8, vector: u8) -> Result<(), HostError> {
        let level = self.level(vmpl);
        if level.restricted() {
            return Err(HostError::InUse);
        }
        let kind = if vector < 32 {
            event::TYPE_EXCEPTION
        } else {
            event::TYPE_INTERRUPT
        };
        level.reinject = Some(event::VALID | kind | u64::from(vector));
        Ok(())
    }

    /// Does a host's duty about an access to `gpa`, or ends the run where a script says that it is not done.
    pub(crate) fn serve_duty(&mut self, vmpl: u8, gpa: u64, duty: HostDuty) {
        let machine = self.machine;
        let duty = match &machine.hostile {
            None => duty,
            Some(hostile) => {
                if let Some(why) = hostile.kept(gpa) {
                    self.kept_from(vmpl, gpa, why);
                }
                hostile.duty(duty, gpa)
            }
        };
        machine.rmp.serve(duty, &mut |change| machine.apply(change));
    }

    /// Ends the run where the nested tables of `gpa` lead to a page whose RMP entry names another address: the access
    /// faults for ever.
    pub(crate) fn check_misled(&self, vmpl: u8, gpa: u64) {
        if let Some(to) = self.misled(gpa) {
            self.kept_from(vmpl, gpa, Why::Misled(to));
        }
    }

    /// Whether the nested tables of `gpa` lead elsewhere.
    pub(crate) fn is_misled(&self, gpa: u64) -> bool {
        self.misled(gpa).is_some()
    }

    fn misled(&self, gpa: u64) -> Option<u64> {
        match self.machine.hostile.as_ref()?.kept(gpa)? {
            Why::Misled(to) => Some(to),
            Why::Withheld => None,
        }
    }

    fn kept_from(&self, vmpl: u8, gpa: u64, why: Why) -> ! {
        self.end(vmpl, RunEnd::HostStopped, |_| match why {
            Why::Withheld => say(format_args!(
                "VMPL{vmpl} needs the page at {gpa:#x}, which the hostile host keeps"
            )),
            Why::Misled(to) => say(format_args!(
                "VMPL{vmpl} can't reach the page at {gpa:#x}: the hostile host's tables lead to \
                 the page of {to:#x}, and the RMP refuses that"
            )),
        })
    }

    /// VMRUN refused what a hostile host wanted run: it tries again for a while, and then gives up. False: nobody
    /// is to blame but the guest.
    pub(crate) fn gives_up(&mut self, vmpl: u8, gpa: u64, refusal: Refusal) -> bool {
        if self.machine.hostile.is_none() {
            return false;
        }
        self.refused += 1;
        let may_pass = matches!(refusal, Refusal::Busy | Refusal::SvmeClear);
        if may_pass && self.refused < PATIENCE {
            self.take_interrupts();
            return true;
        }
        self.refused = 0;
        log::info!("hostile host: the VMSA at {gpa:#x} can't be run at VMPL{vmpl}: {refusal}");
        let level = self.level(vmpl);
        level.vmsa = None;
        level.run_state = RunState::Stopped;
        true
    }

    /// Before an entry: this level is to stop after one instruction.
    pub(crate) fn prepare_step(&mut self, vmpl: u8) {
        if self.stepping.is_some_and(|stepping| stepping.vmpl == vmpl) {
            let block = &mut self.level(vmpl).block;
            block.save.rflags |= TRAP_FLAG;
            block.control.intercept_exceptions |= INTERCEPT_DB;
        }
    }

    /// After an exit of a level that was to stop after one instruction: whether that is why it did.
    pub(crate) fn after_step(&mut self, vmpl: u8, code: u64) -> bool {
        let Some(stepping) = self.stepping.filter(|stepping| stepping.vmpl == vmpl) else {
            return false;
        };
        let block = &mut self.level(vmpl).block;
        block.save.rflags &= !TRAP_FLAG;
        block.control.intercept_exceptions &= !INTERCEPT_DB;
        if code != EXIT_DB {
            return false;
        }
        self.scribble(stepping.ghcb);
        self.stepping = (stepping.left > 1).then_some(Stepping {
            left: stepping.left - 1,
            ..stepping
        });
        true
    }

    /// Writes a random value somewhere into a GHCB, more often where an answer is.
    fn scribble(&self, ghcb: u64) {
        const ANSWER: [usize; 8] = [
            offset_of!(Ghcb, sw_exit_info1),
            offset_of!(Ghcb, sw_exit_info2),
            offset_of!(Ghcb, rax),
            offset_of!(Ghcb, rbx),
            offset_of!(Ghcb, valid_bitmap),
            offset_of!(Ghcb, valid_bitmap) + 8,
            SHARED_BUFFER_OFFSET,
            SHARED_BUFFER_OFFSET + 8,
        ];
        let Some(hostile) = &self.machine.hostile else {
            return;
        };
        let random = hostile.engine().random();
        let offset = match ANSWER.get(random.below(12) as usize) {
            Some(offset) => *offset as u64,
            None => random.below(PAGE / 8) * 8,
        };
        let value = random.next() >> random.below(64);
        if self.machine.rmp.is_shared(ghcb, PAGE)
            && let Some(page) = self.machine.memory.host(ghcb, View::Shared)
        {
            physical::write_volatile(page + offset, value);
        }
    }
}
