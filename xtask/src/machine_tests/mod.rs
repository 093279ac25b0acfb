// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests that boot a whole machine. One file a group; each group has a table of its tests.
//!
//! A test gets a [`Context`], boots guests with it, and returns an error that says what was wrong,
//! or [`Outcome::Skipped`] with the reason. It has a time limit for all that it boots. When it
//! fails, the logs of its guests stay in `out/tests/`.

mod attestation;
mod bench;
mod boot;
mod context;
mod devices;
mod hostile;
mod probe;
mod stopped;
mod tool;
mod trace;
mod typed;

use std::time::Duration;

use anyhow::Result;

pub(crate) use self::context::{Buffer, Context, Guest, Report};

/// How a test ended that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All that it checks holds.
    Passed,
    /// It could not be run here, for this reason.
    Skipped(String),
}

/// One test.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MachineTest {
    /// Its name: `group::what`.
    pub(crate) name: &'static str,
    /// How long its guests may take together.
    pub(crate) limit: Duration,
    /// The test itself.
    pub(crate) run: fn(&mut Context) -> Result<Outcome>,
}

/// All tests, in the order in which they run: what the others build upon comes first.
pub(crate) fn all() -> impl Iterator<Item = &'static MachineTest> {
    [
        tool::TESTS,
        typed::TESTS,
        stopped::TESTS,
        probe::TESTS,
        hostile::TESTS,
        boot::TESTS,
        devices::TESTS,
        trace::TESTS,
        attestation::TESTS,
        bench::TESTS,
    ]
    .into_iter()
    .flatten()
}

/// A number of seconds, for the tables.
const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_have_a_group() {
        let mut seen = HashSet::new();
        for test in all() {
            assert!(test.name.contains("::"), "{}", test.name);
            assert!(seen.insert(test.name), "{} is there twice", test.name);
        }
    }
}
