// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch edit`: a worktree to work in.

use anyhow::Result;
use clap::Args;
use patch_stack::worktree::{self, State};
use serde_json::json;

use super::apply::apply_for_real;
use crate::failure::Status;
use crate::house::House;

pub(crate) const ABOUT: &str = "Open a branch's worktree, to commit in as usual";
pub(crate) const LONG_ABOUT: &str = "\
Open a branch's worktree, applying the branch if it is not there yet. Work in it with git as usual:
commit, amend, `git rebase -i`. `branch export` writes the commits back to patch files.

While a conflict waits there, it says so and ends with status 4. With --path it prints the folder and
nothing else, for `cd $(cargo xtask branch edit planes --path)`.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask branch edit planes
  cd $(cargo xtask branch edit planes --path)";

/// Opens.
#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// The branch
    #[arg(value_name = "BRANCH")]
    branch: String,

    /// The project, where the branch has parts in several
    #[arg(long, value_name = "NAME")]
    project: Option<String>,

    /// A worktree of the whole tree
    #[arg(long)]
    full: bool,

    /// Print the folder and nothing else
    #[arg(long, conflicts_with = "json")]
    path: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Edit {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let place = house.place(&self.branch, self.project.as_deref())?;
        let desk = place.desk()?;
        let mut status = Status::Good;
        let was_there = desk.exists();
        if !was_there {
            status = if self.path || self.json {
                place.declared_job(|job, _| {
                    worktree::apply(job, None, self.full)?;
                    Ok(Status::Good)
                })?
            } else {
                apply_for_real(&place, None, self.full, false)?
            };
        }
        let folder = desk.folder().display();
        let state = State::read(&place.mirror()?, &place.branch.name)?;
        let waits = state.is_some_and(|state| state.operation.is_some());
        if waits {
            status = Status::Conflict;
        }
        if self.json {
            println!(
                "{:#}",
                json!({
                    "worktree": desk.folder(),
                    "conflict_waits": waits,
                    "under_way": desk.operation()?,
                })
            );
        } else if self.path {
            println!("{folder}");
        } else if waits {
            // An apply that has just stopped has told how to go on.
            if was_there {
                println!("a conflict waits in {folder}: resolve it, `git add`, then");
                println!("  cargo xtask branch continue | skip | abort");
            }
        } else {
            if let Some(what) = desk.operation()? {
                println!("a {what} is under way in {folder}: finish it first");
            }
            println!("work in {folder}, then:");
            println!("  cargo xtask branch export {}", self.branch);
        }
        Ok(status)
    }
}
