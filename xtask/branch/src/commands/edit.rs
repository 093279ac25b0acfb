// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch edit`: a worktree to work in.

use anyhow::Result;
use clap::Args;

use super::apply::apply_for_real;
use crate::failure::Status;
use crate::house::House;

pub(crate) const ABOUT: &str = "Open a branch's worktree, to commit in as usual";
pub(crate) const LONG_ABOUT: &str = "\
Open a branch's worktree, applying the branch if it is not there yet. Work in it with git as usual:
commit, amend, `git rebase -i`. `branch export` writes the commits back to patch files.

Prints the folder, for `cd $(cargo xtask branch edit planes --path)`.";
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
    #[arg(long)]
    path: bool,
}

impl Edit {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let place = house.place(&self.branch, self.project.as_deref())?;
        let desk = place.desk()?;
        let mut status = Status::Good;
        if !desk.exists() {
            status = if self.path {
                place.declared_job(|job, _| {
                    patch_stack::worktree::apply(job, None, self.full)?;
                    Ok(Status::Good)
                })?
            } else {
                apply_for_real(&place, None, self.full, false)?
            };
        }
        if self.path {
            println!("{}", desk.folder().display());
        } else {
            println!("work in {}, then:", desk.folder().display());
            println!("  cargo xtask branch export {}", self.branch);
        }
        Ok(status)
    }
}
