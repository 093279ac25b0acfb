// SPDX-License-Identifier: MIT OR Apache-2.0
//! The MSR protocol.

use snp_defs::rmp::RmpSize;

use super::*;

#[test]
fn sev_information_has_version_and_c_bit() {
    let (outcome, answer) = Vcpu::default().msr(0x002);
    assert_eq!(outcome, Outcome::Resume);
    assert_eq!(answer, 2 << 48 | 2 << 32 | 51 << 24 | 0x001);
}

#[test]
fn cpuid_gives_one_register() {
    let mut vcpu = Vcpu::default();
    for (register, value) in [0x8000_001F, 0xB, 0xC, 0xD].into_iter().enumerate() {
        let register = register as u64;
        let (_, answer) = vcpu.msr(0x8000_001F << 32 | register << 30 | 0x004);
        assert_eq!(answer, value << 32 | register << 30 | 0x005);
    }
}

#[test]
fn registration_returns_the_page() {
    let mut vcpu = Vcpu::default();
    let (_, answer) = vcpu.msr(SHARED | 0x012);
    assert_eq!(answer, SHARED | 0x013);
    assert_eq!(vcpu.level.registered(), Some(SHARED));
    let (_, answer) = vcpu.msr(0x010);
    assert_eq!(answer, !0xFFF | 0x011, "no preference");
}

#[test]
fn page_state_change_of_one_page() {
    let mut vcpu = Vcpu::default();
    let (_, answer) = vcpu.msr(1 << 52 | 0x12_3000 | 0x014);
    assert_eq!(answer, 0x015);
    let (_, answer) = vcpu.msr(2 << 52 | 0x12_4000 | 0x014);
    assert_eq!(answer, 0x015);
    assert_eq!(
        vcpu.host.pages,
        [
            (0x12_3000, PageOp::Private, RmpSize::Size4K),
            (0x12_4000, PageOp::Shared, RmpSize::Size4K)
        ]
    );
}

#[test]
fn page_state_change_refuses() {
    let mut vcpu = Vcpu::default();
    vcpu.host.refuse_pages.insert(0x5000);
    for request in [
        3 << 52 | 0x3000,
        0x3000,
        1 << 52 | 0x5000,
        1 << 56 | 1 << 52 | 0x3000,
    ] {
        let (outcome, answer) = vcpu.msr(request | 0x014);
        assert_eq!(outcome, Outcome::Resume);
        assert_eq!(answer & 0xFFF, 0x015);
        assert_ne!(answer >> 32, 0);
    }
    assert!(vcpu.host.pages.is_empty());
}

#[test]
fn run_vmpl_answers_before_it_switches() {
    let mut vcpu = Vcpu::default();
    let (outcome, answer) = vcpu.msr(2 << 32 | 0x016);
    assert_eq!((outcome, answer), (Outcome::RunVmpl(2), 0x017));
}

#[test]
fn run_vmpl_refuses() {
    let mut vcpu = Vcpu::default();
    // Oneself, a VMPL without VMSA, one that does not exist, reserved bits.
    for request in [0, 1 << 32, 4 << 32, 1 << 40 | 2 << 32, 1 << 12 | 2 << 32] {
        let (outcome, answer) = vcpu.msr(request | 0x016);
        assert_eq!(outcome, Outcome::Resume);
        assert_eq!(answer & 0xFFF, 0x017);
        assert_ne!(answer >> 32, 0);
    }
}

#[test]
fn reset_hold_is_answered_when_released() {
    let mut vcpu = Vcpu::default();
    let (outcome, _) = vcpu.msr(0x006);
    assert_eq!(outcome, Outcome::ResetHold);
    vcpu.level.release_reset_hold(&mut vcpu.host);
    assert_eq!(vcpu.level.msr & 0xFFF, 0x007);
    assert_ne!(vcpu.level.msr >> 12, 0);
}

#[test]
fn an_unknown_code_ends_the_run() {
    for value in [0x001, 0x003, 0x019, 0xFFF] {
        assert_eq!(
            Vcpu::default().msr(value).0,
            Outcome::Violation(Rule::UnknownMsrProtocol { value })
        );
    }
}
