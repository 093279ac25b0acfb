// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch continue`, `branch skip`, `branch abort`: after a conflict.

use anyhow::Result;
use clap::Args;
use patch_stack::failure::Result as Outcome;
use patch_stack::worktree::{self, Done, Job, State};

use super::apply::tell_done;
use crate::failure::{Failure, Status};
use crate::house::{House, Place};

pub(crate) const ABOUT_CONTINUE: &str = "Go on after a conflict was resolved and added";
pub(crate) const ABOUT_SKIP: &str = "Leave out the patch that conflicts, and go on";
pub(crate) const ABOUT_ABORT: &str = "Undo the apply or rebase that stopped at a conflict";
pub(crate) const EXAMPLES_CONTINUE: &str = "\
Examples:
  cargo xtask branch continue            the one branch that waits
  cargo xtask branch continue planes

A person may as well use git's own `git am --continue` in the worktree; `branch continue` then
finishes what is left.";
pub(crate) const EXAMPLES_SKIP: &str = "\
Examples:
  cargo xtask branch skip                the one branch that waits
  cargo xtask branch skip planes && cargo xtask branch export planes

The patch file stays until `branch export` takes it out of the series.";
pub(crate) const EXAMPLES_ABORT: &str = "\
Examples:
  cargo xtask branch abort               the one branch that waits
  cargo xtask branch abort planes

The branch is where it was before; what was resolved meanwhile is gone.";

/// Resumes.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The branch [default: the one that waits]
    #[arg(value_name = "BRANCH")]
    branch: Option<String>,

    /// The project, where the branch has parts in several
    #[arg(long, value_name = "NAME")]
    project: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Resume {
    pub(crate) fn run(self, house: &House, act: fn(&Job<'_>) -> Outcome<Done>) -> Result<Status> {
        let mut waiting = Vec::new();
        for place in house.places(self.branch.as_deref())? {
            let wanted = self
                .project
                .as_ref()
                .is_none_or(|name| *name == place.project.name);
            let state = match State::read(&place.mirror()?, &place.branch.name) {
                // One that can't be read is no reason to leave the others waiting.
                Err(error) if self.branch.is_none() => {
                    eprintln!("note: {error}");
                    None
                }
                state => state?,
            };
            if wanted && state.is_some_and(|state| state.operation.is_some()) {
                waiting.push(place);
            }
        }
        let place: Place<'_> = match waiting.len() {
            1 => waiting.remove(0),
            0 => {
                return Err(Failure::new(
                    Status::Refused,
                    "no branch waits for a conflict to be resolved",
                )
                .into());
            }
            _ => {
                let names: Vec<_> = waiting.iter().map(Place::title).collect();
                return Err(
                    Failure::usage(format!("{} wait; say which", names.join(" and "))).into(),
                );
            }
        };
        place.current_job(None, |job, _| {
            let done = act(job)?;
            Ok(tell_done(job, &done, self.json))
        })
    }
}

pub(crate) const CONTINUE: fn(&Job<'_>) -> Outcome<Done> = worktree::go_on;
pub(crate) const SKIP: fn(&Job<'_>) -> Outcome<Done> = worktree::skip;
pub(crate) const ABORT: fn(&Job<'_>) -> Outcome<Done> = worktree::abort;
