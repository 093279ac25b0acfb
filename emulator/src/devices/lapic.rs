// SPDX-License-Identifier: MIT OR Apache-2.0
//! The local APIC of one vCPU and VMPL.
//!
//! Modelled on Intel SDM vol. 3, the chapter "Advanced Programmable Interrupt Controller" (sections
//! are cited as in the editions in which it is chapter 11), without the parts that are not in every
//! processor: no CMCI entry, no suppression of EOI broadcasts, no focus processor. It starts in
//! xAPIC mode at 0xFEE00000; IA32_APIC_BASE switches to x2APIC mode. Both faces are one set of
//! registers ([`Lapic::mmio_read`], [`Lapic::msr_read`] and their counterparts).
//!
//! What an access causes outside of the local APIC is returned by value as an [`Effect`].

mod ipi;
mod posted;
mod registers;
#[cfg(test)]
mod tests;
mod timer;
mod vectors;

pub use ipi::{Delivery, Destination, Ipi, Targets};
pub use posted::{Events, Posted};

use posted::Presence;
use registers::{BASE_BSP, BASE_ENABLE, BASE_X2APIC, LVT_ERROR, LVT_MASKED, LVT_TIMER, LVTS};
use timer::Timer;
use vectors::VectorSet;

/// Physical address of the registers. A guest that moves them is refused by #GP.
pub const LAPIC_BASE: u64 = 0xFEE0_0000;

/// What the owner has to do after an access to a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing. What can be delivered may have changed, as after every access.
    None,
    /// Send it: [`Ipi::send`].
    Ipi(Ipi),
    /// An interrupt ended. If `level`, the I/O APIC has to hear of it.
    Eoi {
        /// The vector that was in service.
        vector: u8,
        /// Whether it was level triggered.
        level: bool,
    },
    /// [`Lapic::next_deadline`] has changed.
    TimerChanged,
    /// The real local APIC has to follow, if this one is the guest's.
    LogicalChanged(LogicalId),
}

/// The logical destinations to which a local APIC answers, in the form of xAPIC registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogicalId {
    /// LDR bits 31:24; 0 answers to none.
    pub ldr: u8,
    /// DFR model: flat, else cluster.
    pub flat: bool,
}

/// The access raises #GP(0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gp;

/// Bits of the error status register.
mod error {
    /// A vector below 16 was to be sent.
    pub(super) const SEND_ILLEGAL_VECTOR: u32 = 1 << 5;
    /// A vector below 16 arrived.
    pub(super) const RECEIVED_ILLEGAL_VECTOR: u32 = 1 << 6;
    /// No register is at that offset (xAPIC mode).
    pub(super) const ILLEGAL_REGISTER: u32 = 1 << 7;
}

/// Bit 8 of the spurious-interrupt vector register.
const SVR_ENABLE: u32 = 1 << 8;

/// A local APIC. Only the vCPU that it belongs to touches it; others reach it by [`Posted`].
#[derive(Debug)]
pub struct Lapic<'p> {
    posted: &'p Posted,
    /// IA32_APIC_BASE.
    base: u64,
    tpr: u8,
    /// Bits 31:24 of LDR in xAPIC mode.
    ldr: u8,
    /// Bits 31:28 of DFR.
    dfr: u8,
    svr: u32,
    requested: VectorSet,
    in_service: VectorSet,
    level: VectorSet,
    /// What ESR shows.
    esr: u32,
    /// Errors since ESR was last written.
    errors: u32,
    icr: u64,
    lvt: [u32; LVTS],
    timer: Timer,
}

impl<'p> Lapic<'p> {
    /// A local APIC after power-up: xAPIC mode, software disabled, all entries masked. It takes
    /// its id and what is sent to it from `posted`. `bootstrap` sets the BSP flag of
    /// IA32_APIC_BASE.
    pub fn new(posted: &'p Posted, bootstrap: bool) -> Self {
        let bootstrap = if bootstrap { BASE_BSP } else { 0 };
        let lapic = Self::reset(posted, LAPIC_BASE | BASE_ENABLE | bootstrap);
        lapic.publish();
        lapic
    }

    fn reset(posted: &'p Posted, base: u64) -> Self {
        Self {
            posted,
            base,
            tpr: 0,
            ldr: 0,
            dfr: 0xF,
            svr: 0xFF,
            requested: VectorSet::empty(),
            in_service: VectorSet::empty(),
            level: VectorSet::empty(),
            esr: 0,
            errors: 0,
            icr: 0,
            lvt: [LVT_MASKED; LVTS],
            timer: Timer::new(),
        }
    }

    /// The state after INIT (SDM vol. 3, 11.4.7.3), also when the vCPU is created anew. APIC id
    /// and IA32_APIC_BASE stay; what was posted before is gone.
    pub fn init(&mut self) -> Effect {
        *self = Self::reset(self.posted, self.base);
        self.posted.take_vectors(|_, _| ());
        self.publish();
        Effect::LogicalChanged(self.logical_id())
    }

