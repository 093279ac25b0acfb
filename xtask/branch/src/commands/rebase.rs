// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch rebase` and `branch landed`: another base.

use anyhow::Result;
use clap::Args;
use patch_stack::worktree::{self, Done, Landed, Rebase};
use serde_json::{Value, json};

use super::apply::{how, tell_done};
use crate::failure::{Failure, Status, status_of_error};
use crate::house::{House, Place};

pub(crate) const ABOUT: &str = "Carry a branch to another base, with the range-diff shown";
pub(crate) const LONG_ABOUT: &str = "\
Carry a branch to another base of its project. It is rehearsed in memory first: which patches have
landed there, which merge, and what the range-diff says. --dry-run ends after that, with status 4
if there would be a conflict.

A patch that the new base has already is proposed, and left out only with --drop-landed. After the
rebase, look at the worktree, then `branch export`: it writes the patch files, the base in
branches.toml and branches.lock.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask branch rebase planes --onto v7.1.9 --dry-run
  cargo xtask branch rebase planes --onto v7.1.9 --drop-landed";
pub(crate) const ABOUT_LANDED: &str = "Say which patches another base has already";
pub(crate) const LONG_ABOUT_LANDED: &str = "\
Say which of a branch's patches another base has already. Three tests, none of which needs a common
history: what undoes the patch applies there and the patch no longer does; merged there, the patch changes nothing; and, where
there is history, a commit has the same patch-id. A patch that landed in another form is not found.";
pub(crate) const EXAMPLES_LANDED: &str = "\
Examples:
  cargo xtask branch landed planes               against every other base in the mirror
  cargo xtask branch landed planes --onto v7.1.9";

/// Rebases.
#[derive(Debug, Args)]
pub(crate) struct RebaseCommand {
    /// The branch
    #[arg(value_name = "BRANCH")]
    branch: String,

    /// The base to carry it to; one that branches.toml declares
    #[arg(long, value_name = "BASE")]
    onto: String,

    /// The project, where the branch has parts in several
    #[arg(long, value_name = "NAME")]
    project: Option<String>,

    /// In memory only
    #[arg(long)]
    dry_run: bool,

    /// Leave out what has landed
    #[arg(long)]
    drop_landed: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl RebaseCommand {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let place = house.place(&self.branch, self.project.as_deref())?;
        require_base(&place, &self.onto)?;
        let layers = place.layers_for(&self.onto)?;
        place.declared_job(|job, _| {
            let onto = place.base(job.mirror, &self.onto)?;
            if self.dry_run {
                let rehearsed = worktree::rehearse(job, &onto, self.drop_landed)?;
                if self.json {
                    println!("{:#}", to_json(&rehearsed));
                } else {
                    tell(&rehearsed);
                }
                return Ok(if rehearsed.outcome.stopped.is_some() {
                    Status::Conflict
                } else {
                    Status::Good
                });
            }
            let (rehearsed, done) = worktree::rebase_onto(job, &onto, &layers, self.drop_landed)?;
            if !self.json {
                tell(&rehearsed);
            }
            if let Done::Whole(_) = done {
                if self.json {
                    println!("{:#}", to_json(&rehearsed));
                } else {
                    println!("worktree: {}", job.desk().folder().display());
                    println!(
                        "look at it, then: cargo xtask branch export {}",
                        self.branch
                    );
                }
                return Ok(Status::Good);
            }
            Ok(tell_done(job, &done, self.json))
        })
    }
}

fn require_base(place: &Place<'_>, name: &str) -> Result<()> {
    if place.project.bases.contains_key(name) {
        return Ok(());
    }
    Err(Failure::usage(patch_stack::declare::nearest_name(
        &format!("base of {}", place.project.name),
        name,
        place.project.bases.keys().map(String::as_str),
    ))
    .hint("declare it in branches.toml, then `branch fetch`")
    .into())
}

