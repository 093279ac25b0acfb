// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the hostile host keeps in mind: the rules that it follows ([`emulator::hostile`] is its head), the
//! pages that it keeps, and those that it put aside. `run::misbehave` is its hands.

use alloc::vec::Vec;
use core::ops::Range;

use emulator::hostile::{Engine, Script};
use emulator::snp::rmp::{Entry, HostDuty};
use emulator_defs::config::LINE_STATISTICS;
use snp_defs::rmp::RmpSize;
use spin::Mutex;

use crate::host::log;
use crate::records::report::say;

/// Why a page is not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The host never assigns it.
    Withheld,
    /// The nested tables lead to another one.
    Misled(u64),
}

/// A host page that is not in its place at the moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spare {
    pub(crate) gpa: u64,
    pub(crate) host: u64,
    pub(crate) entry: Entry,
}

/// What the hostile host keeps in mind.
pub(crate) struct HostileHost {
    engine: Engine<'static>,
    kept: Mutex<Vec<(Range<u64>, Why)>>,
    pub(crate) spare: Mutex<Vec<Spare>>,
}

/// A vCPU that is stopped after each instruction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stepping {
    pub(crate) vmpl: u8,
    pub(crate) ghcb: u64,
    pub(crate) left: u32,
}

impl HostileHost {
    /// A host that follows `script`.
    pub(crate) fn new(script: Script<'static>, seed: u64) -> Self {
        Self {
            engine: Engine::new(script, seed),
            kept: Mutex::new(Vec::new()),
            spare: Mutex::new(Vec::new()),
        }
    }

    /// Which rule acts.
    pub(crate) const fn engine(&self) -> &Engine<'static> {
        &self.engine
    }

    /// Says how often each rule acted.
    pub(crate) fn report(&self) {
        for record in self.engine.records() {
            let (line, acted, seen) = (record.line, record.acted, record.seen);
            say(format_args!(
                "hostile host, line {line} `{}`: acted {acted} times, of {seen}",
                record.text
            ));
            log::line(
                LINE_STATISTICS,
                format_args!(r#"{{"kind":"hostile","line":{line},"seen":{seen},"acted":{acted}}}"#),
            );
        }
    }

    /// From now on these pages are not to be had.
    pub(crate) fn keep(&self, range: Range<u64>, why: Why) {
        self.kept.lock().push((range, why));
    }

    /// Why the page at `gpa` is not to be had, if it is not.
    pub(crate) fn kept(&self, gpa: u64) -> Option<Why> {
        let kept = self.kept.lock();
        let found = kept.iter().find(|(range, _)| range.contains(&gpa));
        found.map(|&(_, why)| why)
    }

    /// What a host does about a fault at `gpa` that keeps pages around it.
    pub(crate) fn duty(&self, duty: HostDuty, gpa: u64) -> HostDuty {
        match duty {
            HostDuty::Assign { gpa: first, size }
                if self
                    .kept
                    .lock()
                    .iter()
                    .any(|(range, _)| range.start < first + size.bytes() && first < range.end) =>
            {
                HostDuty::Assign {
                    gpa: gpa & !(RmpSize::Size4K.bytes() - 1),
                    size: RmpSize::Size4K,
                }
            }
            duty => duty,
        }
    }
}
