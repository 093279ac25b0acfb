// SPDX-License-Identifier: MIT OR Apache-2.0
//! PVALIDATE: lists, states, sizes, attacks.

use super::std::vec::Vec;
use super::*;
use crate::memory::{Refused, State};
use proptest::prelude::*;

fn entry(gpa: u64, huge: bool, validate: bool, ignore: bool) -> u64 {
    PvalidateEntry::new(gpa, huge, validate, ignore).0
}

#[test]
fn out_and_in_again() {
    with_rig(|rig| {
        let pages: Vec<u64> = (0..10).map(|index| rig.page(index)).collect();
        rig.memory().poke(pages[3], b"secret");
        let flushes = rig.platform.flushes();
        let out: Vec<u64> = pages.iter().map(|&gpa| invalidate(gpa)).collect();
        assert_eq!(pvalidate(rig, &out), (SUCCESS, 10));
        // One flush for all of them.
        assert_eq!(rig.platform.flushes(), flushes + 1);
        for &gpa in &pages {
            assert_eq!(rig.state(gpa), Ok(State::Invalid));
            assert!(!rig.platform.has_access(gpa));
        }
        let back: Vec<u64> = pages.iter().map(|&gpa| validate(gpa)).collect();
        assert_eq!(pvalidate(rig, &back), (SUCCESS, 10));
        // Coming in pays none.
        assert_eq!(rig.platform.flushes(), flushes + 1);
        for &gpa in &pages {
            assert_eq!(rig.state(gpa), Ok(State::Valid));
            assert!(rig.platform.has_access(gpa));
            let mut bytes = [1; 4096];
            rig.memory().peek(gpa, &mut bytes);
            assert_eq!(
                bytes, [0; 4096],
                "nothing of what the host put there reaches the guest"
            );
        }
    });
}

#[test]
fn a_full_list_is_done_in_one_call() {
    with_rig(|rig| {
        let pages: Vec<u64> = (0..511u64).map(|index| 10 * MIB + index * 4096).collect();
        let list = 2 * MIB;
        let out: Vec<u64> = pages.iter().map(|&gpa| invalidate(gpa)).collect();
        rig.write_list(list, 0, &out);
        assert_eq!(
            (rig.core_call(abi::PVALIDATE, list), rig.next(list)),
            (SUCCESS, 511)
        );
        let back: Vec<u64> = pages.iter().map(|&gpa| validate(gpa)).collect();
        rig.write_list(list, 0, &back);
        assert_eq!(
            (rig.core_call(abi::PVALIDATE, list), rig.next(list)),
            (SUCCESS, 511)
        );
    });
}

#[test]
fn large_pages_take_a_call_each() {
    with_rig(|rig| {
        let pages = [10 * MIB, 12 * MIB, 14 * MIB];
        let out = pages.map(|gpa| entry(gpa, true, false, false));
        assert_eq!(pvalidate(rig, &out), (SUCCESS, 3));
        rig.write_list(LIST, 0, &pages.map(|gpa| entry(gpa, true, true, false)));
        // Each zeroes 2 MiB; the guest calls again with the list as it is.
        for next in 1..=3 {
            let expected = if next == 3 { SUCCESS } else { INCOMPLETE };
            assert_eq!(rig.core_call(abi::PVALIDATE, LIST), expected);
            assert_eq!(rig.next(LIST), next);
        }
        assert_eq!(rig.core_call(abi::PVALIDATE, LIST), INVALID_PARAMETER);
        for gpa in pages {
            assert_eq!(rig.state(gpa + MIB), Ok(State::Valid));
        }
    });
}

