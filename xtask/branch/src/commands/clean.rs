// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch clean`: worktrees and builds away, work kept.

use anyhow::Result;
use clap::Args;
use patch_stack::worktree;
use serde_json::json;

use crate::failure::Status;
use crate::house::{House, Shown};

pub(crate) const ABOUT: &str = "Remove a branch's worktree and builds";
pub(crate) const LONG_ABOUT: &str = "\
Remove a branch's worktree, its builds and what is remembered of it. The patch files and the mirror
stay. Refused if there is work that was not exported, unless --force says to drop it. --force also moves
aside what is remembered and can't be read any more.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask branch clean planes
  cargo xtask branch clean planes --force    drops commits that were not exported";

/// Cleans.
#[derive(Debug, Args)]
pub(crate) struct Clean {
    /// The branch [default: all]
    #[arg(value_name = "BRANCH")]
    branch: Option<String>,

    /// Drop work that was not exported
    #[arg(long, requires = "branch")]
    force: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Clean {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let watch = Shown::default();
        // What a run that was cut short had begun to write is finished first.
        let (house, _files) = house.alone(&watch)?;
        let mut cleaned = Vec::new();
        for place in house.places(self.branch.as_deref())? {
            let mirror = place.mirror()?;
            let _guard = mirror.lock(&watch)?;
            let name = &place.branch.name;
            if self.force {
                for file in worktree::set_aside(&mirror, name, &house.folder)? {
                    eprintln!("what could not be used is kept as {}", file.display());
                }
            } else {
                worktree::require_ours(&mirror, name, &house.folder)?;
            }
            worktree::clean(&mirror, &place.branch.name, self.force, &watch)?;
            for folder in ["build", "mails"] {
                let folder = house
                    .root
                    .join(folder)
                    .join(&place.project.name)
                    .join(&place.branch.name);
                if folder.exists() {
                    std::fs::remove_dir_all(&folder)?;
                }
            }
            if !self.json {
                println!("{} is clean", place.title());
            }
            cleaned.push(json!({
                "branch": place.branch.name,
                "project": place.project.name,
            }));
        }
        if self.json {
            println!("{:#}", json!(cleaned));
        }
        Ok(Status::Good)
    }
}
