// SPDX-License-Identifier: MIT OR Apache-2.0
//! DEPOSIT_MEM and WITHDRAW_MEM.

use super::std::vec::Vec;
use super::*;
use crate::memory::State;

fn deposit(rig: &Rig<'_>, entries: &[u64]) -> (u64, u16) {
    rig.write_list(LIST, 0, entries);
    (rig.core_call(abi::DEPOSIT_MEM, LIST), rig.next(LIST))
}

/// The pages that come back.
fn withdraw(rig: &Rig<'_>, gpa: u64) -> Result<Vec<u64>, u64> {
    match rig.core_call(abi::WITHDRAW_MEM, gpa) {
        SUCCESS => {
            let word = |at| {
                let mut bytes = [0; 8];
                rig.memory().peek(at, &mut bytes);
                u64::from_le_bytes(bytes)
            };
            let count = word(gpa) & 0xFFFF;
            Ok((1..=count).map(|index| word(gpa + index * 8)).collect())
        }
        code => Err(code),
    }
}

#[test]
fn there_and_back() {
    with_rig(|rig| {
        let own = rig.machine.pool.free();
        assert_eq!(
            (rig.mem_available(0), rig.machine.pool.withdrawable()),
            (0, 0)
        );
        assert_eq!(withdraw(rig, LIST), Ok(Vec::new()));
        rig.memory()
            .poke(rig.page(1), b"the guest's, who knows that it loses it");
        let flushes = rig.platform.flushes();
        let entries = [rig.page(0), rig.page(1), rig.page(2)];
        assert_eq!(deposit(rig, &entries), (SUCCESS, 3));
        assert_eq!(rig.platform.flushes(), flushes + 1);
        assert_eq!(
            (rig.machine.pool.free(), rig.mem_available(0)),
            (own + 3, 1)
        );
        for gpa in entries {
            assert_eq!(rig.state(gpa), Ok(State::Own));
            assert!(!rig.platform.has_access(gpa));
        }
        // The SVSM uses all that it has, and writes what it likes.
        let mut used = Vec::new();
        while let Some(mut page) = rig.machine.pool.allocate() {
            page.fill(0x5E);
            used.push(page);
        }
        assert_eq!(used.len(), own + 3);
        // Nothing to give back while it is used.
        assert_eq!(withdraw(rig, LIST), Ok(Vec::new()));
        assert_eq!(rig.mem_available(0), 0);
        drop(used);
        let mut back = withdraw(rig, LIST).unwrap();
        back.sort_unstable();
        assert_eq!(back, entries);
        for gpa in entries {
            assert_eq!(rig.state(gpa), Ok(State::Valid));
            assert!(rig.platform.has_access(gpa));
            let mut bytes = [1; 4096];
            rig.memory().peek(gpa, &mut bytes);
            assert_eq!(bytes, [0; 4096], "what the SVSM had there stays with it");
        }
        assert_eq!((rig.machine.pool.free(), rig.mem_available(0)), (own, 0));
        assert_eq!(withdraw(rig, LIST), Ok(Vec::new()));
    });
}

#[test]
fn large_pages() {
    with_rig(|rig| {
        let entries = [(10 * MIB) | 1, (12 * MIB) | 1, rig.page(0)];
        // One for each call: the rest is for the next.
        assert_eq!(deposit(rig, &entries), (INCOMPLETE, 1));
        assert_eq!(
            (rig.core_call(abi::DEPOSIT_MEM, LIST), rig.next(LIST)),
            (INCOMPLETE, 2)
        );
        assert_eq!(
            (rig.core_call(abi::DEPOSIT_MEM, LIST), rig.next(LIST)),
            (SUCCESS, 3)
        );
        assert_eq!(rig.machine.pool.withdrawable(), 1025);
        // As many as a page has room for; the flag says that there is more.
        assert_eq!(withdraw(rig, LIST).unwrap().len(), 511);
        assert_eq!(rig.mem_available(0), 1);
        assert_eq!(withdraw(rig, LIST + 0xFF0).unwrap().len(), 1);
        assert_eq!(withdraw(rig, LIST).unwrap().len(), 511);
        assert_eq!(withdraw(rig, LIST).unwrap().len(), 2);
        assert_eq!(rig.mem_available(0), 0);
        // In 4K pages of the hardware's, too.
        rig.platform.smash(10 * MIB);
        assert_eq!(deposit(rig, &[(10 * MIB) | 1]), (SUCCESS, 1));
        assert_eq!(rig.state(11 * MIB), Ok(State::Own));
        assert!(!rig.platform.has_access(11 * MIB));
    });
}

