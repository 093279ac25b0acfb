// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch new`: declares a branch.

use anyhow::Result;
use clap::Args;
use patch_stack::{begin, declare};
use serde_json::json;

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

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl New {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let Self {
            branch,
            project,
            base,
            description,
            json: as_json,
        } = &self;
        declare::check_name(branch).map_err(Failure::usage)?;
        if !house.declared.projects.contains_key(project) {
            return Err(Failure::usage(declare::nearest_name(
                "project",
                project,
                house.declared.projects.keys().map(String::as_str),
            ))
            .into());
        }
        let folder = house.begin(project, branch, |ground| {
            begin::branch(ground, base, description)
        })?;
        if *as_json {
            println!(
                "{:#}",
                json!({
                    "branch": branch,
                    "project": project,
                    "base": base,
                    "folder": folder,
                })
            );
        } else {
            println!("{branch} is declared, and {} is empty", folder.display());
            println!("work on it: cargo xtask branch edit {branch}");
        }
        Ok(Status::Good)
    }
}
