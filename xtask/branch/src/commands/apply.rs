// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch apply`: the patch files become commits.

use anyhow::Result;
use clap::Args;
use patch_stack::apply::How;
use patch_stack::branch::{Applied, Standing};
use serde_json::{Value, json};

use crate::failure::Status;
use crate::house::House;

pub(crate) const ABOUT: &str = "Apply a branch's patch files to its base";
pub(crate) const LONG_ABOUT: &str = "\
Apply a branch's patch files to its base: in memory first, then the branch's ref moves, then its
worktree follows. The same files on the same base are always the same commits.

There is never any fuzz. Patches that apply at other lines than they name, or by a three-way merge,
are told and count as \"needs refresh\" (status 3): an export mends them. A patch that does not apply
becomes an ordinary git conflict in the worktree (status 4): resolve it, `git add`, then
`branch continue`, or `branch skip`, or `branch abort`.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask branch apply planes --dry-run    touches nothing
  cargo xtask branch apply planes
  cargo xtask branch apply planes --upto 3     the first three patches only";

/// Applies.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The branch
    #[arg(value_name = "BRANCH")]
    branch: String,

    /// The project, where the branch has parts in several
    #[arg(long, value_name = "NAME")]
    project: Option<String>,

    /// In memory only
    #[arg(long)]
    dry_run: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Apply {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let place = house.place(&self.branch, self.project.as_deref())?;
        let applied = place.applied()?;
        if self.json {
            println!("{:#}", to_json(&applied));
        } else {
            tell(&applied);
        }
        Ok(status_of(&applied.standing()))
    }
}

/// The status that a branch's standing ends a command with.
pub(crate) fn status_of(standing: &Standing) -> Status {
    match standing {
        Standing::Clean => Status::Good,
        Standing::NeedsRefresh(_) => Status::NeedsRefresh,
        Standing::Conflict { .. } => Status::Conflict,
    }
}

/// How a patch was applied, in words.
pub(crate) fn how(how: How) -> String {
    match how {
        How::Exact => "exact".to_owned(),
        How::Offset(lines) => format!("offset {lines} lines"),
        How::ThreeWay => "three-way merge".to_owned(),
        How::AlreadyApplied => "already in the base".to_owned(),
    }
}

fn tell(applied: &Applied) {
    let names = patch_stack::branch::patches(&applied.layers);
    for (index, file) in names.enumerate() {
        let word = match applied.outcome.steps.get(index) {
            Some(step) => how(step.how),
            None => match &applied.outcome.stopped {
                Some((at, reason)) if *at == index => format!("CONFLICT: {reason}"),
                _ => "not reached".to_owned(),
            },
        };
        println!("{:3}  {}  {word}", index + 1, file.name);
    }
    match applied.standing() {
        Standing::Conflict { .. } => {}
        _ => println!("tip commit {}, on {}", applied.tip(), applied.base.name),
    }
}

/// The same for programs.
pub(crate) fn to_json(applied: &Applied) -> Value {
    let patches: Vec<_> = patch_stack::branch::patches(&applied.layers)
        .enumerate()
        .map(|(index, file)| {
            let step = applied.outcome.steps.get(index);
            json!({
                "file": file.name,
                "subject": file.patch.subject,
                "variant": file.varied,
                "how": step.map(|step| how(step.how)),
                "commit": step.map(|step| step.commit.to_string()),
            })
        })
        .collect();
    json!({
        "base": applied.base.name,
        "patches": patches,
        "state": state_word(&applied.standing()),
        "conflict": applied.outcome.stopped.as_ref().map(|(index, reason)| {
            json!({ "index": index, "reason": reason })
        }),
        "tip_commit": applied.outcome.stopped.is_none().then(|| applied.tip().to_string()),
    })
}

/// One word for a standing.
pub(crate) fn state_word(standing: &Standing) -> &'static str {
    match standing {
        Standing::Clean => "clean",
        Standing::NeedsRefresh(_) => "needs refresh",
        Standing::Conflict { .. } => "conflict",
    }
}
