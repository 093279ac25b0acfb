// SPDX-License-Identifier: MIT OR Apache-2.0
//! The protocol's rules, one test each. Names are the rules of `docs/src/emulator/snp-rules.md`.

extern crate std;

use snp_defs::exit;
use snp_defs::ghcb::malformed;

use super::fake::{BUFFER, GHCB, PRIVATE, SHARED, Vcpu, field};
use super::*;

mod cpu;
mod firmware;
mod io;
mod msr_protocol;
mod page_state;
mod property;
mod vcpu;

/// SW_EXITINFO1 and 2 of a request that was served and returns nothing.
const SERVED: (u64, u64) = (0, 0);
const GENERAL_PROTECTION: (u64, u64) = (1, 0x8000_0B0D);

/// SW_EXITINFO1 and 2 of a malformed request.
fn refused(reason: u64) -> (u64, u64) {
    (2, reason)
}

#[test]
fn a_ghcb_has_to_be_registered() {
    let mut vcpu = Vcpu::default();
    vcpu.level.registered = None;
    let _ = vcpu.call(exit::HV_FEATURES, 0, 0, &[]);
    assert_eq!(vcpu.answer(), refused(malformed::NOT_REGISTERED));
    vcpu.level.registered = Some(SHARED);
    let _ = vcpu.call(exit::HV_FEATURES, 0, 0, &[]);
    assert_eq!(vcpu.answer(), refused(malformed::NOT_REGISTERED));
}

#[test]
fn a_ghcb_has_to_be_shared() {
    let mut vcpu = Vcpu::default();
    vcpu.level.msr = PRIVATE;
    vcpu.level.registered = Some(PRIVATE);
    assert_eq!(
        handle_vmgexit(&mut vcpu.level, &mut vcpu.host),
        Outcome::Violation(Rule::GhcbNotShared { gpa: PRIVATE })
    );
}

#[test]
fn unknown_usage_and_later_versions_are_refused() {
    let mut vcpu = Vcpu::default();
    vcpu.prepare(exit::HV_FEATURES, 0, 0, &[]);
    vcpu.put(GHCB + field::USAGE as u64, &1u32.to_le_bytes());
    let _ = handle_vmgexit(&mut vcpu.level, &mut vcpu.host);
    assert_eq!(vcpu.answer(), refused(malformed::INVALID_USAGE));
    for (version, answer) in [
        (0u16, (0, HV_FEATURES)),
        (2, (0, HV_FEATURES)),
        (3, refused(malformed::INVALID_USAGE)),
    ] {
        vcpu.prepare(exit::HV_FEATURES, 0, 0, &[]);
        vcpu.put(GHCB + field::VERSION as u64, &version.to_le_bytes());
        let _ = handle_vmgexit(&mut vcpu.level, &mut vcpu.host);
        assert_eq!(vcpu.answer(), answer);
    }
}

#[test]
fn code_and_both_infos_are_required() {
    for missing in [field::CODE, field::INFO1, field::INFO2] {
        let mut vcpu = Vcpu::default();
        vcpu.prepare(exit::HV_FEATURES, 0, 0, &[]);
        let at = GHCB as usize + field::BITMAP + missing / 64;
        vcpu.host.memory[at] &= !(1 << (missing / 8 % 8));
        let _ = handle_vmgexit(&mut vcpu.level, &mut vcpu.host);
        assert_eq!(vcpu.answer(), refused(malformed::MISSING_INPUT));
    }
}

#[test]
fn an_unknown_code_is_refused_and_noted() {
    let mut vcpu = Vcpu::default();
    for code in [exit::HLT, exit::HV_TIMER, 0x8000_0019, 0xDEAD] {
        let _ = vcpu.call(code, 0, 0, &[]);
        assert_eq!(vcpu.answer(), refused(malformed::INVALID_EVENT));
        let reason = malformed::INVALID_EVENT;
        assert_eq!(
            vcpu.host.notes.pop(),
            Some(Note::Malformed { code, reason })
        );
    }
}

#[test]
fn only_what_the_event_returns_is_written() {
    let mut vcpu = Vcpu::default();
    let fields = [(field::RAX, 7), (field::RCX, 9), (field::RBX, 0xB0B)];
    vcpu.prepare(exit::RDTSC, 0, 0, &fields);
    let before = vcpu.host.memory.clone();
    let _ = handle_vmgexit(&mut vcpu.level, &mut vcpu.host);
    let written: std::vec::Vec<usize> = (0..before.len())
        .filter(|at| before[*at] != vcpu.host.memory[*at])
        .map(|at| (at - GHCB as usize) / 8 * 8)
        .collect();
    for at in written {
        let allowed = [field::RAX, field::RDX, field::INFO1, field::INFO2];
        assert!(
            allowed.contains(&at) || (field::BITMAP..field::BITMAP + 16).contains(&at),
            "offset {at:#x} was written"
        );
    }
    assert!(vcpu.field(field::RAX).is_some() && vcpu.field(field::RDX).is_some());
    assert_eq!(vcpu.field(field::RBX), None);
    assert_eq!(vcpu.field(field::CODE), None);
}

#[test]
fn hypervisor_features_are_the_same_both_ways() {
    let mut vcpu = Vcpu::default();
    let _ = vcpu.call(exit::HV_FEATURES, 0, 0, &[]);
    assert_eq!(vcpu.answer(), (0, HV_FEATURES));
    let (_, answer) = vcpu.msr(0x080);
    assert_eq!(answer >> 12, HV_FEATURES);
}

#[test]
fn termination_has_set_and_code() {
    let mut vcpu = Vcpu::default();
    let termination = Outcome::Terminate(Termination { set: 1, code: 0x42 });
    assert_eq!(vcpu.call(exit::TERMINATE, 0x421, 0, &[]), termination);
    assert_eq!(vcpu.msr(0x42_1100).0, termination);
}

#[test]
fn an_event_that_the_guest_cannot_handle_ends_the_run() {
    let mut vcpu = Vcpu::default();
    let rule = Rule::GuestUnsupportedEvent { code: 0x7B };
    assert_eq!(
        vcpu.call(exit::UNSUPPORTED_EVENT, 0x7B, 0, &[]),
        Outcome::Violation(rule)
    );
}
