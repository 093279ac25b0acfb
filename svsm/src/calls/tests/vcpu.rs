// SPDX-License-Identifier: MIT OR Apache-2.0
//! CREATE_VCPU and DELETE_VCPU.

use super::*;
use crate::guest::{Exit, Registers};
use crate::memory::{Frame, State};

/// Makes the page number `index` a vCPU on CPU `cpu`, with its calling area behind it.
fn create(rig: &Rig<'_>, index: u64, cpu: u64) -> u64 {
    rig.platform.write_state(rig.page(index));
    create_at(rig, rig.page(index), rig.page(index + 1), cpu)
}

fn create_at(rig: &Rig<'_>, state: u64, area: u64, cpu: u64) -> u64 {
    let result = rig.call(0, 0, abi::CREATE_VCPU, [state, area, cpu, 0]);
    assert!(!rig.platform.is_stale());
    result.rax
}

fn frame(gpa: u64) -> Frame {
    Frame::new(gpa).unwrap()
}

#[test]
fn a_second_vcpu_makes_calls_and_goes() {
    with_rig(|rig| {
        let state = rig.page(0);
        assert_eq!(create(rig, 0, 1), SUCCESS);
        assert_eq!(rig.state(state), Ok(State::Own));
        assert!(rig.platform.is_vcpu(state) && !rig.platform.has_access(state));
        assert_eq!(rig.vcpu(1), Some(frame(state)));
        assert_eq!(rig.calling_area(1), rig.page(1));
        assert_eq!(
            rig.call(1, 0, abi::QUERY_PROTOCOL, [abi::query(0, 1), 0, 0, 0])
                .rcx,
            abi::query(1, 1)
        );

        // Nothing else can be done with it: it is the SVSM's.
        assert_eq!(pvalidate(rig, &[validate(state)]), (INVALID_ADDRESS, 0));
        assert_eq!(pvalidate(rig, &[invalidate(state)]), (INVALID_ADDRESS, 0));
        assert_eq!(create(rig, 2, 1), SUCCESS);
        assert_eq!(create_at(rig, state, rig.page(5), 1), INVALID_ADDRESS);
        assert_eq!(create_at(rig, rig.page(6), state, 1), INVALID_ADDRESS);
        assert_eq!(rig.core_call(abi::REMAP_CA, state), INVALID_ADDRESS);
        assert_eq!(rig.core_call(abi::PVALIDATE, state), INVALID_ADDRESS);
        rig.write_list(LIST, 0, &[state]);
        assert_eq!(rig.core_call(abi::DEPOSIT_MEM, LIST), INVALID_ADDRESS);

        // The one that was made last is current; the first one can go, and is the guest's with all that it holds.
        assert_eq!(rig.vcpu(1), Some(frame(rig.page(2))));
        assert_eq!(rig.core_call(abi::DELETE_VCPU, state), SUCCESS);
        assert_eq!(rig.state(state), Ok(State::Valid));
        assert!(!rig.platform.is_vcpu(state) && rig.platform.has_access(state));
        assert_eq!(rig.vcpu(1), Some(frame(rig.page(2))));
        assert_eq!(rig.core_call(abi::DELETE_VCPU, rig.page(2)), SUCCESS);
        assert_eq!(rig.vcpu(1), None);
        assert_eq!(
            rig.core_call(abi::DELETE_VCPU, rig.page(2)),
            INVALID_PARAMETER
        );
        // And again, with the same page.
        assert_eq!(create(rig, 0, 1), SUCCESS);
    });
}

