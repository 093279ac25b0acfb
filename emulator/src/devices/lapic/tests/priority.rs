// SPDX-License-Identifier: MIT OR Apache-2.0
//! Priorities, acceptance and end of interrupts (SDM vol. 3, 11.8).

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

#[test]
fn a_higher_class_interrupts_a_lower_one_only() {
    let posted = Posted::new(0);
    let mut lapic = enabled(&posted);
    lapic.request(0x41, false);
    lapic.accept(lapic.deliverable().unwrap());
    lapic.request(0x4F, false);
    assert_eq!(lapic.deliverable(), None, "same class");
    assert!(!lapic.heeds_task_priority(), "the one in service holds it");
    lapic.request(0x50, false);
    assert_eq!(lapic.deliverable(), Some(0x50));
    lapic.accept(0x50);
    assert_eq!(
        lapic.mmio_write(EOI, 0, 0),
        Effect::Eoi {
            vector: 0x50,
            level: false
        }
    );
    lapic.mmio_write(EOI, 0, 0);
    assert_eq!(lapic.deliverable(), Some(0x4F));
    assert_eq!(
        lapic.mmio_write(EOI, 0, 0),
        Effect::None,
        "nothing in service"
    );
}

/// 11.8.3.1, the processor priority register.
#[test]
fn processor_priority_is_the_higher_of_two() {
    let posted = Posted::new(0);
    let mut lapic = enabled(&posted);
    for (tpr, in_service, ppr) in [
        (0x00, None, 0x00),
        (0x35, None, 0x35),
        (0x35, Some(0x2F), 0x35),
        (0x35, Some(0x47), 0x40),
        (0x4F, Some(0x47), 0x4F),
        (0x42, Some(0x47), 0x42),
    ] {
        lapic.mmio_write(TPR, tpr, 0);
        if let Some(vector) = in_service {
            lapic.request(vector, false);
            lapic.accept(vector);
        }
        assert_eq!(lapic.mmio_read(PPR, 0), ppr);
        lapic.mmio_write(EOI, 0, 0);
    }
}

#[test]
fn task_priority_holds_back_its_class_and_below() {
    let posted = Posted::new(0);
    let mut lapic = enabled(&posted);
    lapic.mmio_write(TPR, 0x40, 0);
    assert!(!lapic.heeds_task_priority(), "nothing is requested");
    lapic.request(0x4A, false);
    assert_eq!(lapic.deliverable(), None);
    assert!(lapic.heeds_task_priority());
    lapic.request(0x51, false);
    assert_eq!(lapic.deliverable(), Some(0x51));
    lapic.set_cr8(5);
    assert_eq!(lapic.deliverable(), None, "it rises to the class of both");
    lapic.set_cr8(3);
    assert_eq!(lapic.deliverable(), Some(0x51));
}

/// 11.8.6: CR8 is TPR bits 7:4.
#[test]
fn cr8_is_the_task_priority_class() {
    let posted = Posted::new(0);
    let mut lapic = enabled(&posted);
    lapic.mmio_write(TPR, 0x35, 0);
    assert_eq!(lapic.cr8(), 3);
    lapic.set_cr8(3);
    assert_eq!(lapic.mmio_read(TPR, 0), 0x35, "not written");
    lapic.set_cr8(7);
    assert_eq!(lapic.mmio_read(TPR, 0), 0x70);
}

/// 11.8.4: the trigger mode comes with the request, and the EOI tells it.
#[test]
fn the_end_of_a_level_interrupt_says_so() {
    let posted = Posted::new(0);
    let mut lapic = enabled(&posted);
    for level in [true, false] {
        posted.post(0x61, level);
        lapic.merge();
        assert_eq!(has(&mut lapic, TMR, 0x61), level);
        lapic.accept(0x61);
        assert_eq!(
            lapic.mmio_write(EOI, 0, 0),
            Effect::Eoi {
                vector: 0x61,
                level
            }
        );
    }
}

