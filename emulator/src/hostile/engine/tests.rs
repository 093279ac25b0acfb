// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which rule acts, and what is counted.

extern crate std;

use super::*;

fn engine(text: &str) -> Engine<'_> {
    Engine::new(Script::parse(text.as_bytes()).unwrap(), 1)
}

fn occasion(event: Event, vmpl: u8) -> Occasion {
    Occasion {
        event,
        vmpl,
        cpu: 0,
        detail: 0,
    }
}

#[test]
fn the_first_rule_that_fits_acts_and_all_count() {
    let engine = engine("psc vmpl=0: drop\npsc: fail\npsc vmpl=2 nth=2: unmoved\n");
    let decide = |vmpl| {
        engine
            .decide(&occasion(Event::PageState, vmpl))
            .map(|decision| decision.line)
    };
    assert_eq!(decide(0), Some(1));
    assert_eq!(decide(2), Some(2));
    assert_eq!(decide(2), Some(2), "the third rule is never first");
    assert_eq!(engine.decide(&occasion(Event::Terminate, 0)), None);
    let counted: Vec<_> = engine
        .records()
        .map(|record| (record.seen, record.acted))
        .collect();
    assert_eq!(counted, [(1, 1), (3, 2), (2, 0)]);
}

#[test]
fn at_an_exit_all_rules_act() {
    let engine = engine("exit: stop\nexit nth=2: signal\n");
    let count = || {
        let mut count = 0;
        engine.decide_all(&occasion(Event::Exit, 0), |_| count += 1);
        count
    };
    assert_eq!([count(), count(), count()], [1, 2, 1]);
}

#[test]
fn chance_acts_where_no_rule_does_and_is_the_same_for_a_seed() {
    let run = |seed: u64| {
        let text = std::format!("psc nth=1: drop\nfuzz seed={seed} rate=1/2 exits=1/4");
        let engine = engine(&text);
        let mut acts = Vec::new();
        for number in 0..200 {
            let event = Event::ALL[number % Event::ALL.len()];
            acts.push(engine.decide(&occasion(event, 0)));
        }
        let by_chance = engine.records().last().unwrap();
        assert_eq!((by_chance.line, by_chance.text), (0, "fuzz"));
        assert!(by_chance.acted > 20, "{}", by_chance.acted);
        acts
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
    // The launch is not left to chance, nor is anything that ends the run by itself.
    for (number, act) in run(9).into_iter().enumerate() {
        let event = Event::ALL[number % Event::ALL.len()];
        let Some(Decision { action, .. }) = act else {
            continue;
        };
        assert!(!event.is_launch());
        assert!(!matches!(action, Action::Stop | Action::Ignore));
    }
}

#[test]
fn places_are_of_the_image() {
    let engine = engine("");
    assert_eq!(engine.page(Place::AnySvsm, None), None);
    for page in 0..5 {
        engine.placed(0x10_0000 + page * PAGE);
    }
    engine.placed(SVSM_BASE);
    engine.placed(SVSM_BASE + PAGE);
    for _ in 0..50 {
        let guest = engine.page(Place::AnyGuest, None).unwrap();
        assert!((0x10_0000..0x10_5000).contains(&guest) && guest.is_multiple_of(PAGE));
        let svsm = engine.page(Place::AnySvsm, None).unwrap();
        assert!([SVSM_BASE, SVSM_BASE + PAGE].contains(&svsm));
    }
    assert_eq!(engine.page(Place::Address(0x1234), None), Some(0x1000));
    assert_eq!(engine.page(Place::Ghcb, None), None);
    assert_eq!(engine.page(Place::Ghcb, Some(0x7000)), Some(0x7000));
}
