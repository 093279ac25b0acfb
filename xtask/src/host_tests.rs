// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `cargo xtask test` does on this machine, without a virtual one: checks of the sources,
//! unit tests, Miri, and a short run of each fuzz target.
#![forbid(unsafe_code)]

mod checks;
mod fuzz;
mod long;
mod miri;
mod unit;

use anyhow::Result;

/// What a step found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Findings {
    /// What passed, failed and was left out.
    pub(crate) totals: Totals,
    /// For people: how much there was, or what failed.
    pub(crate) detail: String,
}

/// Numbers of tests.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Those that held.
    pub(crate) passed: u64,
    /// Those that did not.
    pub(crate) failed: u64,
    /// Those that were not run.
    pub(crate) skipped: u64,
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl Findings {
    /// A check held: it counts only if it fails.
    fn fine() -> Self {
        Self {
            totals: Totals::default(),
            detail: String::new(),
        }
    }

    /// So many tests held.
    fn passed(passed: u64, detail: String) -> Self {
        Self {
            totals: Totals {
                passed,
                ..Totals::default()
            },
            detail,
        }
    }

    /// One thing failed.
    pub(crate) fn failed(detail: String) -> Self {
        Self {
            totals: Totals {
                failed: 1,
                ..Totals::default()
            },
            detail,
        }
    }

    /// One thing can't be done here, for this reason.
    fn skipped(detail: String) -> Self {
        Self {
            totals: Totals {
                skipped: 1,
                ..Totals::default()
            },
            detail,
        }
    }
}

/// One step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostTest {
    /// Its name: `group::what`.
    pub(crate) name: &'static str,
    /// The step itself. An error is a failure as well.
    pub(crate) run: fn() -> Result<Findings>,
}

/// All of them, the cheap ones first.
pub(crate) fn all() -> impl Iterator<Item = &'static HostTest> {
    [checks::TESTS, unit::TESTS, miri::TESTS, fuzz::TESTS]
        .into_iter()
        .flatten()
}

/// Those that take too long for every day.
pub(crate) fn long() -> impl Iterator<Item = &'static HostTest> {
    long::TESTS.iter()
}
