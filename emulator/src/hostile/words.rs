// SPDX-License-Identifier: MIT OR Apache-2.0
//! Actions by their names: what each can be done about, and what it takes. Scripts are made of them,
//! and chance chooses among them.

use super::action::{Action, Place};
use super::event::{Event, Events};

/// Where the arguments of an action come from: a script, or chance.
pub trait Source {
    /// What is wrong with an argument.
    type Wrong;

    /// The page called `key`.
    ///
    /// # Errors
    /// It is missing or wrong.
    fn place(&mut self, key: &'static str) -> Result<Place, Self::Wrong>;

    /// The number called `key`, at most `most`.
    ///
    /// # Errors
    /// It is wrong, or missing where there is no `default`.
    fn number(
        &mut self,
        key: &'static str,
        default: Option<u64>,
        most: u64,
    ) -> Result<u64, Self::Wrong>;
}

/// An action as the language has it.
#[derive(Debug, Clone, Copy)]
pub struct Word {
    /// Its name.
    pub name: &'static str,
    /// What it can be done about.
    pub events: Events,
    /// Chance may choose it: it does not end the run by itself.
    pub by_chance: bool,
}

const fn word(name: &'static str, events: &[Event]) -> Word {
    Word {
        name,
        events: Events::of(events),
        by_chance: true,
    }
}

const fn deliberate(name: &'static str, events: &[Event]) -> Word {
    Word {
        by_chance: false,
        ..word(name, events)
    }
}

use Event as E;

/// Requests of the guest that have an answer.
const REQUESTS: &[Event] = &[
    E::SevInfo,
    E::HvFeatures,
    E::RegisterGhcb,
    E::Cpuid,
    E::PageState,
    E::ApCreation,
    E::GuestRequest,
    E::RunVmpl,
    E::PortIn,
];
const PAGES: &[Event] = &[E::Exit];

/// All actions.
pub const WORDS: [Word; 43] = [
    word("drop", REQUESTS),
    word("fail", REQUESTS),
    word("answer", REQUESTS),
    word(
        "noise",
        &[
            E::SevInfo,
            E::HvFeatures,
            E::RegisterGhcb,
            E::Cpuid,
            E::PageState,
            E::ApCreation,
            E::GuestRequest,
            E::RunVmpl,
            E::PortIn,
            E::MemoryMap,
        ],
    ),
    deliberate("ignore", &[E::Terminate]),
    word("pause", &[E::PageState]),
    word("unmoved", &[E::PageState]),
    word("backwards", &[E::PageState]),
    word("shorten", &[E::PageState]),
    word("contrary", &[E::PageState]),
    word("small", &[E::PageState]),
    word("repeat", &[E::PageState]),
    word("steal", &[E::PageState]),
    word("twice", &[E::ApCreation]),
    word("other-cpu", &[E::ApCreation]),
    word("other-vmsa", &[E::ApCreation]),
    word("other-vmpl", &[E::ApCreation]),
    word("replay", &[E::GuestRequest]),
    word("ask-twice", &[E::GuestRequest]),
    word("corrupt", &[E::GuestRequest]),
    word("truncate", &[E::GuestRequest]),
    word("busy", &[E::GuestRequest]),
    word("served-busy", &[E::GuestRequest]),
    word("length", &[E::GuestRequest]),
    word("scribble", &[E::Answer]),
    word("unassign", PAGES),
    word("reassign", PAGES),
    word("exchange", PAGES),
    deliberate("withhold", PAGES),
    word("remap", PAGES),
    deliberate("double-map", PAGES),
    deliberate("inject", PAGES),
    word("signal", PAGES),
    word("resume", PAGES),
    deliberate("stop", PAGES),
    deliberate("missing", &[E::MemoryMap]),
    deliberate("short", &[E::MemoryMap]),
    deliberate("overlap", &[E::MemoryMap]),
    deliberate("hide", &[E::CpuidPage]),
    deliberate("flip", &[E::ImagePage]),
    // Names that read better for some events.
    deliberate("refuse", REQUESTS),
    deliberate("none", &[E::HvFeatures]),
    deliberate("lie", &[E::Cpuid]),
];

impl Word {
    /// The word with this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        WORDS.iter().find(|word| word.name == name)
    }
}

