// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch new`: declares a branch.

use anyhow::Result;
use clap::Args;
use patch_stack::declare;

use crate::failure::{Failure, Status};
use crate::house::House;

pub(crate) const ABOUT: &str = "Declare a new branch with an empty series";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask branch new fast-exits --project linux --base v7.1.8 --description \"Faster exits\"
  cargo xtask branch edit fast-exits     then commit, and: branch export fast-exits";

/// Declares.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// The branch; its series gets the same name
    #[arg(value_name = "BRANCH")]
    branch: String,

    /// The project
    #[arg(long, value_name = "NAME")]
    project: String,

    /// The base
    #[arg(long, value_name = "BASE")]
    base: String,

    /// One line on what it is for
    #[arg(long, value_name = "TEXT")]
    description: String,
}

impl New {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let Self {
            branch,
            project,
            base,
            description,
        } = &self;
        if house.declared.branches.contains_key(branch) {
            return Err(Failure::usage(format!("there is a branch {branch} already")).into());
        }
        let Some(declared) = house.declared.projects.get(project) else {
            return Err(Failure::usage(declare::nearest_name(
                "project",
                project,
                house.declared.projects.keys().map(String::as_str),
            ))
            .into());
        };
        let file = house.folder.join("branches.toml");
        let text = std::fs::read_to_string(&file)?;
        let changed = declare::with_branch(&text, branch, project, base, branch, description)
            .map_err(patch_stack::failure::Failure::from)?;
        let folder = house.folder.join(&declared.patches).join(branch);
        std::fs::create_dir_all(&folder)?;
        let order = folder.join("series");
        if !order.exists() {
            std::fs::write(&order, "")?;
        }
        crate::cache::write_whole(&file, changed.as_bytes())?;
        println!("{branch} is declared, and {} is empty", folder.display());
        println!("work on it: cargo xtask branch edit {branch}");
        Ok(Status::Good)
    }
}
