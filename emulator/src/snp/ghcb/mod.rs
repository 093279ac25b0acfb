// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest-hypervisor communication block: how a guest asks its host (56421).
//!
//! A guest whose GHCB MSR holds a page's address speaks through that page ("NAE events", [`nae`]), else
//! through the MSR itself ([`msr_protocol`]). [`handle_vmgexit`] takes both. The page is shared: it is
//! read once, into a copy; what the copy says is checked, the event is served from the copy, and only
//! the fields that the event returns are written back, with their bits in the valid bitmap.
//!
//! A malformed request gets the answer that the specification names (SW_EXITINFO1 = 2), never an end
//! of the run; that is left for what has no answer.

use snp_defs::ghcb::{USAGE_STANDARD, malformed};

use super::rule::Rule;

pub mod msr_policy;
mod msr_protocol;
mod nae;
mod request;
pub mod services;

use request::{Failure, Field, Request};
pub use services::{
    ApRequest, ApRequestKind, CpuidAnswer, HostServices, NotShared, Note, PageOp, Refused,
    Termination,
};

/// The protocol version that this host speaks; SNP needs no less (56421, version of the protocol).
pub const PROTOCOL_VERSION: u16 = snp_defs::ghcb::VERSION_SNP;

/// What this host can do (56421, hypervisor feature support).
pub const HV_FEATURES: u64 = {
    use snp_defs::msr::hv_features as bits;
    bits::SNP
        | bits::AP_CREATION
        | bits::RESTRICTED_INJECTION
        | bits::APIC_ID_LIST
        | bits::MULTI_VMPL
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
    registers: msr_policy::Registers,
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
    /// Wait for INIT and SIPI, then call [`Level::release_reset_hold`] and resume.
    ResetHold,
    /// This VMPL is runnable and runs; the one that asked stops until asked for.
    RunVmpl(u8),
    /// End the run: the guest asks for it.
    Terminate(Termination),
    /// End the run, and name the rule.
    Violation(Rule),
}

/// DR7 after reset (APM vol. 2, 14.1.3).
const DR7_RESET: u64 = 0x400;

impl Default for Level {
    fn default() -> Self {
        Self {
            msr: 0,
            registered: None,
            doorbell: None,
            dr7: DR7_RESET,
            hold: None,
            registers: msr_policy::Registers::default(),
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

    /// Answers an AP reset hold: the vCPU got its SIPI (56421, AP reset hold: the result is not zero).
    pub fn release_reset_hold<S: HostServices>(&mut self, services: &mut S) {
        match self.hold.take() {
            Some(Hold::Msr) => self.msr = msr_protocol::reset_hold_answer(),
            Some(Hold::Ghcb(gpa)) => {
                // The guest may have unshared its GHCB meanwhile; then nobody waits for an answer.
                if let Ok(mut request) = Request::read(gpa, services) {
                    request.set_info2(1);
                    let _ = request.answer(None, services);
                }
            }
            None => {}
        }
    }
}

/// Serves a VMGEXIT of the vCPU and VMPL that `level` belongs to. RIP is past the instruction already.
pub fn handle_vmgexit<S: HostServices>(level: &mut Level, services: &mut S) -> Outcome {
    use snp_defs::msr::protocol::CODE_MASK;
    if level.msr & CODE_MASK != 0 {
        return msr_protocol::handle(level, services);
    }
    let gpa = level.msr;
    let Ok(mut request) = Request::read(gpa, services) else {
        return Outcome::Violation(Rule::GhcbNotShared { gpa });
    };
    let served = serve(&mut request, level, services);
    let failure = served.err();
    match failure {
        Some(Failure::Violation(rule)) => return Outcome::Violation(rule),
        Some(Failure::Malformed(reason)) => {
            let code = request.get(Field::CODE).unwrap_or(0);
            services.note(Note::Malformed { code, reason });
        }
        _ => {}
    }
    let outcome = served.unwrap_or(Outcome::Resume);
    if outcome != Outcome::ResetHold && request.answer(failure, services).is_err() {
        return Outcome::Violation(Rule::GhcbNotShared { gpa });
    }
    outcome
}

/// The checks that every event shares, then the event.
fn serve<S: HostServices>(
    request: &mut Request,
    level: &mut Level,
    services: &mut S,
) -> Result<Outcome, Failure> {
    if level.registered != Some(request.gpa()) {
        return Err(Failure::Malformed(malformed::NOT_REGISTERED));
    }
    // Linux leaves the version zero in a GHCB that it uses for the first time (AP creation), and KVM
    // does not look at it: a later version is all that is refused.
    if request.usage() != USAGE_STANDARD || request.version() > PROTOCOL_VERSION {
        return Err(Failure::Malformed(malformed::INVALID_USAGE));
    }
    let code = request.need(Field::CODE)?;
    request.need(Field::INFO1)?;
    request.need(Field::INFO2)?;
    nae::serve(code, request, level, services)
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
