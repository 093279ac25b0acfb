// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which rule acts: a script while it is followed. Shared by all vCPUs; counters are atomic, and what else is kept
//! has a lock of its own.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use spin::Mutex;

use super::action::{Action, Place};
use super::event::{Event, Occasion};
use super::language::{Chance, Rule, Script};
use super::mailbox::Mailbox;
use super::random::Random;
use super::words::{Source, WORDS, build};
use emulator_defs::layout::SVSM_BASE;
use snp_defs::rmp::RmpSize;

/// How often an act is logged at the level that is shown, for each rule.
const TOLD: u64 = 8;
/// The most separate runs of pages of the image that are remembered.
const MOST_RUNS: usize = 64;
const PAGE: u64 = 4096;

/// A rule and how it fares.
#[derive(Debug)]
struct Followed<'a> {
    rule: Rule<'a>,
    seen: AtomicU64,
    acted: AtomicU64,
}

/// How a rule fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Number of its line; 0 for chance.
    pub line: u32,
    /// The line.
    pub text: &'a str,
    /// Occasions that it was for.
    pub seen: u64,
    /// How often it acted.
    pub acted: u64,
}

/// What is done, and by which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Number of the rule's line; 0 for chance.
    pub line: u32,
    /// What is done.
    pub action: Action,
}

/// A script that is followed.
#[derive(Debug)]
pub struct Engine<'a> {
    rules: Vec<Followed<'a>>,
    chance: Option<Chance>,
    by_chance: AtomicU64,
    random: Random,
    /// Runs of pages that the image fills: first address and number of pages.
    image: Mutex<Vec<(u64, u64)>>,
    /// Messages to the firmware.
    pub(super) mailbox: Mutex<Mailbox>,
    /// Pages that are assigned once more when the guest asks for something else.
    pub(super) again: Mutex<Vec<(u64, RmpSize)>>,
}

impl<'a> Engine<'a> {
    /// Follows `script`. `seed` is where random numbers start unless the script says it.
    pub fn new(script: Script<'a>, seed: u64) -> Self {
        let seed = script.seed.unwrap_or(seed);
        let seed = script.chance.map_or(seed, |chance| chance.seed);
        Self {
            rules: script
                .rules
                .into_iter()
                .map(|rule| Followed {
                    rule,
                    seen: AtomicU64::new(0),
                    acted: AtomicU64::new(0),
                })
                .collect(),
            chance: script.chance,
            by_chance: AtomicU64::new(0),
            random: Random::new(seed),
            image: Mutex::new(Vec::new()),
            mailbox: Mutex::new(Mailbox::new()),
            again: Mutex::new(Vec::new()),
        }
    }

    /// What is to be done at `occasion`, if anything: the first rule that acts, or chance. All rules count the
    /// occasion.
    pub fn decide(&self, occasion: &Occasion) -> Option<Decision> {
        let mut decided = None;
        self.each(occasion, |decision| {
            decided.get_or_insert(decision);
            false
        });
        decided.or_else(|| self.by_chance(occasion))
    }

    /// The same, where several things can be done at once.
    pub fn decide_all(&self, occasion: &Occasion, mut act: impl FnMut(Decision)) {
        self.each(occasion, |decision| {
            act(decision);
            true
        });
        if let Some(decision) = self.by_chance(occasion) {
            act(decision);
        }
    }

    /// Calls `act` for the rules that act, until it says no.
    fn each(&self, occasion: &Occasion, mut act: impl FnMut(Decision) -> bool) {
        let mut open = true;
        for Followed { rule, seen, acted } in &self.rules {
            if !rule.when.concerns(occasion) {
                continue;
            }
            let number = seen.fetch_add(1, Ordering::Relaxed) + 1;
            if !open || !rule.when.acts(number, acted.load(Ordering::Relaxed)) {
                continue;
            }
            let times = acted.fetch_add(1, Ordering::Relaxed) + 1;
            tell(rule.line, times, occasion, rule.action);
            open = act(Decision {
                line: rule.line,
                action: rule.action,
            });
        }
    }

