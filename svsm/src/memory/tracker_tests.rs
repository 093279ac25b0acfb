// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tracker against a model that could not be simpler: a map from page to state.

extern crate std;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::thread;
use std::vec::Vec;

const MIB: u64 = 1 << 20;

fn range(base: u64, end: u64) -> Range {
    Range {
        base,
        size: end - base,
    }
}

fn storage(memory: &[Range]) -> Vec<AtomicU64> {
    (0..svsm_launch::tracker::bytes(memory) / 8)
        .map(|_| AtomicU64::new(0))
        .collect()
}

fn small(gpa: u64) -> Page {
    Page::new(gpa, PageSize::Size4K).unwrap()
}

fn large(gpa: u64) -> Page {
    Page::new(gpa, PageSize::Size2M).unwrap()
}

fn frame(gpa: u64) -> Frame {
    Frame::new(gpa).unwrap()
}

/// Changes a page at once.
fn change(tracker: &Tracker<'_>, page: Page, from: State, to: State) -> Result<(), Refused> {
    tracker.begin(page, from)?;
    tracker.commit(page, to);
    Ok(())
}

/// A PC's memory: a hole below 1 MiB, and an end that is not aligned.
const PC: [Range; 3] = [
    Range {
        base: 0,
        size: 0xA_0000,
    },
    Range {
        base: MIB,
        size: 5 * MIB,
    },
    Range {
        base: 4096 * MIB,
        size: 2 * MIB + 0x1000,
    },
];

#[test]
fn double_validation_is_refused() {
    let storage = storage(&PC);
    let tracker = Tracker::new(&PC, &storage).unwrap();
    let page = small(0x5000);
    // 1. The guest validates X, which the host has at A.
    change(&tracker, page, State::Invalid, State::Valid).unwrap();
    // 2. The host puts B there; nobody in the machine notices.
    // 3. The guest is brought to validate X again. Here it ends: B never becomes a second X.
    assert_eq!(
        tracker.begin(page, State::Invalid),
        Err(Refused::Is(State::Valid))
    );
    // Nor as a part of something larger.
    assert_eq!(tracker.begin(large(2 * MIB), State::Invalid), Ok(()));
    tracker.commit(large(2 * MIB), State::Valid);
    assert_eq!(
        tracker.begin(small(3 * MIB), State::Invalid),
        Err(Refused::Is(State::Valid))
    );
    assert_eq!(
        tracker.begin(large(2 * MIB), State::Invalid),
        Err(Refused::Is(State::Valid))
    );
    change(&tracker, small(3 * MIB), State::Valid, State::Invalid).unwrap();
    assert_eq!(
        tracker.begin(large(2 * MIB), State::Invalid),
        Err(Refused::Mixed)
    );
}

#[test]
fn outside_is_outside() {
    let storage = storage(&PC);
    let tracker = Tracker::new(&PC, &storage).unwrap();
    // The hole below 1 MiB shares its run with memory, but is nobody's to change.
    for gpa in [0xA_0000, 0xF_F000] {
        assert_eq!(
            tracker.begin(small(gpa), State::Invalid),
            Err(Refused::Is(State::Own))
        );
    }
    assert_eq!(tracker.begin(large(0), State::Invalid), Err(Refused::Mixed));
    assert_eq!(tracker.state(frame(6 * MIB)), Err(Refused::Outside));
    // The SVSM's own region, for one.
    assert_eq!(
        tracker.begin(small(0x80_0000_0000), State::Invalid),
        Err(Refused::Outside)
    );
    assert_eq!(
        tracker.begin(large(0x80_0000_0000), State::Invalid),
        Err(Refused::Outside)
    );
    // A page behind the end, in the last run.
    let last = 4098 * MIB;
    assert_eq!(tracker.state(frame(last)), Ok(State::Invalid));
    assert_eq!(tracker.state(frame(last + 0x1000)), Ok(State::Own));
    assert_eq!(
        tracker.begin(large(last), State::Invalid),
        Err(Refused::Mixed)
    );
}

