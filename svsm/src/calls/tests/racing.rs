// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two vCPUs that call at the same time, on the same pages. The machine panics where a rule is broken; what is left
//! is held against the hardware when both are done.

use super::std::thread;
use super::std::vec::Vec;
use super::*;
use crate::memory::State;

const ROUNDS: u64 = if cfg!(miri) { 3 } else { 400 };

/// A generator that is good enough to mix calls.
fn random(seed: &mut u64) -> u64 {
    *seed = seed
        .wrapping_mul(6364136223846793005)
        .wrapping_add(1442695040888963407);
    *seed >> 33
}

#[test]
fn two_vcpus_at_the_same_pages() {
    with_rig(|rig| {
        rig.platform.write_state(rig.page(200));
        let result = rig.call(0, 0, abi::CREATE_VCPU, [rig.page(200), rig.page(201), 1, 0]);
        assert_eq!(result.rax, SUCCESS);
        thread::scope(|scope| {
            for cpu in 0..2 {
                scope.spawn(move || {
                    let mut seed = 7 + cpu as u64;
                    let list = rig.page(210 + cpu as u64);
                    for _ in 0..ROUNDS {
                        let entries: Vec<u64> = (0..1 + random(&mut seed) % 12)
                            .map(|_| {
                                let page = rig.page(random(&mut seed) % 8);
                                page | (random(&mut seed) & 3) << 2
                            })
                            .collect();
                        let call = match random(&mut seed) % 8 {
                            0 => abi::WITHDRAW_MEM,
                            1 => abi::DEPOSIT_MEM,
                            2 => abi::CREATE_VCPU,
                            3 => abi::DELETE_VCPU,
                            _ => abi::PVALIDATE,
                        };
                        let arguments = match call {
                            abi::CREATE_VCPU => {
                                // Not the states of the two that run: page 200 and the SVSM's.
                                let page = rig.page(random(&mut seed) % 8);
                                [page, rig.page(220 + random(&mut seed) % 4), 1, 0]
                            }
                            abi::DELETE_VCPU => [rig.page(random(&mut seed) % 8), 0, 0, 0],
                            abi::DEPOSIT_MEM => {
                                let plain: Vec<u64> =
                                    entries.iter().map(|entry| entry & !0xFFF).collect();
                                rig.write_list(list, 0, &plain);
                                [list, 0, 0, 0]
                            }
                            _ => {
                                rig.write_list(list, 0, &entries);
                                [list, 0, 0, 0]
                            }
                        };
                        // A vCPU that was just made is current on CPU 1: it has another page and area then.
                        if call != abi::CREATE_VCPU || cpu == 0 {
                            rig.call_racing(cpu, call, arguments);
                        }
                    }
                });
            }
        });
        // Let all go: everything can be had back.
        for page in 0..8 {
            let _ = rig.core_call(abi::DELETE_VCPU, rig.page(page));
        }
        assert_eq!(rig.core_call(abi::WITHDRAW_MEM, LIST), SUCCESS);
        for page in 0..8 {
            assert_ne!(rig.state(rig.page(page)), Ok(State::Own));
        }
        assert_eq!(rig.machine.pool.withdrawable(), 0);
    });
}

#[test]
fn two_vcpus_at_the_same_list() {
    with_rig(|rig| {
        rig.platform.write_state(rig.page(200));
        let result = rig.call(0, 0, abi::CREATE_VCPU, [rig.page(200), rig.page(201), 1, 0]);
        assert_eq!(result.rax, SUCCESS);
        for _ in 0..ROUNDS / 4 {
            let pages: Vec<u64> = (0..16).map(|index| rig.page(index)).collect();
            for entries in [
                pages.iter().map(|&gpa| invalidate(gpa)).collect::<Vec<_>>(),
                pages.iter().map(|&gpa| validate(gpa)).collect(),
            ] {
                rig.write_list(LIST, 0, &entries);
                thread::scope(|scope| {
                    for cpu in 0..2 {
                        scope.spawn(move || rig.call_racing(cpu, abi::PVALIDATE, [LIST, 0, 0, 0]));
                    }
                });
                // Each entry was done once, by one of the two; neither need have done all.
                let ignoring: Vec<u64> = entries.iter().map(|entry| entry | 8).collect();
                assert_eq!(pvalidate(rig, &ignoring), (SUCCESS, 16));
            }
        }
    });
}
