// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scripts, right and wrong.

extern crate std;

use super::*;
use proptest::prelude::*;
use std::string::{String, ToString};

fn rule(text: &str) -> Rule<'_> {
    let script = Script::parse(text.as_bytes()).unwrap();
    assert_eq!(script.rules.len(), 1);
    script.rules[0].clone()
}

fn wrong(text: &str) -> Wrong<'_> {
    Script::parse(text.as_bytes()).unwrap_err().wrong
}

#[test]
fn a_rule_has_an_event_conditions_and_an_action() {
    let rule = rule("psc vmpl=0 cpu=3 op=private from=2 every=3 times=4 : fail code=0x100 # why");
    assert_eq!(
        rule.when,
        When {
            event: Event::PageState,
            vmpl: Some(0),
            cpu: Some(3),
            detail: Some(1),
            from: 2,
            every: 3,
            times: 4,
        }
    );
    assert_eq!(rule.action, Action::Fail { code: 0x100 });
    assert_eq!(
        rule.text,
        "psc vmpl=0 cpu=3 op=private from=2 every=3 times=4 : fail code=0x100"
    );
}

#[test]
fn nth_is_once_and_nothing_is_always() {
    let acts = |text: &str| {
        let when = rule(text).when;
        let mut acted = 0;
        (1..=8)
            .filter(|&number| {
                let acts = when.acts(number, acted);
                acted += u64::from(acts);
                acts
            })
            .collect::<Vec<u64>>()
    };
    assert_eq!(acts("psc: drop"), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(acts("psc nth=3: drop"), [3]);
    assert_eq!(acts("psc from=6: drop"), [6, 7, 8]);
    assert_eq!(acts("psc every=3: drop"), [1, 4, 7]);
    assert_eq!(acts("psc from=2 every=2 times=2: drop"), [2, 4]);
    assert_eq!(acts("psc times=1: drop"), [1]);
}

#[test]
fn pages_have_names() {
    let gpa = |text: &str| match rule(&["exit: unassign gpa=", text].concat()).action {
        Action::Unassign { gpa } => gpa,
        other => panic!("{other:?}"),
    };
    assert_eq!(gpa("0x5000"), Place::Address(0x5000));
    assert_eq!(gpa("4096"), Place::Address(4096));
    assert_eq!(gpa("svsm"), Place::Svsm(0));
    assert_eq!(gpa("svsm+0x1000"), Place::Svsm(0x1000));
    assert_eq!(gpa("ghcb"), Place::Ghcb);
    assert_eq!(gpa("any-svsm"), Place::AnySvsm);
    assert_eq!(gpa("any-guest"), Place::AnyGuest);
    assert_eq!(
        rule("image-page gpa=svsm+0x2000: flip").when.detail,
        Some(0x80_0000_2000)
    );
}

#[test]
fn chance_has_a_seed_and_rates() {
    let chance = |text: &str| Script::parse(text.as_bytes()).unwrap().chance;
    let expected = Chance {
        seed: 7,
        rate: (1, 20),
        exits: (2, 1000),
    };
    assert_eq!(chance("fuzz seed=7 rate=1/20 exits=2/1000"), Some(expected));
    assert_eq!(chance("fuzz").map(|chance| chance.seed), Some(1));
    assert_eq!(chance("# nothing\n\n"), None);
    assert_eq!(wrong("fuzz rate=3/2"), Wrong::Value("rate", "3/2"));
    assert_eq!(wrong("fuzz rate=1/0"), Wrong::Value("rate", "1/0"));
    assert_eq!(wrong("fuzz often"), Wrong::NoValue("often"));
    assert_eq!(wrong("fuzzy: drop"), Wrong::Event("fuzzy"));
}

#[test]
fn a_script_without_chance_has_a_seed_too() {
    let script = Script::parse(b"seed 0x10\nguest-request: corrupt\n").unwrap();
    assert_eq!((script.seed, script.rules.len()), (Some(16), 1));
    assert_eq!(wrong("seed often"), Wrong::Value("seed", "often"));
}

#[test]
fn wrong_scripts_are_refused() {
    for (text, error) in [
        ("psc", Wrong::NoAction),
        ("plague: drop", Wrong::Event("plague")),
        ("psc: pray", Wrong::Action("pray")),
        ("psc: ", Wrong::Action("")),
        ("psc: replay", Wrong::Unfit("replay", "psc")),
        ("exit: drop", Wrong::Unfit("drop", "exit")),
        ("psc always: drop", Wrong::NoValue("always")),
        ("psc mood=bad: drop", Wrong::Key("mood")),
        ("psc nth=1 nth=2: drop", Wrong::Key("nth")),
        ("psc nth=1 every=2: drop", Wrong::Key("nth")),
        ("psc nth=0: drop", Wrong::Value("from", "0")),
        ("psc every=0: drop", Wrong::Value("every", "0")),
        ("psc vmpl=4: drop", Wrong::Value("vmpl", "4")),
        ("psc op=sideways: drop", Wrong::Value("op", "sideways")),
        ("psc code=1: drop", Wrong::Key("code")),
        ("psc: drop hard=1", Wrong::Key("hard")),
        ("psc: fail code=x", Wrong::Value("code", "x")),
        ("exit: unassign", Wrong::Missing("gpa")),
        (
            "exit: unassign gpa=svsm+0x1000000",
            Wrong::Value("gpa", "svsm+0x1000000"),
        ),
        ("exit: remap gpa=0", Wrong::Missing("to")),
        ("image-page gpa=ghcb: flip", Wrong::Value("gpa", "ghcb")),
    ] {
        assert_eq!(wrong(text), error, "{text}");
    }
    assert_eq!(Script::parse(&[0xFF]).unwrap_err().wrong, Wrong::NotText);
    let error = Script::parse(b"\n\npsc: pray").unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 3 of the hostile host's script: there is no action `pray`"
    );
    let many = "psc: drop\n".repeat(MOST_RULES + 1);
    assert_eq!(wrong(&many), Wrong::TooMany);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Whatever the file holds, it is a script or refused.
    #[test]
    fn any_text(text in "[a-z-]{1,12}( [a-z]{1,6}=[0-9a-fx+/]{1,6}){0,3} ?:? ?[a-z-]{0,12}( [a-z]{1,4}=[0-9a-z+]{1,8}){0,2}") {
        let _ = Script::parse(text.as_bytes());
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Script::parse(&bytes);
    }

    /// Every action fits at least into the rule that it was made for.
    #[test]
    fn any_rule(word in 0..super::super::words::WORDS.len(), event in 0..Event::ALL.len(), number in 0..4_u64) {
        let word = super::super::words::WORDS[word];
        let event = Event::ALL[event];
        let mut text = String::from(event.name());
        text.push_str(": ");
        text.push_str(word.name);
        for key in ["gpa", "to", "from"] {
            if matches!((word.name, key),
                ("unassign" | "reassign" | "exchange" | "withhold" | "remap" | "double-map" | "other-vmsa", "gpa")
                | ("remap" | "double-map", "to") | ("steal", "from"))
            {
                text.push_str(&std::format!(" {key}=svsm+0x1000"));
            }
        }
        for (name, key) in [("answer", "value"), ("twice", "cpu"), ("other-cpu", "cpu"),
            ("other-vmpl", "vmpl"), ("length", "pages"), ("inject", "vector"), ("hide", "leaf")]
        {
            if word.name == name {
                text.push_str(&std::format!(" {key}={number}"));
            }
        }
        prop_assert_eq!(Script::parse(text.as_bytes()).is_ok(), word.events.has(event), "{}", text);
    }
}