#[test]
fn busy_pages_are_left_alone_and_their_neighbours_are_not() {
    let storage = storage(&PC);
    let tracker = Tracker::new(&PC, &storage).unwrap();
    tracker.begin(large(2 * MIB), State::Invalid).unwrap();
    assert_eq!(
        tracker.begin(large(2 * MIB), State::Invalid),
        Err(Refused::Busy)
    );
    assert_eq!(
        tracker.begin(small(2 * MIB), State::Invalid),
        Err(Refused::Busy)
    );
    assert_eq!(tracker.state(frame(2 * MIB)), Err(Refused::Busy));
    tracker.commit(large(2 * MIB), State::Valid);
    tracker.begin(small(2 * MIB), State::Valid).unwrap();
    assert_eq!(tracker.state(frame(2 * MIB)), Err(Refused::Busy));
    assert_eq!(tracker.state(frame(2 * MIB + 0x1000)), Ok(State::Valid));
    assert_eq!(
        tracker.begin(small(2 * MIB), State::Valid),
        Err(Refused::Busy)
    );
    assert_eq!(
        tracker.begin(large(2 * MIB), State::Valid),
        Err(Refused::Busy)
    );
    change(&tracker, small(2 * MIB + 0x1000), State::Valid, State::Own).unwrap();
    tracker.commit(small(2 * MIB), State::Valid);
    assert_eq!(
        tracker.begin(large(2 * MIB), State::Valid),
        Err(Refused::Mixed)
    );
    change(&tracker, small(2 * MIB + 0x1000), State::Own, State::Valid).unwrap();
    // All alike again, so the run can be taken as one.
    change(&tracker, large(2 * MIB), State::Valid, State::Invalid).unwrap();
    assert_eq!(tracker.state(frame(3 * MIB)), Ok(State::Invalid));
}

#[test]
fn unsuitable_ranges_and_storage() {
    let words = storage(&PC);
    let bad: [&[Range]; 5] = [
        &[range(0x1000, 0x3000), range(0x2000, 0x4000)],
        &[range(0x4000, 0x5000), range(0x1000, 0x2000)],
        &[range(0x800, 0x1000)],
        &[Range {
            base: u64::MAX - 0xFFF,
            size: 0x1000,
        }],
        &[Range {
            base: 0x1000,
            size: u64::MAX - 0xFFF,
        }],
    ];
    for ranges in bad {
        assert_eq!(
            Tracker::new(ranges, &words).err(),
            Some(Unsuitable),
            "{ranges:?}"
        );
    }
    assert_eq!(Tracker::new(&PC, &words[1..]).err(), Some(Unsuitable));
    let five = [0u64, 4, 8, 12, 16].map(|i| range(i * MIB, i * MIB + 0x1000));
    assert_eq!(Tracker::new(&five, &storage(&five)).err(), Some(Unsuitable));
    assert_eq!(
        Tracker::new(&[], &[]).unwrap().state(frame(0)),
        Err(Refused::Outside)
    );
}

#[test]
fn summaries_survive_the_way_through_a_word() {
    let states = [State::Invalid, State::Valid, State::Own];
    let mut all: Vec<Summary> = Vec::new();
    all.extend(states.map(Summary::Uniform));
    all.extend(states.map(Summary::Splitting));
    all.extend([
        Summary::Mixed(0),
        Summary::Mixed(512),
        Summary::Merging,
        Summary::Busy,
    ]);
    for summary in all {
        assert!(Summary::from_word(summary.word()) == summary);
    }
    // Storage is zeroed: all invalid.
    assert!(Summary::from_word(0) == Summary::Uniform(State::Invalid));
    assert_eq!(
        Summary::Mixed(7).word() + ONE_BUSY,
        Summary::Mixed(8).word()
    );
}

/// The model.
#[derive(Default)]
struct Model {
    pages: BTreeMap<u64, Option<State>>,
}

impl Model {
    /// Pages that share a run with memory, but are not, count as the SVSM's.
    fn new(memory: &[Range]) -> Self {
        let each = |start: u64, end: u64| (start..end).step_by(4096);
        let mut pages = BTreeMap::new();
        for range in memory {
            let end = range.base + range.size;
            for gpa in each(range.base / RUN * RUN, end.next_multiple_of(RUN)) {
                pages.entry(gpa).or_insert(Some(State::Own));
            }
            pages.extend(each(range.base, end).map(|gpa| (gpa, Some(State::Invalid))));
        }
        Self { pages }
    }