/// The attack is told in `memory::Tracker`; here the whole call is held against it.
#[test]
fn a_page_does_not_come_in_twice() {
    with_rig(|rig| {
        let gpa = rig.page(0);
        // 2. The host puts another page in its place.
        rig.platform.remap(gpa);
        // 3. The guest validates it again, and even says that it does not mind.
        assert_eq!(pvalidate(rig, &[validate(gpa)]), (UNCHANGED, 0));
        assert_eq!(
            pvalidate(rig, &[entry(gpa, false, true, true)]),
            (SUCCESS, 1)
        );
        assert!(
            !rig.platform.has_access(gpa),
            "the other page was not made the guest's"
        );
        // Not by way of leaving either: the page that came in is not the one that leaves.
        for ignore in [false, true] {
            let out = entry(gpa, false, false, ignore);
            assert_ne!(pvalidate(rig, &[out]), (SUCCESS, 1));
            assert_eq!(rig.state(gpa), Ok(State::Valid));
        }
        assert_eq!(pvalidate(rig, &[validate(gpa)]), (UNCHANGED, 0));
    });
}

#[test]
fn nothing_but_the_guests_memory() {
    with_rig(|rig| {
        for gpa in NOT_THE_GUESTS {
            assert_eq!(
                pvalidate(rig, &[validate(gpa)]),
                (INVALID_ADDRESS, 0),
                "{gpa:#x}"
            );
            assert_eq!(
                pvalidate(rig, &[invalidate(gpa)]),
                (INVALID_ADDRESS, 0),
                "{gpa:#x}"
            );
        }
        // A large page that begins in memory and ends in the hole: as two sizes.
        assert_eq!(
            pvalidate(rig, &[entry(0, true, false, false)]),
            (SIZE_MISMATCH, 0)
        );
        assert_eq!(
            pvalidate(rig, &[entry(REGION, true, true, false)]),
            (INVALID_ADDRESS, 0)
        );
    });
}

#[test]
fn entries_that_are_malformed() {
    with_rig(|rig| {
        let gpa = rig.page(0);
        let out = invalidate(gpa);
        for bad in [
            out | 2,
            out | 3,
            out | 1 << 4,
            out | 1 << 11,
            invalidate(2 * MIB + 4096) | 1,
        ] {
            // The entries before are done, the bad one is named.
            assert_eq!(
                pvalidate(rig, &[out, bad, invalidate(rig.page(1))]),
                (INVALID_PARAMETER, 1)
            );
            assert_eq!(pvalidate(rig, &[validate(gpa)]), (SUCCESS, 1));
            assert_eq!(rig.state(rig.page(1)), Ok(State::Valid));
        }
    });
}

#[test]
fn lists_that_are_malformed() {
    with_rig(|rig| {
        let one = [invalidate(rig.page(0))];
        let made = |gpa: u64, next: u16, count: u16| {
            rig.write_list(gpa, next, &one);
            rig.memory().poke(gpa, &count.to_le_bytes());
            rig.core_call(abi::PVALIDATE, gpa)
        };
        assert_eq!(made(LIST, 0, 0), INVALID_PARAMETER);
        assert_eq!(made(LIST, 1, 1), INVALID_PARAMETER);
        assert_eq!(made(LIST, u16::MAX, u16::MAX), INVALID_PARAMETER);
        assert_eq!(made(LIST, 0, 512), INVALID_PARAMETER);
        assert_eq!(made(LIST + 8, 0, 511), INVALID_PARAMETER);
        // The last place in a page has room for the header alone.
        assert_eq!(made(LIST + 0xFF8, 0, 1), INVALID_PARAMETER);
        assert_eq!(made(LIST + 4, 0, 1), INVALID_PARAMETER);
        assert_eq!(rig.state(rig.page(0)), Ok(State::Valid));
        assert_eq!(made(LIST + 0xFF0, 0, 1), SUCCESS);
        for gpa in NOT_THE_GUESTS {
            assert_eq!(rig.core_call(abi::PVALIDATE, gpa), INVALID_ADDRESS);
        }
        // A list in a page that is not in the machine, or that the host took.
        assert_eq!(rig.core_call(abi::PVALIDATE, rig.page(0)), INVALID_ADDRESS);
        rig.memory().steal(LIST);
        assert_eq!(rig.core_call(abi::PVALIDATE, LIST), INVALID_ADDRESS);
    });
}

