// SPDX-License-Identifier: MIT OR Apache-2.0
//! The local APIC of one vCPU and VMPL.

mod ipi;
mod posted;

pub use ipi::{Ipi, Targets};
pub use posted::{Events, Posted};

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

/// A local APIC. Only the vCPU that it belongs to touches it; others reach it by [`Posted`].
#[derive(Debug)]
pub struct Lapic {}

impl Lapic {
    /// A local APIC after reset: xAPIC mode, software disabled, all entries masked. `bootstrap`
    /// sets the BSP flag of IA32_APIC_BASE.
    pub fn new(_apic_id: u32, _bootstrap: bool) -> Self {
        todo!()
    }

    /// Whether RDMSR and WRMSR of `msr` are the local APIC's: IA32_APIC_BASE, IA32_TSC_DEADLINE
    /// and 0x800 to 0x8FF.
    pub const fn owns_msr(msr: u32) -> bool {
        matches!(msr, 0x1B | 0x6E0 | 0x800..=0x8FF)
    }

    /// RDMSR.
    pub fn msr_read(&mut self, _msr: u32, _now: u64) -> Result<u64, Gp> {
        todo!()
    }

    /// WRMSR.
    pub fn msr_write(&mut self, _msr: u32, _value: u64, _now: u64) -> Result<Effect, Gp> {
        todo!()
    }

    /// The state after INIT (also at the creation of the vCPU by AP creation). APIC id, mode and
    /// base stay.
    pub fn init(&mut self, _posted: &Posted) -> Effect {
        todo!()
    }

    /// Takes over what was posted.
    pub fn merge(&mut self, _posted: &Posted) {
        todo!()
    }

    /// Requests `vector` as the owner: a timer of the emulator, a forged interrupt.
    pub fn request(&mut self, _vector: u8, _level: bool) {
        todo!()
    }

    /// The vector that the processor takes next if it accepts interrupts now.
    pub fn deliverable(&self) -> Option<u8> {
        todo!()
    }

    /// The vector that would be delivered if the task priority were 0: the one to wait for with
    /// V_IRQ, priority `vector >> 4`, when [`Self::deliverable`] has none.
    pub fn held_by_tpr(&self) -> Option<u8> {
        todo!()
    }

    /// The processor takes `vector`: it moves from requested to in service.
    pub fn accept(&mut self, _vector: u8) {
        todo!()
    }

    /// CR8, the task priority class: for V_TPR before an entry.
    pub fn cr8(&self) -> u8 {
        todo!()
    }

    /// Takes V_TPR over after an exit.
    pub fn set_cr8(&mut self, _class: u8) {
        todo!()
    }

    /// TSC at which [`Self::tick`] has to be called again, if ever.
    pub fn next_deadline(&self) -> Option<u64> {
        todo!()
    }

    /// Requests the timer's vector if it is due. True if it was.
    pub fn tick(&mut self, _now: u64) -> bool {
        todo!()
    }
}