    fn begin(&mut self, page: Page, from: State) -> bool {
        let fits = page
            .frames()
            .all(|frame| self.pages.get(&frame.gpa()) == Some(&Some(from)));
        if fits {
            self.commit(page, None);
        }
        fits
    }

    fn commit(&mut self, page: Page, to: Option<State>) {
        for frame in page.frames() {
            self.pages.insert(frame.gpa(), to);
        }
    }
}

fn states() -> impl Strategy<Value = State> {
    prop_oneof![Just(State::Invalid), Just(State::Valid), Just(State::Own)]
}

fn pages() -> impl Strategy<Value = Page> {
    let bases = prop_oneof![0u64..8 * MIB, 4095 * MIB..4102 * MIB];
    // A few pages only, so that steps meet.
    prop_oneof![
        3 => bases.clone().prop_map(|gpa| small(gpa & !0xF_EFFF)),
        1 => bases.prop_map(|gpa| large(gpa & !(2 * MIB - 1))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    #[cfg_attr(miri, ignore = "safe code, and slow")]
    fn agrees_with_the_model(
        steps in prop::collection::vec((pages(), states(), states(), any::<bool>()), 1..80)
    ) {
        let storage = storage(&PC);
        let tracker = Tracker::new(&PC, &storage).unwrap();
        let mut model = Model::new(&PC);
        let mut open: Vec<(Page, State)> = Vec::new();
        for (page, from, to, at_once) in steps {
            let begun = tracker.begin(page, from).is_ok();
            prop_assert_eq!(begun, model.begin(page, from), "{:?} {:?}", page, from);
            if begun {
                open.push((page, to));
            }
            if at_once {
                for (page, to) in open.drain(..) {
                    tracker.commit(page, to);
                    model.commit(page, Some(to));
                }
            }
        }
        for (&gpa, &state) in &model.pages {
            prop_assert_eq!(tracker.state(frame(gpa)).ok(), state, "{:#x}", gpa);
        }
    }
}

/// Threads that fight over the same pages: each change that is granted was granted to one alone.
#[test]
fn one_winner_at_a_time() {
    let memory = [range(0, 4 * MIB)];
    let storage = storage(&memory);
    let tracker = Tracker::new(&memory, &storage).unwrap();
    let owners: Vec<AtomicU64> = (0..1024).map(|_| AtomicU64::new(0)).collect();
    let rounds = if cfg!(miri) { 20 } else { 20_000 };
    thread::scope(|scope| {
        for number in 1..=3u64 {
            let (tracker, owners) = (&tracker, &owners);
            scope.spawn(move || {
                let mut random = number;
                for _ in 0..rounds {
                    random = random
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(number);
                    let page = match random >> 60 {
                        0 => large((random >> 40 & 1) * 2 * MIB),
                        // Four pages in each run.
                        _ => small((random >> 40 & 1) * 2 * MIB + (random >> 50 & 3) * 0x3000),
                    };
                    let from = match random >> 44 & 1 {
                        0 => State::Invalid,
                        _ => State::Valid,
                    };
                    let to = if from == State::Valid {
                        State::Invalid
                    } else {
                        State::Valid
                    };
                    if tracker.begin(page, from).is_ok() {
                        let indices = || page.frames().map(|frame| frame.gpa() as usize / 4096);
                        for index in indices() {
                            assert_eq!(owners[index].swap(number, Ordering::Relaxed), 0);
                        }
                        for index in indices() {
                            assert_eq!(owners[index].swap(0, Ordering::Relaxed), number);
                        }
                        tracker.commit(page, to);
                    }
                }
            });
        }
    });
    // Nothing is left busy: every page has a state, and each run can be taken once its pages are alike.
    for gpa in (0..4 * MIB).step_by(4096) {
        if tracker.state(frame(gpa)).unwrap() == State::Valid {
            change(&tracker, small(gpa), State::Valid, State::Invalid).unwrap();
        }
    }
    for gpa in [0, 2 * MIB] {
        change(&tracker, large(gpa), State::Invalid, State::Own).unwrap();
    }
}