#[test]
fn no_change_is_an_error_unless_it_is_ignored() {
    with_rig(|rig| {
        let (gpa, other) = (rig.page(0), rig.page(1));
        rig.memory().poke(gpa, b"kept");
        assert_eq!(pvalidate(rig, &[validate(gpa)]), (UNCHANGED, 0));
        assert_eq!(
            pvalidate(rig, &[entry(gpa, false, true, true)]),
            (SUCCESS, 1)
        );
        let mut bytes = [0; 4];
        rig.memory().peek(gpa, &mut bytes);
        assert_eq!(&bytes, b"kept", "a page that did not come in is not zeroed");
        let twice = [
            invalidate(gpa),
            entry(gpa, false, false, true),
            invalidate(other),
        ];
        // The page is busy until the flush at the end of the first call.
        assert_eq!(pvalidate(rig, &twice), (INCOMPLETE, 1));
        assert_eq!(
            (rig.core_call(abi::PVALIDATE, LIST), rig.next(LIST)),
            (SUCCESS, 3)
        );
        assert_eq!(pvalidate(rig, &[invalidate(gpa)]), (UNCHANGED, 0));
    });
}

#[test]
fn out_and_in_in_one_list() {
    with_rig(|rig| {
        let gpa = rig.page(0);
        assert_eq!(
            pvalidate(rig, &[invalidate(gpa), validate(gpa)]),
            (INCOMPLETE, 1)
        );
        assert_eq!(
            (rig.core_call(abi::PVALIDATE, LIST), rig.next(LIST)),
            (SUCCESS, 2)
        );
        assert_eq!(rig.state(gpa), Ok(State::Valid));
    });
}

#[test]
fn sizes_that_do_not_fit_are_the_guests_to_split() {
    with_rig(|rig| {
        rig.platform.smash(10 * MIB);
        let large = entry(10 * MIB, true, false, false);
        assert_eq!(pvalidate(rig, &[large]), (SIZE_MISMATCH, 0));
        assert_eq!(rig.state(10 * MIB), Ok(State::Valid));
        assert!(rig.platform.has_access(10 * MIB));
        assert_eq!(pvalidate(rig, &[invalidate(10 * MIB)]), (SUCCESS, 1));
        assert_eq!(pvalidate(rig, &[large]), (SIZE_MISMATCH, 0));
        assert_eq!(rig.state(10 * MIB + 4096), Ok(State::Valid));
    });
}

#[test]
fn a_host_that_takes_pages_gets_errors() {
    with_rig(|rig| {
        let (gone, gone_later) = (rig.page(0), rig.page(1));
        assert_eq!(pvalidate(rig, &[invalidate(gone)]), (SUCCESS, 1));
        rig.memory().steal(gone);
        assert_eq!(pvalidate(rig, &[validate(gone)]), (INVALID_ADDRESS, 0));
        assert_eq!(rig.state(gone), Ok(State::Invalid));
        rig.memory().steal(gone_later);
        assert_eq!(
            pvalidate(rig, &[invalidate(gone_later)]),
            (INVALID_ADDRESS, 0)
        );
        assert_eq!(rig.state(gone_later), Ok(State::Valid));
    });
}

#[test]
fn a_list_that_changes_while_it_is_read() {
    with_rig(|rig| {
        let target = rig.page(5);
        rig.write_list(LIST, 0, &[invalidate(rig.page(0)), invalidate(rig.page(1))]);
        // After the header was read there are 0xFFFF entries, and after the entries were, they name other pages.
        rig.memory().after_read(move |memory, gpa, length| {
            if gpa == LIST && length == 8 {
                memory.poke(LIST, &[0xFF; 4]);
            }
            if gpa == LIST + 8 {
                memory.poke(LIST + 8, &invalidate(target).to_le_bytes());
                memory.poke(LIST + 16, &[0xFF; 8]);
            }
        });
        assert_eq!(rig.core_call(abi::PVALIDATE, LIST), SUCCESS);
        rig.memory().clear_hook();
        assert_eq!(rig.next(LIST), 2);
        assert_eq!(rig.state(target), Ok(State::Valid));
        assert_eq!(rig.state(rig.page(1)), Ok(State::Invalid));
    });
}

