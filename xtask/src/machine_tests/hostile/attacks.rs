// SPDX-License-Identifier: MIT OR Apache-2.0
//! The attacks, and how each has to end.

mod firmware;
mod launch;
mod pages;

use emulator_defs::exit::RunEnd;

use super::lab::Outcome;

pub(super) use firmware::{FIRMWARE, VCPUS};
pub(super) use launch::{ANSWERS, LAUNCH};
pub(super) use pages::{CHANCE, PAGES_OF_THE_GUEST, PAGES_OF_THE_SVSM};

/// A script and what has to come of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attack {
    /// What is tried.
    pub(super) name: &'static str,
    /// Number of vCPUs.
    pub(super) cpus: Cpus,
    /// The script, with names of places in braces.
    pub(super) script: &'static str,
    /// How the run may end.
    pub(super) ends: &'static [End],
    /// What the guest tells, where the machine lives.
    pub(super) notes: &'static [(&'static str, Told)],
    /// The image is not the one that was built, and the report has to show it.
    pub(super) changes_the_image: bool,
}

/// Number of vCPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cpus {
    One,
    Two,
}

/// An end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The guest comes to its end and powers off.
    Lives,
    /// The SVSM ends the machine with this reason.
    Svsm(u8),
    /// The guest sees that something is wrong and gives up.
    GuestGivesUp,
    /// The SVSM or the guest does what hardware does not let it do, since the host did not do its part. The report has
    /// this text.
    Refused(&'static str),
    /// The host itself keeps a vCPU from going on.
    HostStopped,
    /// There is no memory left to report from: page tables, code or stack of the handler are gone.
    Shutdown,
    /// Nothing can run any more.
    Deadlock,
}

/// What a guest tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It worked.
    Done,
    /// It did not.
    Refused,
    /// This very number.
    Is(u64),
}

/// The reasons of the SVSM.
mod reason {
    pub(super) use snp_defs::msr::terminate::parapet::{FEATURES, HOST_PROTOCOL, LAUNCH, MEMORY};
}

impl End {
    pub(super) fn fits(&self, seen: &Outcome) -> bool {
        let terminated = |set: u8| {
            seen.end == Some(RunEnd::Terminated)
                && seen.report.contains(&format!("reason set {set}, code "))
        };
        match *self {
            Self::Lives => {
                seen.end == Some(RunEnd::PowerOff) && seen.finished && seen.gave_up.is_none()
            }
            Self::Svsm(code) => {
                terminated(2) && seen.report.contains(&format!("reason set 2, code {code}:"))
            }
            Self::GuestGivesUp => {
                terminated(1) || seen.end == Some(RunEnd::PowerOff) && seen.gave_up.is_some()
            }
            Self::Refused(text) => {
                seen.end == Some(RunEnd::RuleViolation) && seen.report.contains(text)
            }
            Self::HostStopped => seen.end == Some(RunEnd::HostStopped),
            Self::Shutdown => seen.end == Some(RunEnd::Shutdown),
            Self::Deadlock => seen.end == Some(RunEnd::Deadlock),
        }
    }
}

impl Told {
    pub(super) fn fits(self, value: u64) -> bool {
        match self {
            Self::Done => value == 0,
            Self::Refused => value != 0,
            Self::Is(number) => value == number,
        }
    }
}

/// No result at all: the call was not served.
const NOT_SERVED: Told = Told::Is(u64::MAX);
/// PVALIDATE_FAIL_UNCHANGED.
const UNCHANGED: Told = Told::Is(0x8000_1010);

const BASE: Attack = Attack {
    name: "",
    cpus: Cpus::One,
    script: "",
    ends: &[],
    notes: &[],
    changes_the_image: false,
};

/// An attack that ends the machine, or has to.
const fn stops(name: &'static str, script: &'static str, ends: &'static [End]) -> Attack {
    Attack {
        name,
        script,
        ends,
        ..BASE
    }
}

/// An attack that the SVSM and its guest live with.
const fn lives(
    name: &'static str,
    script: &'static str,
    notes: &'static [(&'static str, Told)],
) -> Attack {
    Attack {
        name,
        script,
        ends: &[End::Lives],
        notes,
        ..BASE
    }
}

const fn on_two(attack: Attack) -> Attack {
    Attack {
        cpus: Cpus::Two,
        ..attack
    }
}

const HOST: &[End] = &[End::Svsm(reason::HOST_PROTOCOL)];
const FEATURES: &[End] = &[End::Svsm(reason::FEATURES)];
const LAUNCHED: &[End] = &[End::Svsm(reason::LAUNCH)];
const MEMORY: &[End] = &[End::Svsm(reason::MEMORY)];
/// The page that is gone may be one that telling about it takes.
const MEMORY_OR_WORSE: &[End] = &[End::Svsm(reason::MEMORY), End::Shutdown];
const SHARED: &[End] = &[End::Refused("shared access")];

/// All goes well.
const ALL_WELL: &[(&str, Told)] = &[
    ("alive", Told::Done),
    ("report 1", Told::Done),
    ("report 2", Told::Done),
    ("report 3", Told::Done),
    ("validate", Told::Done),
    ("alive at the end", Told::Done),
];
