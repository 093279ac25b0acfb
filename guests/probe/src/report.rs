// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was checked and what was seen, in the Test Anything Protocol.

use core::fmt::{Debug, Write as _};

use crate::console::Console;

/// Counts the checks of a run and writes a line for each.
pub(crate) struct Report {
    checks: u32,
    failed: u32,
}

impl Report {
    /// Nothing checked yet.
    pub(crate) fn new() -> Self {
        Self {
            checks: 0,
            failed: 0,
        }
    }

    /// Checks that what was seen is what the specification says.
    pub(crate) fn equal<T: PartialEq + Debug>(&mut self, name: &str, seen: T, expected: T) {
        self.checks += 1;
        if seen == expected {
            let _ = writeln!(Console, "ok {} - {name}", self.checks);
        } else {
            self.failed += 1;
            let _ = writeln!(
                Console,
                "not ok {} - {name}: saw {seen:x?}, expected {expected:x?}",
                self.checks
            );
        }
    }

    /// Checks that something holds.
    pub(crate) fn holds(&mut self, name: &str, condition: bool) {
        self.equal(name, condition, true);
    }

    /// A figure for the reader; not a check.
    pub(crate) fn note(&mut self, name: &str, value: u64) {
        let _ = writeln!(Console, "# {name}: {value}");
    }

    /// The plan, which ends the run: a run without it was cut short.
    pub(crate) fn end(&self) {
        let _ = writeln!(Console, "1..{}", self.checks);
        let _ = writeln!(Console, "# {} of {} failed", self.failed, self.checks);
    }
}