#[test]
fn arguments_of_create() {
    with_rig(|rig| {
        let (state, area) = (rig.page(0), rig.page(1));
        rig.platform.write_state(state);
        assert_eq!(create_at(rig, state + 8, area, 1), INVALID_PARAMETER);
        assert_eq!(create_at(rig, state, area + 8, 1), INVALID_PARAMETER);
        assert_eq!(create_at(rig, state, area, 2), INVALID_PARAMETER);
        assert_eq!(
            create_at(rig, state, area, u64::from(u32::MAX)),
            INVALID_PARAMETER
        );
        assert_eq!(create_at(rig, state, state, 1), INVALID_ADDRESS);
        for gpa in NOT_THE_GUESTS {
            assert_eq!(create_at(rig, gpa, area, 1), INVALID_ADDRESS);
            assert_eq!(create_at(rig, state, gpa, 1), INVALID_ADDRESS);
        }
        // Calling areas of others, as either.
        assert_eq!(
            create_at(rig, state, rig.calling_area(0), 1),
            INVALID_ADDRESS
        );
        assert_eq!(
            create_at(rig, rig.calling_area(0), area, 1),
            INVALID_ADDRESS
        );
        // Pages that are not in the machine.
        assert_eq!(pvalidate(rig, &[invalidate(rig.page(2))]).0, SUCCESS);
        assert_eq!(create_at(rig, rig.page(2), area, 1), INVALID_ADDRESS);
        assert_eq!(create_at(rig, state, rig.page(2), 1), INVALID_ADDRESS);
        assert_eq!(rig.vcpu(1), None);
        // The number of the CPU is 32 bits of R8.
        assert_eq!(create_at(rig, state, area, 0xABCD_0000_0001), SUCCESS);
    });
}

#[test]
fn a_state_that_may_not_run_stays_an_ordinary_page() {
    with_rig(|rig| {
        let state = rig.page(0);
        // VMPL 0, VMPL 1, not runnable, other features.
        for (offset, byte) in [(0xCA, 0), (0xCA, 1), (0xD1, 0), (0x3B0, 9)] {
            rig.platform.write_state(state);
            rig.memory().poke(state + offset, &[byte]);
            assert_eq!(create_at(rig, state, rig.page(1), 1), INVALID_PARAMETER);
            assert_eq!(rig.state(state), Ok(State::Valid));
            assert!(rig.platform.has_access(state));
        }
        assert_eq!(rig.vcpu(1), None);
        assert_eq!(create(rig, 0, 1), SUCCESS);
    });
}

#[test]
fn what_can_not_be_deleted() {
    with_rig(|rig| {
        let delete = |gpa| rig.core_call(abi::DELETE_VCPU, gpa);
        assert_eq!(create(rig, 0, 1), SUCCESS);
        let state = rig.page(0);
        assert_eq!(delete(state + 1), INVALID_PARAMETER);
        assert_eq!(delete(rig.page(1)), INVALID_PARAMETER);
        for gpa in NOT_THE_GUESTS {
            assert_ne!(delete(gpa), SUCCESS);
        }
        // The SVSM's own, which the guest need not know of but may guess.
        assert_eq!(delete(rig.vcpu(0).unwrap().gpa()), INVALID_PARAMETER);
        // It runs.
        rig.platform.set_exit(frame(state), Exit::Running);
        assert_eq!(delete(state), IN_USE);
        assert_eq!(rig.vcpu(1), Some(frame(state)));
        rig.platform.set_exit(frame(state), Exit::Other);
        // It is served: a deleted page is the guest's, and the SVSM would write its result into it.
        let lease = rig.machine.vcpus.claim(1).unwrap();
        assert_eq!(delete(state), IN_USE);
        drop(lease);
        // It is the caller.
        assert_eq!(
            rig.call(1, 0, abi::DELETE_VCPU, [state, 0, 0, 0]).rax,
            IN_USE
        );
        assert_eq!(rig.state(state), Ok(State::Own));
        assert_eq!(delete(state), SUCCESS);
    });
}

#[test]
fn the_host_takes_the_page() {
    with_rig(|rig| {
        rig.platform.write_state(rig.page(0));
        rig.memory().steal(rig.page(0));
        assert_eq!(create_at(rig, rig.page(0), rig.page(1), 1), INVALID_ADDRESS);
        assert_eq!(rig.vcpu(1), None);
        // In its place is another page, which was not validated.
        rig.platform.write_state(rig.page(2));
        rig.platform.remap(rig.page(2));
        assert_eq!(create_at(rig, rig.page(2), rig.page(3), 1), INVALID_ADDRESS);
        assert_eq!(rig.vcpu(1), None);
    });
}

/// A neighbour is about to be made a part of a page of 2M, and the host stopped that CPU in the middle of it. A vCPU
/// that is gone while its page stays the SVSM's could not be asked for again.
#[test]
fn a_vcpu_whose_page_can_not_go_back_now_stays() {
    with_rig(|rig| {
        let state = rig.page(0);
        assert_eq!(create(rig, 0, 1), SUCCESS);
        let stopped = rig.machine.tracker.stop_a_cpu_at(frame(state));
        assert_eq!(rig.core_call(abi::DELETE_VCPU, state), BUSY);
        drop(stopped);
        assert!(rig.platform.is_vcpu(state));
        assert_eq!(rig.state(state), Ok(State::Own));
        assert_eq!(rig.vcpu(1), Some(frame(state)));
        assert_eq!(rig.core_call(abi::DELETE_VCPU, state), SUCCESS);
        assert_eq!(rig.state(state), Ok(State::Valid));
        assert!(rig.platform.has_access(state));
    });
}