#[test]
fn what_can_not_be_deposited() {
    with_rig(|rig| {
        let good = rig.page(0);
        for gpa in NOT_THE_GUESTS {
            assert_eq!(deposit(rig, &[gpa]), (INVALID_ADDRESS, 0), "{gpa:#x}");
        }
        // What comes before is taken, and is named by `next`.
        assert_eq!(
            deposit(rig, &[good, REGION, rig.page(1)]),
            (INVALID_ADDRESS, 1)
        );
        assert_eq!(rig.state(good), Ok(State::Own));
        assert_eq!(rig.state(rig.page(1)), Ok(State::Valid));
        // Twice.
        assert_eq!(deposit(rig, &[good]), (INVALID_ADDRESS, 0));
        assert_eq!(deposit(rig, &[rig.page(1), rig.page(1)]), (INCOMPLETE, 1));
        assert_eq!(
            (rig.core_call(abi::DEPOSIT_MEM, LIST), rig.next(LIST)),
            (INVALID_ADDRESS, 1)
        );
        // A calling area, alone or in a large page.
        assert_eq!(deposit(rig, &[rig.calling_area(0)]), (INVALID_ADDRESS, 0));
        assert_eq!(rig.core_call(abi::REMAP_CA, 10 * MIB + 0x5000), SUCCESS);
        assert_eq!(deposit(rig, &[(10 * MIB) | 1]), (INVALID_ADDRESS, 0));
        // Not in the machine.
        assert_eq!(pvalidate(rig, &[invalidate(rig.page(2))]), (SUCCESS, 1));
        assert_eq!(deposit(rig, &[rig.page(2)]), (INVALID_ADDRESS, 0));
        assert_eq!(deposit(rig, &[(2 * MIB) | 1]), (INVALID_ADDRESS, 0));
        // Malformed.
        let page = rig.page(3);
        for bad in [page | 2, page | 4, page | 1 << 11, (2 * MIB + 4096) | 1] {
            assert_eq!(deposit(rig, &[bad]), (INVALID_PARAMETER, 0));
            assert_eq!(deposit(rig, &[rig.page(4), bad]), (INVALID_PARAMETER, 1));
            assert!(withdraw(rig, LIST).unwrap().contains(&rig.page(4)));
        }
        assert_eq!(rig.core_call(abi::DEPOSIT_MEM, LIST + 4), INVALID_PARAMETER);
        assert_eq!(rig.core_call(abi::DEPOSIT_MEM, REGION), INVALID_ADDRESS);
    });
}

#[test]
fn deposited_pages_are_out_of_the_guests_reach() {
    with_rig(|rig| {
        let gpa = rig.page(0);
        rig.write_list(gpa, 0, &[validate(rig.page(1))]);
        assert_eq!(deposit(rig, &[gpa]), (SUCCESS, 1));
        // As memory to be read, to be written, to be validated, to run a vCPU.
        assert_eq!(rig.core_call(abi::PVALIDATE, gpa), INVALID_ADDRESS);
        assert_eq!(withdraw(rig, gpa), Err(INVALID_ADDRESS));
        assert_eq!(pvalidate(rig, &[validate(gpa)]), (INVALID_ADDRESS, 0));
        assert_eq!(pvalidate(rig, &[invalidate(gpa)]), (INVALID_ADDRESS, 0));
        assert_eq!(rig.core_call(abi::REMAP_CA, gpa), INVALID_ADDRESS);
        let create = rig.call(0, 0, abi::CREATE_VCPU, [gpa, rig.page(1), 1, 0]);
        assert_eq!(create.rax, INVALID_ADDRESS);
        assert_eq!(withdraw(rig, LIST), Ok(super::std::vec![gpa]));
    });
}

#[test]
fn where_withdraw_can_not_write() {
    with_rig(|rig| {
        assert_eq!(deposit(rig, &[rig.page(0)]), (SUCCESS, 1));
        assert_eq!(withdraw(rig, LIST + 0xFF8), Err(INVALID_PARAMETER));
        assert_eq!(withdraw(rig, LIST + 4), Err(INVALID_PARAMETER));
        for gpa in NOT_THE_GUESTS {
            assert_eq!(withdraw(rig, gpa), Err(INVALID_ADDRESS));
        }
        // Nothing left for a list that could not be written.
        assert_eq!(rig.machine.pool.withdrawable(), 1);
        assert_eq!(
            withdraw(rig, LIST + 0xFF0),
            Ok(super::std::vec![rig.page(0)])
        );
    });
}

