// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events of a level: exceptions, interrupts and NMIs, from where they wait to the guest, and back if
//! their delivery was interrupted.

use core::sync::atomic::AtomicU32;

use emulator::snp::hv_doorbell;
use emulator::vmcb::{event, intercept1, vintr};
use emulator_defs::trace::Kind;
use snp_defs::exit;

use super::level::{Level, RunState};
use crate::host::physical;
use crate::machine::Machine;
use crate::memory::backings::View;
use crate::records::tracing::Event;

/// Writes of CR0: which view is at the root of the nested tables depends on CR0.PG.
const INTERCEPT_CR0: u32 = 1 << exit::CR0_WRITE;
const INTERCEPT_CR8: u32 = 1 << exit::CR8_WRITE;

impl Level {
    /// Raises an exception at the next entry, in place of whatever was interrupted.
    pub(crate) fn raise(&mut self, vector: u8, error_code: Option<u32>) {
        let code = error_code.map_or(0, |code| u64::from(code) << 32 | event::ERROR_CODE_VALID);
        self.reinject = Some(event::VALID | event::TYPE_EXCEPTION | u64::from(vector) | code);
    }

    fn nmi_is_open(&self) -> bool {
        self.nmi_pending && !self.nmi_masked
    }

    /// Whether something waits that ends a HLT.
    pub(super) fn has_event(&self, machine: &Machine) -> bool {
        if self.reinject.is_some() {
            return true;
        }
        if self.restricted() {
            let waiting = self.doorbell(machine).is_some_and(hv_doorbell::pending);
            return waiting || self.nmi_pending || self.lapic.deliverable().is_some();
        }
        let open = self.block.save.rflags & (1 << 9) != 0;
        self.nmi_is_open() || open && self.lapic.deliverable().is_some()
    }

    /// Whether a message of another vCPU or of a device could end its HLT.
    pub(super) fn is_wakeable(&self) -> bool {
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
    fn doorbell(&self, machine: &Machine) -> Option<&'static AtomicU32> {
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
    ///
    /// An interrupt is offered only when the task priority lets it through, so it does not matter
    /// that QEMU takes one at V_TPR as well, and hardware above it only. While one waits, writes of
    /// CR8 are intercepted: what the guest lowers it to may let that interrupt through, and QEMU
    /// fails an assertion if CR8 is written while V_IRQ is set.
    pub(crate) fn inject(&mut self, machine: &Machine) {
        self.block.control.event_inj = 0;
        let mut vintr = vintr::MASKING | u64::from(self.lapic.cr8());
        let mut writes = INTERCEPT_CR0;
        if self.restricted() {
            self.inject_hv(machine);
        } else {
            self.inject_classic();
            self.offered = self.lapic.deliverable();
            if let Some(vector) = self.offered {
                vintr |= vintr::IRQ
                    | u64::from(vector >> 4) << vintr::PRIORITY_SHIFT
                    | u64::from(vector) << vintr::VECTOR_SHIFT;
            }
            if self.lapic.heeds_task_priority() {
                writes |= INTERCEPT_CR8;
            }
        }
        let control = &mut self.block.control;
        control.vintr = vintr;
        control.intercept_cr = writes;
        control.intercept1 = control.intercept1 & !intercept1::IRET
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
        if let Some(word) = self.doorbell(machine) {
            if self.nmi_pending {
                let posted = hv_doorbell::post(word, hv_doorbell::Event::Nmi);
                self.nmi_pending = !posted.accepted;
                self.signal |= posted.signal;
            }
            if let Some(vector) = self.lapic.deliverable() {
                let posted = hv_doorbell::post(
                    word,
                    hv_doorbell::Event::Interrupt {
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
            self.block.control.event_inj = hv_doorbell::HV_EVENT_INJECTION;
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

/// Notes in the trace that the guest got an interrupt at the entry at time-stamp `when`.
fn note_interrupt(machine: &Machine, vmpl: u8, vector: u8, when: u64) {
    let event = Event {
        vmpl,
        small: vector.into(),
        ..Event::default()
    };
    machine.tracer.span(Kind::Interrupt, when, when, event);
}