/// A guest that made a second vCPU for a CPU and thinks better of it has the first one served again.
#[test]
fn the_vcpu_before_the_one_that_was_deleted_makes_calls() {
    with_rig(|rig| {
        assert_eq!(create(rig, 0, 1), SUCCESS);
        assert_eq!(create(rig, 2, 1), SUCCESS);
        assert_eq!(rig.core_call(abi::DELETE_VCPU, rig.page(2)), SUCCESS);
        assert_eq!(rig.vcpu(1), Some(frame(rig.page(0))));
        let query = [abi::query(0, 1), 0, 0, 0];
        let result = rig.call(1, 0, abi::QUERY_PROTOCOL, query);
        assert_eq!((result.rax, result.rcx), (SUCCESS, abi::query(1, 1)));
    });
}

/// The attack is told in `guest::View`: a page that is being copied can't be taken.
#[test]
fn a_page_that_is_copied_does_not_become_a_state() {
    with_rig(|rig| {
        assert_eq!(create(rig, 0, 1), SUCCESS);
        // While CPU 1 copies from page 4, its neighbour asks for it to be made a vCPU, or a page of the SVSM's.
        let (machine, platform) = (rig.machine, rig.platform);
        let page = rig.page(4);
        rig.platform.write_state(page);
        rig.write_list(LIST, 0, &[page]);
        let view = machine.view(platform.fake_memory(), 1).unwrap();
        let codes = super::std::sync::Mutex::new([0; 2]);
        super::std::thread::scope(|scope| {
            let (sender, receiver) = super::std::sync::mpsc::channel::<()>();
            let (done, wait) = super::std::sync::mpsc::channel::<()>();
            let wait = super::std::sync::Mutex::new(wait);
            rig.memory().after_read(move |_, gpa, _| {
                if gpa == page {
                    sender.send(()).unwrap();
                    wait.lock().unwrap().recv().unwrap();
                }
            });
            let reader = scope.spawn(move || view.read(page, &mut [0; 16]));
            receiver.recv().unwrap();
            rig.memory().clear_hook();
            let made = create_at(rig, page, rig.page(5), 1);
            let deposited = rig.core_call(abi::DEPOSIT_MEM, LIST);
            *codes.lock().unwrap() = [made, deposited];
            done.send(()).unwrap();
            assert_eq!(reader.join().unwrap(), Ok(()));
        });
        assert_eq!(*codes.lock().unwrap(), [BUSY, BUSY]);
        rig.memory().clear_hook();
        assert_eq!(rig.state(page), Ok(State::Valid));
        assert_eq!(create_at(rig, page, rig.page(5), 1), SUCCESS);
    });
}

#[test]
fn the_table_is_full() {
    with_rig(|rig| {
        let create = |index: u64| {
            let state = 10 * MIB + index * 0x2000;
            rig.platform.write_state(state);
            create_at(rig, state, state + 0x1000, 1)
        };
        let room = u64::from(2 * svsm_launch::MAX_VCPUS - 1);
        for index in 0..room {
            assert_eq!(create(index), SUCCESS);
        }
        assert_eq!(create(room), INVALID_REQUEST);
        assert_eq!(rig.state(10 * MIB + room * 0x2000), Ok(State::Valid));
        assert_eq!(rig.core_call(abi::DELETE_VCPU, 10 * MIB), SUCCESS);
        assert_eq!(create(room), SUCCESS);
    });
}

#[test]
fn registers_of_a_call_are_read_once_it_has_stopped() {
    with_rig(|rig| {
        assert_eq!(create(rig, 0, 1), SUCCESS);
        let registers = Registers {
            rax: 6,
            rcx: abi::query(0, 1),
            rdx: 1,
            r8: 2,
            r9: 3,
        };
        let result = rig.call_with(1, registers);
        assert_eq!(
            result,
            Registers {
                rax: SUCCESS,
                rcx: abi::query(1, 1),
                ..registers
            }
        );
    });
}