#[test]
fn a_list_that_gives_away_its_own_page() {
    with_rig(|rig| {
        // Where `next` should be written is the host's by then: the guest learns nothing, and nothing breaks.
        rig.write_list(LIST, 0, &[invalidate(LIST)]);
        assert_eq!(rig.core_call(abi::PVALIDATE, LIST), INVALID_ADDRESS);
        assert_eq!(rig.state(LIST), Ok(State::Invalid));
    });
}

/// What a guest that is well behaved sees: a model of one byte a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Model {
    In,
    Out,
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 64 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Lists of anything, driven to their end: page states follow the entries that were done.
    #[test]
    fn any_list(raw in prop::collection::vec((0u64..24, any::<u8>(), any::<bool>()), 1..60)) {
        with_rig(|rig| {
            let entries: Vec<u64> = raw.iter().map(|&(page, bits, junk)| {
                let gpa = match page {
                    0..20 => rig.page(page),
                    20 => REGION,
                    21 => 0xA_0000,
                    22 => 8 * MIB,
                    _ => 1 << 51,
                };
                let flags = if junk { u64::from(bits) } else { u64::from(bits & 0xC) };
                gpa | flags
            }).collect();
            let mut model = [Model::In; 20];
            rig.write_list(LIST, 0, &entries);
            let mut done = 0;
            for _ in 0..=entries.len() {
                let code = rig.core_call(abi::PVALIDATE, LIST);
                let next = usize::from(rig.next(LIST));
                assert!(next >= done && next <= entries.len());
                for &entry in &entries[done..next] {
                    let entry = PvalidateEntry(entry);
                    if entry.gpa() >= rig.page(0) && entry.gpa() < rig.page(20) {
                        let index = ((entry.gpa() - rig.page(0)) / 4096) as usize;
                        // Page 0 begins a run, and a large entry there means all of them.
                        let end = if entry.size() == 1 { model.len() } else { index + 1 };
                        model[index..end]
                            .fill(if entry.validate() { Model::In } else { Model::Out });
                    }
                }
                assert!(code != INCOMPLETE || next > done, "a call that is not complete made progress");
                done = next;
                match code {
                    INCOMPLETE => {}
                    SUCCESS => { assert_eq!(done, entries.len()); break; }
                    _ => {
                        // The entry that failed is skipped, as Linux does not but a test may.
                        if done + 1 == entries.len() { break; }
                        done += 1;
                        rig.memory().poke(LIST + 2, &(done as u16).to_le_bytes());
                    }
                }
            }
            for (index, state) in model.iter().enumerate() {
                let expected = match state {
                    Model::In => State::Valid,
                    Model::Out => State::Invalid,
                };
                assert_eq!(rig.state(rig.page(index as u64)), Ok(expected));
            }
            assert_eq!(rig.state(REGION), Err(Refused::Outside));
        });
    }
}

/// A case that the property once met: a large entry among small ones takes its whole run along.
#[test]
fn a_large_entry_takes_its_whole_run() {
    with_rig(|rig| {
        let large = entry(rig.page(0), true, false, false);
        assert_eq!(pvalidate(rig, &[large]), (SUCCESS, 1));
        for index in [0, 1, 255] {
            assert_eq!(rig.state(rig.page(index)), Ok(State::Invalid));
        }
        assert_eq!(pvalidate(rig, &[validate(rig.page(1))]), (SUCCESS, 1));
        assert_eq!(rig.state(rig.page(0)), Ok(State::Invalid));
    });
}