#[test]
fn the_host_takes_a_page_that_is_deposited() {
    with_rig(|rig| {
        rig.memory().steal(rig.page(1));
        assert_eq!(
            deposit(rig, &[rig.page(0), rig.page(1)]),
            (INVALID_ADDRESS, 1)
        );
        assert_eq!(rig.state(rig.page(1)), Ok(State::Valid));
        rig.platform.remap(rig.page(2));
        assert_eq!(deposit(rig, &[rig.page(2)]), (INVALID_ADDRESS, 0));
        assert_eq!(rig.state(rig.page(2)), Ok(State::Valid));
    });
}

/// A neighbour is about to be made a part of a page of 2M, and the host stopped that CPU in the middle of it. The
/// guest must not be told that it has a page which it can't touch.
#[test]
fn a_page_that_can_not_go_back_now_is_not_listed() {
    with_rig(|rig| {
        let (near, far) = (rig.page(0), 10 * MIB);
        // The one that was lent last goes back first.
        assert_eq!(deposit(rig, &[far, near]), (SUCCESS, 2));
        let frame = |gpa| crate::memory::Frame::new(gpa).unwrap();
        let stopped = rig.machine.tracker.stop_a_cpu_at(frame(near));
        assert_eq!(withdraw(rig, LIST), Err(BUSY));
        assert_eq!(rig.machine.pool.withdrawable(), 2);
        assert_eq!((rig.state(near), rig.mem_available(0)), (Ok(State::Own), 1));
        drop(stopped);
        let stopped = rig.machine.tracker.stop_a_cpu_at(frame(far));
        assert_eq!(withdraw(rig, LIST), Ok(super::std::vec![near]));
        assert_eq!(rig.mem_available(0), 1);
        drop(stopped);
        assert_eq!(withdraw(rig, LIST), Ok(super::std::vec![far]));
        assert_eq!(rig.mem_available(0), 0);
    });
}

#[test]
fn a_new_calling_area_tells_what_the_old_one_told() {
    with_rig(|rig| {
        assert_eq!(deposit(rig, &[rig.page(0)]), (SUCCESS, 1));
        assert_eq!(rig.core_call(abi::REMAP_CA, rig.page(1)), SUCCESS);
        assert_eq!(rig.mem_available(0), 1);
        assert_eq!(withdraw(rig, LIST).unwrap().len(), 1);
        // Whatever was in that memory.
        rig.memory().poke(rig.page(2), &[0, 1]);
        assert_eq!(rig.core_call(abi::REMAP_CA, rig.page(2)), SUCCESS);
        assert_eq!(rig.mem_available(0), 0);
    });
}

/// CPU 0 takes back the last page and is about to write "nothing there", when CPU 1 lends one. The guest must not
/// read "nothing there" for good.
#[test]
fn two_cpus_that_tell_leave_what_is_true() {
    use super::std::sync::{Mutex, mpsc};
    use super::std::thread;
    use core::time::Duration;
    with_rig(|rig| {
        rig.platform.write_state(rig.page(10));
        let made = rig.call(0, 0, abi::CREATE_VCPU, [rig.page(10), rig.page(11), 1, 0]);
        assert_eq!(made.rax, SUCCESS);
        assert_eq!(deposit(rig, &[rig.page(0)]), (SUCCESS, 1));
        let other_list = rig.page(12);
        rig.write_list(other_list, 0, &[rig.page(1)]);

        let flag = rig.calling_area(0) + svsm_abi::calling_area::MEM_AVAILABLE;
        let (telling, told) = mpsc::channel();
        let (go_on, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        rig.memory().before_write(move |_, gpa, _| {
            if gpa == flag && telling.send(()).is_ok() {
                // If CPU 1 waits for CPU 0, it comes to nothing.
                let _ = wait
                    .lock()
                    .unwrap()
                    .recv_timeout(Duration::from_millis(200));
            }
        });
        thread::scope(|scope| {
            scope.spawn(|| rig.call(0, 0, abi::WITHDRAW_MEM, [LIST, 0, 0, 0]));
            told.recv().unwrap();
            // One look is enough; and nobody waits for what this CPU writes.
            drop(told);
            let lent = rig.call(1, 0, abi::DEPOSIT_MEM, [other_list, 0, 0, 0]);
            assert_eq!(lent.rax, SUCCESS);
            let _ = go_on.send(());
        });
        rig.memory().clear_hook();
        assert_eq!(rig.machine.pool.withdrawable(), 1);
        assert_eq!(rig.mem_available(0), 1);
    });
}
