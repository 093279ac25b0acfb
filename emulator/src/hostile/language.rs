// SPDX-License-Identifier: MIT OR Apache-2.0
//! The language of scripts: one rule a line.
//!
//! ```text
//! script  = { line }
//! line    = [ rule | chance | "seed" number ] [ "#" comment ]
//! rule    = event { condition } ":" action { argument }
//! chance  = "fuzz" { "seed=" number | "rate=" number "/" number | "exits=" number "/" number }
//! ```
//! Conditions and arguments are `key=value`. `docs/src/emulator/hostile-host.md` has the tables.

use alloc::vec::Vec;
use core::fmt;

use super::action::{Action, Place};
use super::event::{Event, Occasion};
use super::words::{Source, Word, build};

/// The most rules that a script may have.
const MOST_RULES: usize = 256;

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule<'a> {
    /// Number of its line, from 1.
    pub line: u32,
    /// The line, without a comment.
    pub text: &'a str,
    /// When it may act.
    pub when: When,
    /// What it does.
    pub action: Action,
}

/// When a rule acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When {
    /// The event.
    pub event: Event,
    /// Only at this VMPL.
    pub vmpl: Option<u8>,
    /// Only on this vCPU.
    pub cpu: Option<u32>,
    /// Only with this detail.
    pub detail: Option<u64>,
    /// The first of the occasions that it acts at, from 1.
    pub from: u64,
    /// From then on, at every one, every second one, and so on.
    pub every: u64,
    /// How often it acts at most.
    pub times: u64,
}

/// Rules that nobody wrote: any action, at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chance {
    /// Where the random numbers start.
    pub seed: u64,
    /// How often a request is answered wrongly: so many times out of so many.
    pub rate: (u32, u32),
    /// How often something happens at an exit.
    pub exits: (u32, u32),
}

/// A script.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script<'a> {
    /// Its rules, in order: the first that fits is followed.
    pub rules: Vec<Rule<'a>>,
    /// What chance does where none fits.
    pub chance: Option<Chance>,
    /// Where random numbers start that a rule needs.
    pub seed: Option<u64>,
}