fn tell(rehearsed: &Rebase) {
    for landed in &rehearsed.landed {
        let dropped = !rehearsed.kept.contains(&landed.name);
        println!(
            "landed{}  {}: {}",
            if dropped { ", left out" } else { "" },
            landed.name,
            evidence(landed)
        );
    }
    for (index, name) in rehearsed.kept.iter().enumerate() {
        match rehearsed.outcome.steps.get(index) {
            Some(step) => println!("{:3}  {name}  {}", index + 1, how(step.how)),
            None => match &rehearsed.outcome.stopped {
                Some(stop) if stop.index == index => {
                    println!("{:3}  {name}  CONFLICT: {}", index + 1, stop.reason);
                }
                _ => println!("{:3}  {name}  not reached", index + 1),
            },
        }
    }
    if !rehearsed.range_diff.is_empty() {
        println!("{}", rehearsed.range_diff);
    }
}

fn to_json(rehearsed: &Rebase) -> Value {
    let patches: Vec<_> = rehearsed
        .kept
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let step = rehearsed.outcome.steps.get(index);
            json!({ "file": name, "how": step.map(|step| how(step.how)) })
        })
        .collect();
    json!({
        "landed": rehearsed.landed.iter().map(landed_json).collect::<Vec<_>>(),
        "patches": patches,
        "conflict": rehearsed.outcome.stopped.as_ref().map(|stop| {
            json!({ "index": stop.index, "reason": stop.reason.to_string() })
        }),
        "range_diff": rehearsed.range_diff,
    })
}

fn evidence(landed: &Landed) -> String {
    let evidence = &landed.evidence;
    let mut words = Vec::new();
    if evidence.reverse_applies {
        words.push("its reverse applies".to_owned());
    }
    if evidence.becomes_empty {
        words.push("it changes nothing any more".to_owned());
    }
    if let Some(commit) = evidence.same_patch_id {
        words.push(format!("{commit} is the same change"));
    }
    words.join("; ")
}

fn landed_json(landed: &Landed) -> Value {
    json!({
        "file": landed.name,
        "reverse_applies": landed.evidence.reverse_applies,
        "becomes_empty": landed.evidence.becomes_empty,
        "same_patch_id": landed.evidence.same_patch_id.map(|id| id.to_string()),
    })
}

/// Looks for landed patches.
#[derive(Debug, Args)]
pub(crate) struct LandedCommand {
    /// The branch
    #[arg(value_name = "BRANCH")]
    branch: String,

    /// The base to look in [default: every other one in the mirror]
    #[arg(long, value_name = "BASE")]
    onto: Option<String>,

    /// The project, where the branch has parts in several
    #[arg(long, value_name = "NAME")]
    project: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl LandedCommand {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let place = house.place(&self.branch, self.project.as_deref())?;
        if let Some(name) = &self.onto {
            require_base(&place, name)?;
        }
        place.declared_job(|job, _| {
            let mut all = Vec::new();
            for name in place.project.bases.keys() {
                let asked = self.onto.as_ref().map(|onto| onto == name);
                if asked == Some(false) || (asked.is_none() && *name == place.part.base) {
                    continue;
                }
                let onto = match place.base(job.mirror, name) {
                    Ok(onto) => onto,
                    Err(error)
                        if asked.is_none() && status_of_error(&error) == Status::Unavailable =>
                    {
                        if !self.json {
                            println!("{name}: SKIPPED, {error}");
                        }
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let landed = worktree::find_landed(job, &onto)?;
                if !self.json {
                    println!(
                        "{name}: {} of {}",
                        landed.len(),
                        place
                            .layers()?
                            .iter()
                            .map(|layer| layer.patches.len())
                            .sum::<usize>()
                    );
                    for one in &landed {
                        println!("  {}: {}", one.name, evidence(one));
                    }
                }
                all.push(json!({
                    "base": name,
                    "landed": landed.iter().map(landed_json).collect::<Vec<_>>(),
                }));
            }
            if self.json {
                println!("{:#}", json!(all));
            }
            Ok(Status::Good)
        })
    }
}
