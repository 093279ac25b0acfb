// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which call is served, and when: pending or not, known or not; QUERY_PROTOCOL, CONFIGURE_VTOM, REMAP_CA.

use super::*;
use crate::guest::{Exit, Registers};
use crate::run;
use svsm_abi::calling_area::CALL_PENDING;

#[test]
fn unknown_protocols_and_calls() {
    with_rig(|rig| {
        for protocol in [2, 3, 4, 0x8000_0000, u32::MAX] {
            let result = rig.call(0, protocol, 0, [1, 2, 3, 4]);
            assert_eq!(result.rax, ResultCode::UNSUPPORTED_PROTOCOL.0);
            assert_eq!((result.rcx, result.rdx, result.r8, result.r9), (1, 2, 3, 4));
        }
        for (protocol, call) in [(0, 8), (0, u32::MAX), (1, 2)] {
            let result = rig.call(0, protocol, call, [0; 4]);
            assert_eq!(result.rax, ResultCode::UNSUPPORTED_CALL.0);
        }
    });
}

#[test]
fn the_host_can_bring_the_svsm_but_not_make_a_call() {
    with_rig(|rig| {
        let (vcpu, area) = (rig.vcpu(0).unwrap(), rig.calling_area(0));
        let registers = Registers {
            rax: 6,
            rcx: abi::query(0, 1),
            ..Registers::default()
        };
        let mut scratch = [0; 512];
        let mut come = |exit, pending| {
            rig.platform.guest_registers(vcpu, registers);
            rig.platform.set_exit(vcpu, exit);
            rig.memory().poke(area + CALL_PENDING, &[pending]);
            run::step(rig.platform, rig.machine, 0, &mut scratch).unwrap();
            rig.platform.set_exit(vcpu, Exit::Other);
            let mut pending = [0];
            rig.memory().peek(area + CALL_PENDING, &mut pending);
            (rig.platform.registers_of(vcpu), pending[0])
        };
        // The guest did not ask.
        assert_eq!(come(Exit::Call, 0), (registers, 0));
        // It is about to, but did not get to the end of its registers, or runs elsewhere.
        assert_eq!(come(Exit::Other, 1), (registers, 1));
        assert_eq!(come(Exit::Running, 1), (registers, 1));
        // It asks.
        let (result, pending) = come(Exit::Call, 1);
        assert_eq!(
            (result.rax, result.rcx, pending),
            (SUCCESS, abi::query(1, 1), 0)
        );
        // Reserved.
        let (result, pending) = come(Exit::Call, 2);
        let expected = Registers {
            rax: ResultCode::INVALID_FORMAT.0,
            ..registers
        };
        assert_eq!((result, pending), (expected, 0));
        // No vCPU there.
        assert_eq!(run::step(rig.platform, rig.machine, 1, &mut scratch), None);
        assert_eq!(
            run::step(rig.platform, rig.machine, 1000, &mut scratch),
            None
        );
    });
}

#[test]
fn a_calling_area_that_is_gone_means_no_call() {
    with_rig(|rig| {
        let (vcpu, area) = (rig.vcpu(0).unwrap(), rig.calling_area(0));
        let registers = Registers {
            rax: 6,
            ..Registers::default()
        };
        assert_eq!(pvalidate(rig, &[invalidate(area)]), (SUCCESS, 1));
        rig.platform.guest_registers(vcpu, registers);
        rig.platform.set_exit(vcpu, Exit::Call);
        rig.memory().poke(area + CALL_PENDING, &[1]);
        run::step(rig.platform, rig.machine, 0, &mut [0; 512]).unwrap();
        assert_eq!(rig.platform.registers_of(vcpu), registers);
        // And where the host took it, too.
        rig.memory().steal(area);
        run::step(rig.platform, rig.machine, 0, &mut [0; 512]).unwrap();
        assert_eq!(rig.platform.registers_of(vcpu), registers);
    });
}

#[test]
fn query_protocol() {
    with_rig(|rig| {
        let query = |protocol, version| {
            let result = rig.call(
                0,
                0,
                abi::QUERY_PROTOCOL,
                [abi::query(protocol, version), 0, 0, 0],
            );
            assert_eq!(result.rax, SUCCESS);
            result.rcx
        };
        assert_eq!(query(0, 1), 0x1_0000_0001);
        assert_eq!(query(1, 1), 0x1_0000_0001);
        for (protocol, version) in [(0, 0), (0, 2), (1, 0), (1, u32::MAX), (2, 1), (u32::MAX, 1)] {
            assert_eq!(query(protocol, version), 0, "{protocol} {version}");
        }
    });
}

#[test]
fn configure_vtom() {
    with_rig(|rig| {
        let vtom = |rcx| {
            let result = rig.call(0, 0, abi::CONFIGURE_VTOM, [rcx, 7, 8, 9]);
            (result.rax, result.rcx)
        };
        assert_eq!(vtom(1), (SUCCESS, 0));
        assert_eq!(vtom(3).0, INVALID_PARAMETER);
        assert_eq!(vtom(0x1001).0, INVALID_PARAMETER);
        assert_eq!(vtom(2 | 1 << 46).0, INVALID_REQUEST);
        assert_eq!(vtom(0).0, INVALID_REQUEST);
        assert_eq!(vtom(1 << 46).0, INVALID_PARAMETER);
        assert_eq!(vtom(2 | 1 << 5).0, INVALID_PARAMETER);
    });
}

#[test]
fn remap_calling_area() {
    with_rig(|rig| {
        let remap = |gpa| rig.core_call(abi::REMAP_CA, gpa);
        let old = rig.calling_area(0);
        let new = rig.page(0);
        assert_eq!(remap(new + 8), INVALID_PARAMETER);
        for gpa in NOT_THE_GUESTS {
            assert_eq!(remap(gpa), INVALID_ADDRESS);
        }
        assert_eq!(rig.calling_area(0), old);
        // A call that the host has the guest "make" in the new area, with what happens to be there.
        rig.memory().poke(new, &[1]);
        assert_eq!(remap(new), SUCCESS);
        assert_eq!(rig.calling_area(0), new);
        let mut pending = [0xFF];
        rig.memory().peek(new, &mut pending);
        assert_eq!(pending, [0]);
        // The old one is not looked at any more.
        rig.memory().poke(old, &[1]);
        let vcpu = rig.vcpu(0).unwrap();
        rig.platform.set_exit(vcpu, Exit::Call);
        run::step(rig.platform, rig.machine, 0, &mut [0; 512]).unwrap();
        rig.memory().peek(old, &mut pending);
        assert_eq!(pending, [1]);
        rig.platform.set_exit(vcpu, Exit::Other);
        // To itself, and to a page that is not in the machine.
        assert_eq!(remap(new), SUCCESS);
        assert_eq!(pvalidate(rig, &[invalidate(rig.page(1))]).0, SUCCESS);
        assert_eq!(remap(rig.page(1)), INVALID_ADDRESS);
        rig.memory().steal(rig.page(2));
        assert_eq!(remap(rig.page(2)), INVALID_ADDRESS);
        assert_eq!(rig.calling_area(0), new);
    });
}
