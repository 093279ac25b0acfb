// SPDX-License-Identifier: MIT OR Apache-2.0
//! The GHCB MSR protocol (56421, 2.3.1): a request and its answer in the one register that a guest
//! has before it has a page to share.

use emulator_defs::layout::C_BIT;
use snp_defs::msr::protocol as code;
use snp_defs::psc;
use snp_defs::rmp::RmpSize;

use super::services::{HostServices, Note, PageOp, Termination};
use super::{HV_FEATURES, Hold, Level, Outcome, PROTOCOL_VERSION, Rule, nae};

/// Bits 63:12 of an answer that has no page number.
const NO_PAGE: u64 = !code::CODE_MASK;
/// Bits 51:12: a page number where bits above it mean something else.
const FRAME: u64 = 0x000F_FFFF_FFFF_F000;
/// Bits 63:32 of a refusal.
const FAILED: u64 = 1 << 32;

/// The answer to an AP reset hold: bits 63:12 are not zero.
pub(super) const fn reset_hold_answer() -> u64 {
    (1 << 12) | code::AP_RESET_HOLD_RESPONSE
}

/// Serves the request in the GHCB MSR, and leaves the answer there.
pub(super) fn handle<S: HostServices>(level: &mut Level, services: &mut S) -> Outcome {
    let value = level.msr;
    level.msr = match value & code::CODE_MASK {
        code::SEV_INFO_REQUEST => {
            let version = u64::from(PROTOCOL_VERSION);
            (version << 48) | (version << 32) | (u64::from(C_BIT) << 24) | code::SEV_INFO_RESPONSE
        }
        code::CPUID_REQUEST => cpuid(value, services),
        code::AP_RESET_HOLD_REQUEST => {
            level.hold = Some(Hold::Msr);
            return Outcome::ResetHold;
        }
        code::PREFERRED_GHCB_REQUEST => NO_PAGE | code::PREFERRED_GHCB_RESPONSE,
        code::REGISTER_GHCB_REQUEST => {
            level.registered = Some(value & !code::CODE_MASK);
            (value & !code::CODE_MASK) | code::REGISTER_GHCB_RESPONSE
        }
        code::PSC_REQUEST => page_state_change(value, services),
        code::RUN_VMPL_REQUEST => {
            let vmpl = (value >> 32) as u8;
            let reserved = value & !(0xFF << 32) & !code::CODE_MASK;
            if reserved == 0 && nae::may_run(vmpl, services) {
                level.msr = code::RUN_VMPL_RESPONSE;
                return Outcome::RunVmpl(vmpl);
            }
            FAILED | code::RUN_VMPL_RESPONSE
        }
        code::HV_FEATURES_REQUEST => (HV_FEATURES << 12) | code::HV_FEATURES_RESPONSE,
        code::TERMINATE_REQUEST => {
            return Outcome::Terminate(Termination {
                set: (value >> 12) as u8 & 0xF,
                code: (value >> 16) as u8,
            });
        }
        _ => return Outcome::Violation(Rule::UnknownMsrProtocol { value }),
    };
    Outcome::Resume
}

/// One register of CPUID; sub-leaf 0, and XCR0 as after reset.
fn cpuid<S: HostServices>(value: u64, services: &mut S) -> u64 {
    let register = (value >> 30) & 3;
    let answer = services.cpuid((value >> 32) as u32, 0, 1, 0);
    let registers = [answer.eax, answer.ebx, answer.ecx, answer.edx];
    let register_value = registers[register as usize];
    (u64::from(register_value) << 32) | (register << 30) | code::CPUID_RESPONSE
}

/// A page state change of one 4K page; there is no PSMASH here.
fn page_state_change<S: HostServices>(value: u64, services: &mut S) -> u64 {
    let op = match (value >> 52) as u8 & 0xF {
        psc::OP_PRIVATE => PageOp::Private,
        psc::OP_SHARED => PageOp::Shared,
        _ => return FAILED | code::PSC_RESPONSE,
    };
    let gpa = value & FRAME;
    if value >> 56 != 0 || services.page_state(gpa, op, RmpSize::Size4K).is_err() {
        services.note(Note::PageStateRefused { gpa, op });
        return FAILED | code::PSC_RESPONSE;
    }
    code::PSC_RESPONSE
}