/// What is wrong with a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error<'a> {
    /// Number of the line, from 1; 0 for the whole script.
    pub line: u32,
    /// What is wrong.
    pub wrong: Wrong<'a>,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong<'a> {
    /// The script is not UTF-8.
    NotText,
    /// There are too many rules.
    TooMany,
    /// No colon.
    NoAction,
    /// There is no such event.
    Event(&'a str),
    /// There is no such action.
    Action(&'a str),
    /// The action can't be done about the event.
    Unfit(&'a str, &'static str),
    /// A word is no `key=value`.
    NoValue(&'a str),
    /// A key means nothing here, or is there twice.
    Key(&'a str),
    /// The value is out of range or has the wrong form.
    Value(&'a str, &'a str),
    /// The action takes this argument.
    Missing(&'static str),
}

impl fmt::Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line != 0 {
            write!(f, "line {} of the hostile host's script: ", self.line)?;
        }
        match self.wrong {
            Wrong::NotText => write!(f, "the hostile host's script is not text"),
            Wrong::TooMany => write!(f, "there are more than {MOST_RULES} rules"),
            Wrong::NoAction => write!(f, "a rule is `event: action`"),
            Wrong::Event(name) => write!(f, "there is no event `{name}`"),
            Wrong::Action(name) => write!(f, "there is no action `{name}`"),
            Wrong::Unfit(action, event) => write!(f, "`{action}` can't be done about `{event}`"),
            Wrong::NoValue(word) => write!(f, "`{word}` is no `key=value`"),
            Wrong::Key(key) => write!(f, "`{key}` means nothing here, or is there twice"),
            Wrong::Value(key, value) => write!(f, "`{key}` can't be `{value}`"),
            Wrong::Missing(key) => write!(f, "the action takes `{key}=`"),
        }
    }
}

impl core::error::Error for Error<'_> {}

impl<'a> Script<'a> {
    /// Parses a script.
    ///
    /// # Errors
    /// The first line that is wrong, and why.
    ///
    /// ```
    /// # use emulator::hostile::Script;
    /// let script = Script::parse(b"psc vmpl=0 nth=2: drop # the populate list\n").unwrap();
    /// assert_eq!(script.rules.len(), 1);
    /// let wrong = Script::parse(b"\npsc: replay\n").unwrap_err().to_string();
    /// assert!(wrong.ends_with("line 2 of the hostile host's script: `replay` can't be done about `psc`"));
    /// ```
    pub fn parse(text: &'a [u8]) -> Result<Self, Error<'a>> {
        let whole = |wrong| Error { line: 0, wrong };
        let text = core::str::from_utf8(text).map_err(|_| whole(Wrong::NotText))?;
        let mut script = Self::default();
        for (count, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or("").trim();
            let at = |wrong| Error { line: count, wrong };
            if line.is_empty() {
            } else if let Some(rest) = line.strip_prefix("fuzz")
                && !line.contains(':')
            {
                script.chance = Some(Chance::parse(rest).map_err(at)?);
            } else if let Some(value) = line.strip_prefix("seed ") {
                script.seed = Some(number("seed", value.trim(), u64::MAX).map_err(at)?);
            } else if script.rules.len() == MOST_RULES {
                return Err(whole(Wrong::TooMany));
            } else {
                script.rules.push(Rule::parse(count, line).map_err(at)?);
            }
        }
        Ok(script)
    }
}

impl<'a> Rule<'a> {
    fn parse(line: u32, text: &'a str) -> Result<Self, Wrong<'a>> {
        let (left, right) = text.split_once(':').ok_or(Wrong::NoAction)?;
        let (event, conditions) = first_word(left);
        let event = Event::find(event).ok_or(Wrong::Event(event))?;
        let (name, arguments) = first_word(right);
        let word = Word::find(name).ok_or(Wrong::Action(name))?;
        if !word.events.has(event) {
            return Err(Wrong::Unfit(name, event.name()));
        }
        let mut arguments = Words::new(arguments)?;
        let action = build(name, &mut arguments)?.ok_or(Wrong::Action(name))?;
        arguments.finish()?;
        Ok(Self {
            line,
            text,
            when: When::parse(event, conditions)?,
            action,
        })
    }
}

impl When {
    fn parse(event: Event, text: &str) -> Result<Self, Wrong<'_>> {
        let mut words = Words::new(text)?;
        let mut small = |key, most| match words.take(key) {
            Some(value) => number(key, value, most).map(Some),
            None => Ok(None),
        };
        let vmpl = small("vmpl", 3)?.map(|vmpl| vmpl as u8);
        let cpu = small("cpu", 63)?.map(|cpu| cpu as u32);
        let nth = small("nth", u64::MAX)?;
        let from = small("from", u64::MAX)?;
        let every = small("every", u64::MAX)?;
        let times = small("times", u64::MAX)?;
        let detail = match event {
            Event::PageState => match words.take("op") {
                None => None,
                Some("private") => Some(snp_defs::psc::OP_PRIVATE.into()),
                Some("shared") => Some(snp_defs::psc::OP_SHARED.into()),
                Some(other) => return Err(Wrong::Value("op", other)),
            },
            Event::Exit => match words.take("code") {
                None => None,
                Some(value) => Some(number("code", value, u64::MAX)?),
            },
            Event::ImagePage => match words.take("gpa") {
                None => None,
                Some(value) => match place(value) {
                    Some(Place::Address(gpa)) => Some(gpa),
                    Some(Place::Svsm(offset)) => Some(emulator_defs::layout::SVSM_BASE + offset),
                    _ => return Err(Wrong::Value("gpa", value)),
                },
            },
            _ => None,
        };
        words.finish()?;
        if nth.is_some() && (from.is_some() || every.is_some()) {
            return Err(Wrong::Key("nth"));
        }
        let positive = |key, value: Option<u64>, default| match value {
            Some(0) => Err(Wrong::Value(key, "0")),
            value => Ok(value.unwrap_or(default)),
        };
        Ok(Self {
            event,
            vmpl,
            cpu,
            detail,
            from: positive("from", nth.or(from), 1)?,
            every: positive("every", every, 1)?,
            times: positive("times", times.or(nth.map(|_| 1)), u64::MAX)?,
        })
    }

    /// Whether this is one of the occasions that are counted.
    pub fn concerns(&self, occasion: &Occasion) -> bool {
        self.event == occasion.event
            && self.vmpl.is_none_or(|vmpl| vmpl == occasion.vmpl)
            && self.cpu.is_none_or(|cpu| cpu == occasion.cpu)
            && self.detail.is_none_or(|detail| detail == occasion.detail)
    }

    /// Whether it acts at the occasion with this number, from 1, having acted `acted` times.
    pub fn acts(&self, number: u64, acted: u64) -> bool {
        number >= self.from && (number - self.from).is_multiple_of(self.every) && acted < self.times
    }
}

impl Chance {
    fn parse(text: &str) -> Result<Self, Wrong<'_>> {
        let mut words = Words::new(text)?;
        let mut chances = |key, default| match words.take(key) {
            None => Ok(default),
            Some(value) => value
                .split_once('/')
                .and_then(|(count, of)| Some((count.parse().ok()?, of.parse().ok()?)))
                .filter(|&(count, of): &(u32, u32)| count <= of && of != 0)
                .ok_or(Wrong::Value(key, value)),
        };
        let rate = chances("rate", (1, 50))?;
        let exits = chances("exits", (1, 5000))?;
        let seed = match words.take("seed") {
            Some(value) => number("seed", value, u64::MAX)?,
            None => 1,
        };
        words.finish()?;
        Ok(Self { seed, rate, exits })
    }
}

/// The first word of a text, and the rest.
fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_once(char::is_whitespace).unwrap_or((text, ""))
}

/// A number, decimal or, after `0x`, hexadecimal.
fn number<'a>(key: &'a str, text: &'a str, most: u64) -> Result<u64, Wrong<'a>> {
    parse_number(text)
        .filter(|&value| value <= most)
        .ok_or(Wrong::Value(key, text))
}

fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A page: `0x1000`, `svsm`, `svsm+0x1000`, `ghcb`, `any-svsm`, `any-guest`.
fn place(text: &str) -> Option<Place> {
    Some(match text {
        "ghcb" => Place::Ghcb,
        "svsm" => Place::Svsm(0),
        "any-svsm" => Place::AnySvsm,
        "any-guest" => Place::AnyGuest,
        _ => match text.strip_prefix("svsm+") {
            Some(offset) => Place::Svsm(
                parse_number(offset)
                    .filter(|&offset| offset < emulator_defs::layout::SVSM_MAX_SIZE)?,
            ),
            None => Place::Address(parse_number(text)?),
        },
    })
}

/// The words `key=value` of a line.
struct Words<'a> {
    words: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    fn new(text: &'a str) -> Result<Self, Wrong<'a>> {
        let mut words: Vec<(&str, &str)> = Vec::new();
        for word in text.split_whitespace() {
            let (key, value) = word.split_once('=').ok_or(Wrong::NoValue(word))?;
            if words.iter().any(|(known, _)| *known == key) {
                return Err(Wrong::Key(key));
            }
            words.push((key, value));
        }
        Ok(Self { words })
    }

    fn take(&mut self, key: &str) -> Option<&'a str> {
        let at = self.words.iter().position(|(known, _)| *known == key)?;
        Some(self.words.swap_remove(at).1)
    }

    /// Nothing may be left over.
    fn finish(&self) -> Result<(), Wrong<'a>> {
        match self.words.first() {
            Some((key, _)) => Err(Wrong::Key(key)),
            None => Ok(()),
        }
    }
}

impl<'a> Source for Words<'a> {
    type Wrong = Wrong<'a>;

    fn place(&mut self, key: &'static str) -> Result<Place, Wrong<'a>> {
        let value = self.take(key).ok_or(Wrong::Missing(key))?;
        place(value).ok_or(Wrong::Value(key, value))
    }

    fn number(
        &mut self,
        key: &'static str,
        default: Option<u64>,
        most: u64,
    ) -> Result<u64, Wrong<'a>> {
        match (self.take(key), default) {
            (Some(value), _) => number(key, value, most),
            (None, Some(default)) => Ok(default),
            (None, None) => Err(Wrong::Missing(key)),
        }
    }
}

#[cfg(test)]
mod tests;