    fn by_chance(&self, occasion: &Occasion) -> Option<Decision> {
        let chance = self.chance?;
        let event = occasion.event;
        let rate = if event == Event::Exit {
            chance.exits
        } else {
            chance.rate
        };
        if event.is_launch() || !self.random.happens(rate) {
            return None;
        }
        let words = || {
            WORDS
                .iter()
                .filter(|word| word.by_chance && word.events.has(event))
        };
        let word = words().nth(self.random.below(words().count() as u64) as usize)?;
        let Ok(action) = build(word.name, &mut ByChance(&self.random));
        let action = action?;
        let times = self.by_chance.fetch_add(1, Ordering::Relaxed) + 1;
        tell(0, times, occasion, action);
        Some(Decision { line: 0, action })
    }

    /// Random numbers.
    pub const fn random(&self) -> &Random {
        &self.random
    }

    /// How the rules fared, in order, and chance.
    pub fn records(&self) -> impl Iterator<Item = Record<'a>> {
        let chance = self.chance.map(|_| Record {
            line: 0,
            text: "fuzz",
            seen: self.by_chance.load(Ordering::Relaxed),
            acted: self.by_chance.load(Ordering::Relaxed),
        });
        self.rules
            .iter()
            .map(|followed| Record {
                line: followed.rule.line,
                text: followed.rule.text,
                seen: followed.seen.load(Ordering::Relaxed),
                acted: followed.acted.load(Ordering::Relaxed),
            })
            .chain(chance)
    }

    /// The image fills the page at `gpa`: places like `any-svsm` choose among those.
    pub fn placed(&self, gpa: u64) {
        let mut image = self.image.lock();
        let next_to = |(first, pages): &&mut (u64, u64)| *first + *pages * PAGE == gpa;
        if let Some((_, pages)) = image.iter_mut().find(next_to) {
            *pages += 1;
        } else if image.len() < MOST_RUNS {
            image.push((gpa, 1));
        }
    }

    /// The page that a script means; `ghcb` is that of the vCPU and VMPL at hand. None where there is none.
    pub fn page(&self, place: Place, ghcb: Option<u64>) -> Option<u64> {
        match place {
            Place::Address(gpa) => Some(gpa & !(PAGE - 1)),
            Place::Svsm(offset) => Some((SVSM_BASE + offset) & !(PAGE - 1)),
            Place::Ghcb => ghcb,
            Place::AnySvsm => self.any(|gpa| gpa >= SVSM_BASE),
            Place::AnyGuest => self.any(|gpa| gpa < SVSM_BASE),
        }
    }

    fn any(&self, fits: impl Fn(u64) -> bool) -> Option<u64> {
        let image = self.image.lock();
        let runs = || image.iter().filter(|(first, _)| fits(*first));
        let mut number = self.random.below(runs().map(|(_, pages)| pages).sum());
        runs().find_map(|&(first, pages)| {
            if number < pages {
                return Some(first + number * PAGE);
            }
            number -= pages;
            None
        })
    }
}

/// Logs an act.
fn tell(line: u32, times: u64, occasion: &Occasion, action: Action) {
    let level = if times <= TOLD {
        log::Level::Info
    } else {
        log::Level::Debug
    };
    let Occasion {
        event,
        vmpl,
        cpu,
        detail,
    } = *occasion;
    let rule = Line(line);
    log::log!(
        level,
        "hostile host, {rule}: {action:x?} at {} of VMPL{vmpl} on vCPU {cpu} ({detail:#x})",
        event.name()
    );
}

/// Whose act it is.
struct Line(u32);

impl core::fmt::Display for Line {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            0 => f.write_str("by chance"),
            line => write!(f, "line {line}"),
        }
    }
}

/// Arguments by chance.
struct ByChance<'a>(&'a Random);

impl Source for ByChance<'_> {
    type Wrong = core::convert::Infallible;

    fn place(&mut self, _: &'static str) -> Result<Place, Self::Wrong> {
        Ok(match self.0.below(10) {
            0 => Place::Ghcb,
            1..=5 => Place::AnySvsm,
            _ => Place::AnyGuest,
        })
    }

    fn number(&mut self, key: &'static str, _: Option<u64>, most: u64) -> Result<u64, Self::Wrong> {
        let bits = self.0.below(64);
        Ok(match key {
            "cpu" => self.0.below(4),
            "steps" => 1 + self.0.below(64),
            // Small numbers as often as large ones.
            _ => (self.0.next() >> bits).min(most),
        })
    }
}

#[cfg(test)]
mod tests;
