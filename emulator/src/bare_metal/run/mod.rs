// SPDX-License-Identifier: MIT OR Apache-2.0
//! The loop of a vCPU: look at what others want, choose a level, enter it, serve its exit.
//!
//! | room | what |
//! |---|---|
//! | `exits` | which kind of exit it is, and #VC |
//! | `page_fault` | nested page faults |
//! | `vmgexit`, `services` | requests by GHCB, and the verbs behind them |
//! | `execute`, `rmp_instruction` | instructions in place of QEMU's processor |
//! | `misbehave` | the hands of a hostile host |

mod execute;
mod exits;
mod misbehave;
mod page_fault;
mod rmp_instruction;
mod services;
mod vmgexit;

use core::sync::atomic::Ordering;

use emulator_defs::exit::RunEnd;
use emulator_defs::trace::Kind;

use crate::end_of_run::{end_run, stop};
use crate::host::cpu::Processor;
use crate::host::instructions::{clgi, interrupt_window, rdtsc, stgi, wait_for_interrupt};
use crate::host::{apic, time};
use crate::machine::{Machine, Request, State};
use crate::records::diary::Exit;
use crate::records::report::say;
use crate::records::tracing::Event;
use crate::svm::enter;
use crate::vcpu::Vcpu;

/// Runs vCPU `index` on the calling processor.
pub(crate) fn run(machine: &'static Machine, index: u32) -> ! {
    crate::svm::initialize();
    let mut vcpu = Vcpu::new(machine, index);
    loop {
        let requests = vcpu.shared.take_requests();
        if requests & Request::STOP != 0 {
            stop(vcpu.shared);
        }
        if requests & Request::ORDER != 0 {
            vcpu.take_orders();
        }
        let now = rdtsc();
        match vcpu.schedule(now) {
            Some(vmpl) => vcpu.run_level(vmpl, now),
            None => vcpu.sleep(),
        }
    }
}

impl Vcpu {
    /// Enters a level and serves its exit.
    fn run_level(&mut self, vmpl: u8, now: u64) {
        if let Err((gpa, refusal)) = self.enter(vmpl) {
            if self.gives_up(vmpl, gpa, refusal) {
                return;
            }
            self.vmsa_refused(vmpl, gpa, refusal);
        }
        let machine = self.machine;
        let shared = self.shared;
        let mode = emulator::paging::Mode::of(&self.level(vmpl).block.save);
        let level = &mut self.levels[usize::from(vmpl)];
        let tables = &machine.tables[usize::from(vmpl)];
        let root = tables.root(mode.has_c_bit());
        level.block.control.nested_cr3 = root;
        level.inject(machine);
        self.arm_timer(now);
        clgi();
        if !shared.move_to(State::Guest) {
            stgi();
            self.levels[usize::from(vmpl)].not_entered();
            return;
        }
        if self.stepping.is_some() {
            self.prepare_step(vmpl);
        }
        let level = &mut self.levels[usize::from(vmpl)];
        let flush = level.translations.enter(root, &tables.invalidations);
        level.block.set_flush(flush);
        let injected = level.block.control.event_inj;
        let times = enter::enter(&mut level.block, &mut level.gprs, &self.host);
        shared.exits.fetch_add(1, Ordering::SeqCst);
        shared.come_back();
        level.take_back_events(machine, times.entry);
        let control = &level.block.control;
        let exit = Exit {
            tsc: times.exit,
            vmpl,
            code: control.exit_code & 0xFFFF_FFFF,
            info1: control.exit_info1,
            info2: control.exit_info2,
            rip: level.block.save.rip,
            ghcb: 0,
        };
        {
            let mut diary = shared.diary.lock();
            if vmpl != 0 && diary.until_guest.is_none() {
                diary.until_guest = Some(diary.guest_ticks[0]);
            }
            diary.guest_ticks[usize::from(vmpl)] += times.guest();
            diary.exit(exit);
        }
        if vmpl == 0
            && let Some(call) = &mut self.call
        {
            call.ticks += times.guest();
        }
        let (code, rcx) = (exit.code, level.gprs.rcx);
        machine.tracer.ran(&times, &exit, injected);
        if machine.hostile.is_none() {
            self.serve(vmpl, code);
        } else if !self.after_step(vmpl, code) {
            self.serve(vmpl, code);
            self.misbehave(vmpl, code);
        }
        let served = rdtsc();
        shared
            .diary
            .lock()
            .served(served.saturating_sub(times.exit));
        machine.tracer.served(&exit, rcx, served);
    }

    /// Sets the timer of the processor for what is due next.
    fn arm_timer(&mut self, now: u64) {
        let deadline = self.next_deadline();
        if deadline != self.armed {
            self.armed = deadline;
            time::start_timer_at(deadline, now);
        }
    }

    /// Takes the interrupts that are pending at this processor. Those of devices are posted to the
    /// guest's local APIC.
    pub(crate) fn take_interrupts(&mut self) {
        let (machine, index) = (self.machine, self.shared.index);
        let vmpl = machine.config.guest_vmpl;
        let posted = &self.shared.levels[usize::from(vmpl)].posted;
        let processor = Processor::current();
        interrupt_window();
        while let Some(vector) = processor.take_arrival() {
            machine.bus.arrived(vector, &apic::Real, posted);
            machine.tracer.instant(
                Kind::InterruptPosted,
                Event {
                    vmpl,
                    small: vector.into(),
                    a: index.into(),
                    ..Event::default()
                },
            );
            interrupt_window();
        }
        // It may have been the timer, early or in time.
        self.armed = None;
    }

    /// Waits until something happens.
    fn sleep(&mut self) {
        // Whoever waits is not running: its VMSA is free.
        self.leave();
        let started = rdtsc();
        self.arm_timer(started);
        self.shared
            .wakeable
            .store(self.is_wakeable() || self.armed.is_some(), Ordering::SeqCst);
        if self.shared.move_to(State::Idle) {
            if self.is_deadlock() {
                self.shared.come_back();
                end_run(self.machine, self.shared, RunEnd::Deadlock, |_| {
                    say(format_args!(
                        "every vCPU is halted with interrupts disabled, and nothing can wake one"
                    ));
                });
            }
            // Between the look at the requests and HLT no interrupt is taken: it would be one that
            // ends HLT.
            wait_for_interrupt();
            self.shared.come_back();
        }
        self.take_interrupts();
        self.shared.wakeable.store(true, Ordering::SeqCst);
        let woken = rdtsc();
        self.shared.diary.lock().idle_ticks += woken.saturating_sub(started);
        self.machine
            .tracer
            .span(Kind::Idle, started, woken, Event::default());
    }

    /// Whether all vCPUs sleep, and none can be woken.
    fn is_deadlock(&self) -> bool {
        self.machine.started.load(Ordering::SeqCst) != 0
            && self.machine.vcpus.iter().all(|vcpu| {
                vcpu.state.load(Ordering::SeqCst) == State::Idle as u32
                    && !vcpu.wakeable.load(Ordering::SeqCst)
                    && !vcpu.has_requests()
            })
    }
}