    /// Takes over the vectors that were posted. A local APIC that is disabled drops them.
    pub fn merge(&mut self) {
        let posted = self.posted;
        posted.take_vectors(|vector, level| self.request(vector, level));
    }

    /// Requests `vector`, as a message that arrives does.
    pub fn request(&mut self, vector: u8, level: bool) {
        if !self.is_present() || !self.is_software_enabled() {
            return;
        }
        if vector < 16 {
            self.raise(error::RECEIVED_ILLEGAL_VECTOR);
            return;
        }
        self.requested.insert(vector);
        self.level.set(vector, level);
    }

    /// The vector that the processor takes next if it accepts interrupts now: the highest one
    /// requested, if its class is above that of the processor priority (SDM vol. 3, 11.8.3.1).
    pub fn deliverable(&self) -> Option<u8> {
        self.candidate(self.ppr())
    }

    /// Whether the task priority decides if an interrupt is taken: one is requested, and none that
    /// is in service holds it back.
    pub fn heeds_task_priority(&self) -> bool {
        let in_service = self.in_service.highest().unwrap_or(0);
        self.candidate(in_service).is_some()
    }

    fn candidate(&self, priority: u8) -> Option<u8> {
        if !self.is_present() {
            return None;
        }
        self.requested
            .highest()
            .filter(|vector| vector >> 4 > priority >> 4)
    }

    /// The processor takes `vector`: it moves from requested to in service. `vector` is what
    /// [`Self::deliverable`] named when the interrupt was injected; a higher one may have been
    /// requested since.
    pub fn accept(&mut self, vector: u8) {
        self.requested.remove(vector);
        self.in_service.insert(vector);
    }

    /// CR8, the task priority class: for V_TPR before an entry.
    pub fn cr8(&self) -> u8 {
        self.tpr >> 4
    }

    /// Takes V_TPR over after an exit. A write of CR8 clears the sub-class (SDM vol. 3, 11.8.6);
    /// where the class is as before, none is assumed.
    pub fn set_cr8(&mut self, class: u8) {
        let class = class & 0xF;
        if class != self.cr8() {
            self.tpr = class << 4;
        }
    }

    /// TSC at which [`Self::tick`] has to be called again, if ever.
    pub fn next_deadline(&self) -> Option<u64> {
        if self.lvt[LVT_TIMER] & LVT_MASKED != 0 {
            return None;
        }
        self.timer.next()
    }

    /// Requests the timer's vector if it is due. True if it was.
    pub fn tick(&mut self, now: u64) -> bool {
        if !self.timer.expire(now) || self.lvt[LVT_TIMER] & LVT_MASKED != 0 {
            return false;
        }
        self.request(self.lvt[LVT_TIMER] as u8, false);
        true
    }

    /// Ends the interrupt of highest priority that is in service.
    fn end_of_interrupt(&mut self) -> Effect {
        let Some(vector) = self.in_service.highest() else {
            return Effect::None;
        };
        self.in_service.remove(vector);
        Effect::Eoi {
            vector,
            level: self.level.contains(vector),
        }
    }

    /// Processor priority: the higher class of task priority and interrupt in service.
    fn ppr(&self) -> u8 {
        let in_service = self.in_service.highest().unwrap_or(0);
        if self.tpr >> 4 >= in_service >> 4 {
            self.tpr
        } else {
            in_service & 0xF0
        }
    }

    /// Notes an error and requests the error entry's vector, if that is open.
    fn raise(&mut self, error: u32) {
        self.errors |= error;
        let entry = self.lvt[LVT_ERROR];
        if entry & LVT_MASKED != 0 {
            return;
        }
        if entry as u8 >= 16 {
            self.request(entry as u8, false);
        } else {
            self.errors |= error::RECEIVED_ILLEGAL_VECTOR;
        }
    }

    fn is_present(&self) -> bool {
        self.base & BASE_ENABLE != 0
    }

    fn is_x2apic(&self) -> bool {
        self.base & BASE_X2APIC != 0
    }

    fn is_software_enabled(&self) -> bool {
        self.svr & SVR_ENABLE != 0
    }

    /// What a real local APIC in xAPIC mode has to answer to, so that messages of devices find
    /// their way. Their destination has 8 bits: in x2APIC mode that is the first 8 members of
    /// cluster 0.
    pub fn logical_id(&self) -> LogicalId {
        if !self.is_present() {
            LogicalId { ldr: 0, flat: true }
        } else if self.is_x2apic() {
            let ldr = match self.posted.apic_id() {
                id @ 0..8 => 1 << id,
                _ => 0,
            };
            LogicalId { ldr, flat: true }
        } else {
            LogicalId {
                ldr: self.ldr,
                flat: self.dfr == 0xF,
            }
        }
    }

    /// Lets senders know what changed.
    fn publish(&self) {
        self.posted.publish(Presence {
            present: self.is_present(),
            software_enabled: self.is_software_enabled(),
            x2apic: self.is_x2apic(),
            logical: self.logical_id(),
        });
    }
}