/// The action called `name`, with its arguments from `source`; none where the name is none.
///
/// # Errors
/// An argument is missing or wrong.
pub fn build<S: Source>(name: &str, source: &mut S) -> Result<Option<Action>, S::Wrong> {
    const ANY: u64 = u64::MAX;
    Ok(Some(match name {
        "drop" => Action::Drop,
        "fail" => Action::Fail {
            code: source.number("code", Some(1), u32::MAX.into())?,
        },
        "refuse" | "none" => Action::Fail { code: 1 },
        "answer" => Action::Answer {
            value: source.number("value", None, ANY)?,
        },
        "noise" | "lie" => Action::Noise,
        "ignore" => Action::Ignore,
        "pause" => Action::Pause,
        "unmoved" => Action::Unmoved,
        "backwards" => Action::Backwards,
        "shorten" => Action::Shorten,
        "contrary" => Action::Contrary,
        "small" => Action::Small,
        "repeat" => Action::Repeat,
        "steal" => Action::Steal {
            from: source.place("from")?,
        },
        "twice" => Action::Twice {
            cpu: source.number("cpu", None, 63)? as u32,
        },
        "other-cpu" => Action::OtherCpu {
            cpu: source.number("cpu", None, 63)? as u32,
        },
        "other-vmsa" => Action::OtherVmsa {
            gpa: source.place("gpa")?,
        },
        "other-vmpl" => Action::OtherVmpl {
            vmpl: source.number("vmpl", None, 3)? as u8,
        },
        "replay" => Action::Replay,
        "ask-twice" => Action::AskTwice,
        "corrupt" => Action::Corrupt,
        "truncate" => Action::Truncate,
        "busy" => Action::Busy,
        "served-busy" => Action::ServedBusy,
        "length" => Action::Length {
            pages: source.number("pages", None, ANY)?,
        },
        "scribble" => Action::Scribble {
            steps: source.number("steps", Some(64), 4096)? as u32,
        },
        "unassign" => Action::Unassign {
            gpa: source.place("gpa")?,
        },
        "reassign" => Action::Reassign {
            gpa: source.place("gpa")?,
        },
        "exchange" => Action::Exchange {
            gpa: source.place("gpa")?,
        },
        "withhold" => Action::Withhold {
            gpa: source.place("gpa")?,
        },
        "remap" => Action::Remap {
            gpa: source.place("gpa")?,
            to: source.place("to")?,
        },
        "double-map" => Action::DoubleMap {
            gpa: source.place("gpa")?,
            to: source.place("to")?,
        },
        "inject" => Action::Inject {
            vector: source.number("vector", None, 255)? as u8,
        },
        "signal" => Action::Signal,
        "resume" => Action::Resume {
            vmpl: source.number("vmpl", Some(0), 3)? as u8,
        },
        "stop" => Action::Stop,
        "missing" => Action::Missing,
        "short" => Action::Short,
        "overlap" => Action::Overlap,
        "hide" => Action::Hide {
            leaf: source.number("leaf", None, u32::MAX.into())? as u32,
        },
        "flip" => Action::Flip,
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::collections::BTreeSet;

    /// Says one to everything.
    struct One;

    impl Source for One {
        type Wrong = ();

        fn place(&mut self, _: &'static str) -> Result<Place, ()> {
            Ok(Place::Ghcb)
        }

        fn number(&mut self, _: &'static str, _: Option<u64>, most: u64) -> Result<u64, ()> {
            assert!(most >= 1);
            Ok(1)
        }
    }

    #[test]
    fn every_word_is_an_action_and_is_there_once() {
        let mut names = BTreeSet::new();
        for word in WORDS {
            assert!(names.insert(word.name), "{}", word.name);
            assert!(
                matches!(build(word.name, &mut One), Ok(Some(_))),
                "{}",
                word.name
            );
            assert!(Event::ALL.into_iter().any(|event| word.events.has(event)));
        }
        assert_eq!(build("repent", &mut One), Ok(None));
    }

    #[test]
    fn there_is_something_to_do_at_every_request() {
        for event in REQUESTS {
            assert!(
                WORDS
                    .iter()
                    .filter(|word| word.by_chance && word.events.has(*event))
                    .count()
                    >= 3
            );
        }
    }
}
