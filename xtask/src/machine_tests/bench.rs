// SPDX-License-Identifier: MIT OR Apache-2.0
//! The exact figures of `cargo xtask bench`, held against their limits: a change that costs too
//! much fails like any other.
#![forbid(unsafe_code)]

use anyhow::{Result, ensure};

use super::{Context, MachineTest, Outcome, seconds};
use crate::measures::{Figure, svsm};

pub(super) const TESTS: &[MachineTest] = &[MachineTest {
    name: "bench::limits",
    limit: seconds(300),
    run: limits,
}];

fn limits(context: &mut Context) -> Result<Outcome> {
    let mut figures = svsm::sizes(context)?;
    figures.extend(svsm::calls(context)?);
    figures.extend(svsm::start(context)?);
    let broken: Vec<_> = figures.iter().filter(|figure| !figure.holds()).collect();
    let lines: Vec<_> = broken.into_iter().map(Figure::line).collect();
    ensure!(lines.is_empty(), "{}", lines.join("\n"));
    Ok(Outcome::Passed)
}
