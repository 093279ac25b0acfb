// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUID, MSR, DR7, time.

use super::*;

#[test]
fn cpuid_returns_four_registers() {
    let mut vcpu = Vcpu::default();
    let _ = vcpu.call(exit::CPUID, 0, 0, &[(field::RAX, 7), (field::RCX, 1)]);
    assert_eq!(vcpu.answer(), SERVED);
    let registers = [field::RAX, field::RBX, field::RCX, field::RDX].map(|at| vcpu.field(at));
    assert_eq!(registers, [Some(7), Some(0xB), Some(0xC), Some(0xD)]);
    assert_eq!(vcpu.host.cpuid_asked, [(7, 1, 1, 0)]);
}

#[test]
fn cpuid_leaf_d_needs_xcr0() {
    let mut vcpu = Vcpu::default();
    let _ = vcpu.call(exit::CPUID, 0, 0, &[(field::RAX, 0xD), (field::RCX, 1)]);
    assert_eq!(vcpu.answer(), refused(malformed::MISSING_INPUT));
    let fields = [
        (field::RAX, 0xD),
        (field::RCX, 1),
        (field::XCR0, 7),
        (field::XSS, 8),
    ];
    let _ = vcpu.call(exit::CPUID, 0, 0, &fields);
    assert_eq!(vcpu.host.cpuid_asked, [(0xD, 1, 7, 8)]);
}

#[test]
fn cpuid_needs_its_inputs() {
    let mut vcpu = Vcpu::default();
    for field in [field::RAX, field::RCX] {
        let _ = vcpu.call(exit::CPUID, 0, 0, &[(field, 0)]);
        assert_eq!(vcpu.answer(), refused(malformed::MISSING_INPUT));
    }
}

/// RDMSR.
fn read(vcpu: &mut Vcpu, msr: u32) -> Option<u64> {
    let _ = vcpu.call(exit::MSR, 0, 0, &[(field::RCX, msr.into())]);
    match vcpu.answer() {
        SERVED => Some(vcpu.field(field::RDX).unwrap() << 32 | vcpu.field(field::RAX).unwrap()),
        other => {
            assert_eq!(other, GENERAL_PROTECTION);
            None
        }
    }
}

/// WRMSR; whether it is allowed.
fn write(vcpu: &mut Vcpu, msr: u32, value: u64) -> bool {
    let fields = [
        (field::RCX, msr.into()),
        (field::RAX, value & 0xFFFF_FFFF),
        (field::RDX, value >> 32),
    ];
    let _ = vcpu.call(exit::MSR, 1, 0, &fields);
    match vcpu.answer() {
        SERVED => true,
        other => {
            assert_eq!(other, GENERAL_PROTECTION);
            false
        }
    }
}

#[test]
fn an_unknown_msr_is_general_protection_and_noted() {
    let mut vcpu = Vcpu::default();
    assert_eq!(read(&mut vcpu, 0xDEAD), None);
    assert!(!write(&mut vcpu, 0xDEAD, 5));
    assert_eq!(
        vcpu.host.notes,
        [
            Note::UnknownMsrRead { msr: 0xDEAD },
            Note::UnknownMsrWrite {
                msr: 0xDEAD,
                value: 5
            }
        ]
    );
}

#[test]
fn apic_msrs_are_the_interrupt_controllers() {
    let mut vcpu = Vcpu::default();
    for msr in [0x1B, 0x6E0, 0x80B, 0x830] {
        assert_eq!(read(&mut vcpu, msr), None);
        assert!(write(&mut vcpu, msr, 0x1_0000_0002));
        assert_eq!(read(&mut vcpu, msr), Some(0x1_0000_0002));
    }
}

#[test]
fn mtrrs_keep_valid_values_only() {
    let mut vcpu = Vcpu::default();
    assert_eq!(read(&mut vcpu, 0xFE), Some(0x508));
    for (msr, good, bad) in [
        (0x2FF, 0xC06, 0x1C06),
        (0x200, 0x8000_0006, 0x8000_0002),
        (0x201, 0x000F_FFFF_8000_0800, 1),
        (0x250, 0x0606_0606_0606_0606, 0x0706_0606_0606_0606),
    ] {
        assert!(write(&mut vcpu, msr, good));
        assert!(!write(&mut vcpu, msr, bad));
        assert_eq!(read(&mut vcpu, msr), Some(good));
    }
}

#[test]
fn msr_event_needs_its_inputs() {
    let mut vcpu = Vcpu::default();
    let _ = vcpu.call(exit::MSR, 0, 0, &[]);
    assert_eq!(vcpu.answer(), refused(malformed::MISSING_INPUT));
    let _ = vcpu.call(exit::MSR, 1, 0, &[(field::RCX, 0x2FF), (field::RAX, 6)]);
    assert_eq!(vcpu.answer(), refused(malformed::MISSING_INPUT));
    let _ = vcpu.call(exit::MSR, 2, 0, &[(field::RCX, 0x2FF)]);
    assert_eq!(vcpu.answer(), refused(malformed::INVALID_INPUT));
}

#[test]
fn dr7_reads_back_what_was_written() {
    let mut vcpu = Vcpu::default();
    let _ = vcpu.call(exit::DR7_READ, 0, 0, &[]);
    assert_eq!(vcpu.field(field::RAX), Some(0x400));
    let _ = vcpu.call(exit::DR7_WRITE, 0, 0, &[(field::RAX, 0x401)]);
    let _ = vcpu.call(exit::DR7_READ, 0, 0, &[]);
    assert_eq!(vcpu.field(field::RAX), Some(0x401));
    let _ = vcpu.call(exit::DR7_WRITE, 0, 0, &[(field::RAX, 1 << 32)]);
    assert_eq!(vcpu.answer(), GENERAL_PROTECTION);
    let _ = vcpu.call(exit::DR7_WRITE, 0, 0, &[]);
    assert_eq!(vcpu.answer(), refused(malformed::MISSING_INPUT));
}

#[test]
fn time_comes_in_two_halves() {
    let mut vcpu = Vcpu::default();
    for code in [exit::RDTSC, exit::RDTSCP] {
        let _ = vcpu.call(code, 0, 0, &[]);
        assert_eq!(vcpu.field(field::RAX), Some(0x89AB_CDEF));
        assert_eq!(vcpu.field(field::RDX), Some(0x0123_4567));
    }
}

#[test]
fn no_performance_counters_and_no_hypercalls() {
    let mut vcpu = Vcpu::default();
    let _ = vcpu.call(exit::RDPMC, 0, 0, &[(field::RCX, 0)]);
    assert_eq!(vcpu.answer(), GENERAL_PROTECTION);
    let _ = vcpu.call(exit::VMMCALL, 0, 0, &[(field::RAX, 1), (field::CPL, 0)]);
    assert_eq!(vcpu.field(field::RAX), Some(-1000_i64 as u64));
    let _ = vcpu.call(exit::VMMCALL, 0, 0, &[(field::RAX, 1)]);
    assert_eq!(vcpu.answer(), refused(malformed::MISSING_INPUT));
}

#[test]
fn cache_and_monitor_instructions_do_nothing() {
    let mut vcpu = Vcpu::default();
    let registers = [(field::RAX, 0), (field::RCX, 0), (field::RDX, 0)];
    for code in [exit::WBINVD, exit::INVD, exit::MONITOR, exit::MWAIT] {
        assert_eq!(vcpu.call(code, 0, 0, &registers), Outcome::Resume);
        assert_eq!(vcpu.answer(), SERVED);
    }
}
