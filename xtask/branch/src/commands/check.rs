// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch check`: checks of each patch.

use anyhow::Result;
use clap::Args;
use patch_stack::branch;
use patch_stack::checks::{Check, Checker, Verdict};
use patch_stack::watch::Watch as _;
use serde_json::json;

use crate::failure::Status;
use crate::house::{House, Shown};

pub(crate) const ABOUT: &str = "Check each patch of a branch";
pub(crate) const LONG_ABOUT: &str = "\
Check each patch of a branch:

  signoff      is it signed off? One that is not is reported, and no failure
  reason       does the message say why the patch is there?
  roundtrip    does it survive being committed, written by git and read again?
  checkpatch   the project's own checker, from the branch's base, with --no-signoff

Answers are kept: after a change only what changed is checked again. What could not be checked is
SKIPPED, which is no pass; it does not fail the command.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask branch check planes
  cargo xtask branch check planes checkpatch,reason --json";

/// Checks.
#[derive(Debug, Args)]
pub(crate) struct CheckCommand {
    /// The branch
    #[arg(value_name = "BRANCH")]
    branch: String,

    /// The checks [default: all]
    #[arg(value_name = "CHECK", value_delimiter = ',')]
    checks: Vec<String>,

    /// The project, where the branch has parts in several
    #[arg(long, value_name = "NAME")]
    project: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl CheckCommand {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let mut checks = Vec::new();
        for name in &self.checks {
            checks.push(Check::named(name)?);
        }
        if checks.is_empty() {
            checks = Check::ALL.to_vec();
        }
        let place = house.place(&self.branch, self.project.as_deref())?;
        let mirror = place.mirror()?;
        let watch = Shown::default();
        let _guard = mirror.lock(&watch)?;
        let applied = place.applied()?;
        applied.require_applied()?;
        branch::keep(&mirror, &applied)?;
        let checker = Checker::new(&mirror, place.project, applied.base.start)?;
        let files: Vec<_> = branch::patches(&applied.layers).collect();
        let mut all = Vec::new();
        let mut counts = [0_usize; 4];
        let mut fresh = 0;
        watch.step(&format!("checking {} patches", files.len()));
        for check in checks {
            let mut same = std::collections::BTreeMap::new();
            for (index, file) in files.iter().enumerate() {
                watch.check()?;
                watch.detail(&format!("{} {}", check.name(), file.name));
                let found = checker.check(check, index, file, &applied.outcome.steps)?;
                let is_skip = matches!(found.verdict, Verdict::Skip(_));
                fresh += usize::from(!found.cached && !is_skip);
                let (word, lines) = match &found.verdict {
                    Verdict::Pass => ("pass", Vec::new()),
                    Verdict::Note(text) => ("note", vec![text.clone()]),
                    Verdict::Fail(lines) => ("FAIL", lines.clone()),
                    Verdict::Skip(reason) => ("SKIPPED", vec![reason.clone()]),
                };
                counts[match found.verdict {
                    Verdict::Pass => 0,
                    Verdict::Note(_) => 1,
                    Verdict::Fail(_) => 2,
                    Verdict::Skip(_) => 3,
                }] += 1;
                all.push(json!({
                    "patch": file.name,
                    "check": check.name(),
                    "verdict": word,
                    "text": lines,
                    "cached": found.cached,
                }));
                if self.json || found.verdict == Verdict::Pass {
                    continue;
                }
                if let Verdict::Note(text) | Verdict::Skip(text) = found.verdict {
                    // The same of many patches is told once.
                    same.entry((word, text))
                        .or_insert_with(Vec::new)
                        .push(&file.name);
                    continue;
                }
                println!("{word:8} {:10} {}", check.name(), file.name);
                for line in &lines {
                    println!("           {line}");
                }
            }
            for ((word, text), names) in same {
                let who = match names.as_slice() {
                    [one] => one.as_str().to_owned(),
                    many => format!("{} patches", many.len()),
                };
                println!("{word:8} {:10} {who}: {text}", check.name());
            }
        }
        watch.done();
        if self.json {
            println!("{:#}", json!(all));
        } else {
            println!(
                "{} passed, {} notes, {} failed, {} skipped ({fresh} checked now)",
                counts[0], counts[1], counts[2], counts[3]
            );
        }
        Ok(if counts[2] == 0 {
            Status::Good
        } else {
            Status::Failed
        })
    }
}