/// 11.8.4: one more of a vector may wait while it is in service, no two.
#[test]
fn one_waits_behind_the_one_in_service() {
    let posted = Posted::new(0);
    let mut lapic = enabled(&posted);
    lapic.request(0x41, false);
    lapic.accept(0x41);
    lapic.request(0x41, false);
    lapic.request(0x41, false);
    let mut taken = 1;
    loop {
        lapic.mmio_write(EOI, 0, 0);
        let Some(vector) = lapic.deliverable() else {
            break;
        };
        lapic.accept(vector);
        taken += 1;
    }
    assert_eq!(taken, 2);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Post(u8, bool),
    Merge,
    Take,
    End,
    Priority(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (16..=255_u8, any::<bool>()).prop_map(|(v, level)| Step::Post(v, level)),
        2 => Just(Step::Merge),
        3 => Just(Step::Take),
        2 => Just(Step::End),
        1 => any::<u8>().prop_map(Step::Priority),
    ]
}

/// The manual's words as sets: posted (on the way), requested, in service.
#[derive(Default)]
struct Model {
    posted: BTreeMap<u8, bool>,
    requested: BTreeSet<u8>,
    in_service: BTreeSet<u8>,
    level: BTreeSet<u8>,
    tpr: u8,
}

impl Model {
    fn deliverable(&self) -> Option<u8> {
        let blocked = |vector: u8| {
            vector / 16 <= self.tpr / 16 || self.in_service.iter().any(|s| vector / 16 <= s / 16)
        };
        let best = *self.requested.iter().max()?;
        (!blocked(best)).then_some(best)
    }
}

proptest! {
    /// Whatever is posted, taken and ended in whatever order: nothing is lost, nothing doubled,
    /// and the order is that of the priorities.
    #[test]
    fn no_vector_is_lost_or_doubled(steps in prop::collection::vec(step(), 1..200)) {
        let posted = Posted::new(0);
        let mut lapic = enabled(&posted);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Post(vector, level) => {
                    let new = model.posted.insert(vector, level).is_none();
                    prop_assert_eq!(posted.post(vector, level), new);
                }
                Step::Merge => {
                    lapic.merge();
                    for (vector, level) in core::mem::take(&mut model.posted) {
                        model.requested.insert(vector);
                        if level {
                            model.level.insert(vector);
                        } else {
                            model.level.remove(&vector);
                        }
                    }
                    prop_assert!(!posted.is_pending());
                }
                Step::Take => {
                    if let Some(vector) = lapic.deliverable() {
                        lapic.accept(vector);
                        prop_assert!(model.requested.remove(&vector));
                        prop_assert!(model.in_service.insert(vector));
                    }
                }
                Step::End => {
                    let expected = match model.in_service.pop_last() {
                        Some(vector) => Effect::Eoi {
                            vector,
                            level: model.level.contains(&vector),
                        },
                        None => Effect::None,
                    };
                    prop_assert_eq!(lapic.mmio_write(EOI, 0, 0), expected);
                }
                Step::Priority(tpr) => {
                    lapic.mmio_write(TPR, tpr.into(), 0);
                    model.tpr = tpr;
                }
            }
            prop_assert_eq!(lapic.deliverable(), model.deliverable());
            for (register, set) in [(IRR, &model.requested), (ISR, &model.in_service)] {
                let shown: Vec<u8> = (0..=255).filter(|v| has(&mut lapic, register, *v)).collect();
                prop_assert!(shown.iter().eq(set.iter()), "{register:#x}: {shown:?} {set:?}");
            }
        }
        // Let all of it through: what was under way arrives, each once.
        lapic.mmio_write(TPR, 0, 0);
        lapic.merge();
        let mut left: BTreeSet<u8> = model.requested.iter().copied().collect();
        left.extend(model.posted.keys());
        for _ in 0..600 {
            match lapic.deliverable() {
                Some(vector) => {
                    prop_assert!(left.remove(&vector), "{vector:#x} twice");
                    lapic.accept(vector);
                }
                None => {
                    lapic.mmio_write(EOI, 0, 0);
                }
            }
        }
        prop_assert!(left.is_empty(), "lost: {left:?}");
    }
}
