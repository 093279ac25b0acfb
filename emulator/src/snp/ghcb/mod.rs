// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest-hypervisor communication block: how a guest asks its host (56421).
//!
//! A guest whose GHCB MSR holds a page's address speaks through that page ("NAE events"), else through
//! the MSR itself ("MSR protocol"). [`handle_vmgexit`] takes both. The page is shared: it is read once,
//! into a copy; what the copy says is checked, the event is served from the copy, and only the fields
//! that the event returns are written back, with their bits in the valid bitmap.
//!
//! A malformed request gets the answer that the specification names (SW_EXITINFO1 = 2), never an end
//! of the run; that is left for what has no answer.

use super::rule::Rule;

pub mod services;

pub use services::{
    ApRequest, ApRequestKind, CpuidAnswer, HostServices, NotShared, Note, PageOp, Refused,
    Termination,
};

/// What the protocol keeps for each VMPL of each vCPU.
#[derive(Debug, Clone)]
pub struct Level {
    /// GHCB MSR (0xC0010130): the guest reads and writes it without an exit.
    pub msr: u64,
    registered: Option<u64>,
    doorbell: Option<u64>,
    dr7: u64,
    hold: Option<Hold>,
}

/// An AP reset hold that has not been answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// Asked by the MSR protocol.
    Msr,
    /// Asked by NAE event, with the GHCB here.
    Ghcb(u64),
}

/// What the vCPU does after VMGEXIT. The answer is written already, unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Resume after VMGEXIT.
    Resume,
    /// As HLT: wait for an event, then resume.
    Halt,
    /// Wait for INIT and SIPI, then call [`Level::release_reset_hold`] and resume.
    ResetHold,
    /// This VMPL is runnable and runs; the one that asked stops until asked for.
    RunVmpl(u8),
    /// End the run: the guest asks for it.
    Terminate(Termination),
    /// End the run, and name the rule.
    Violation(Rule),
}

impl Default for Level {
    fn default() -> Self {
        Self {
            msr: 0,
            registered: None,
            doorbell: None,
            dr7: 0x400,
            hold: None,
        }
    }
}

impl Level {
    /// Guest-physical address of the #HV doorbell page, if one is set.
    pub fn doorbell(&self) -> Option<u64> {
        self.doorbell
    }

    /// Guest-physical address of the GHCB that was registered.
    pub fn registered(&self) -> Option<u64> {
        self.registered
    }

    /// Answers an AP reset hold: the vCPU got its SIPI.
    pub fn release_reset_hold<S: HostServices>(&mut self, services: &mut S) {
        let _ = (services, self.hold.take());
        todo!()
    }
}

/// Serves a VMGEXIT of the vCPU and VMPL that `level` belongs to. RIP is past the instruction already.
pub fn handle_vmgexit<S: HostServices>(level: &mut Level, services: &mut S) -> Outcome {
    let _ = (level, services);
    todo!()
}
