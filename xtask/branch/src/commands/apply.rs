// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch apply`: the patch files become commits.

use anyhow::Result;
use clap::Args;
use patch_stack::apply::How;
use patch_stack::branch::{Applied, Standing};
use patch_stack::worktree::{self, Done, Job, Resolved};
use serde_json::{Value, json};

use crate::failure::Status;
use crate::house::{House, Place};

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

    /// The first N patches only
    #[arg(long, value_name = "N")]
    upto: Option<usize>,

    /// A worktree of the whole tree, not only of the folders that matter
    #[arg(long)]
    full: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Apply {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let place = house.place(&self.branch, self.project.as_deref())?;
        if self.dry_run {
            let applied = place.applied()?;
            if self.json {
                println!("{:#}", to_json(&applied));
            } else {
                tell(&applied);
            }
            return Ok(status_of(&applied.standing()));
        }
        apply_for_real(&place, self.upto, self.full, self.json)
    }
}

/// Applies into the worktree and says what came of it.
pub(crate) fn apply_for_real(
    place: &Place<'_>,
    upto: Option<usize>,
    full: bool,
    json: bool,
) -> Result<Status> {
    place.declared_job(|job, _| {
        let done = worktree::apply(job, upto, full)?;
        Ok(tell_done(job, &done, json))
    })
}

/// Says what an operation in the worktree has come to.
pub(crate) fn tell_done(job: &Job<'_>, done: &Done, json: bool) -> Status {
    let folder = job.desk().folder().display().to_string();
    let status = match done {
        Done::Whole(hows) if hows.iter().any(|how| *how != How::Exact) => Status::NeedsRefresh,
        Done::Resolved(Resolved { hows, left_out })
            if hows.iter().any(|how| *how != Some(How::Exact)) || !left_out.is_empty() =>
        {
            Status::NeedsRefresh
        }
        Done::Whole(_) | Done::Resolved(_) | Done::Aborted => Status::Good,
        Done::Conflict { .. } => Status::Conflict,
    };
    if json {
        let value = match done {
            Done::Whole(hows) => json!({
                "result": "applied",
                "how": hows.iter().map(|one| how(*one)).collect::<Vec<_>>(),
                "worktree": folder,
            }),
            Done::Resolved(Resolved { hows, left_out }) => json!({
                "result": "applied",
                "how": hows
                    .iter()
                    .map(|one| one.map_or_else(|| "resolved by hand".to_owned(), how))
                    .collect::<Vec<_>>(),
                "left_out": left_out,
                "worktree": folder,
            }),
            Done::Conflict {
                patch,
                reason,
                paths,
            } => json!({
                "result": "conflict",
                "patch": patch,
                "reason": reason,
                "paths": paths,
                "worktree": folder,
            }),
            Done::Aborted => json!({ "result": "aborted" }),
        };
        println!("{value:#}");
        return status;
    }
    match done {
        Done::Whole(hows) => {
            let moved = hows.iter().filter(|how| **how != How::Exact).count();
            tell_whole(job, hows.len(), moved, &[]);
        }
        Done::Resolved(Resolved { hows, left_out }) => {
            let moved = hows.iter().filter(|how| **how != Some(How::Exact)).count();
            tell_whole(job, hows.len(), moved, left_out);
        }
        Done::Conflict {
            patch,
            reason,
            paths,
        } => {
            println!("CONFLICT in {patch}: {reason}");
            println!("  worktree: {folder}");
            if paths.is_empty() {
                println!("  make the change by hand there, `git add` it, then");
            } else {
                println!("  resolve {}, `git add`, then", paths.join(", "));
            }
            println!("  cargo xtask branch continue | skip | abort");
        }
        Done::Aborted => println!("{} is where it was before", job.branch),
    }
    status
}

fn tell_whole(job: &Job<'_>, count: usize, moved: usize, left_out: &[String]) {
    let branch = job.branch;
    println!(
        "{count} patches of {branch} are in {}",
        job.desk().folder().display()
    );
    if moved > 0 {
        println!(
            "{moved} of them did not apply as they are written; \
             `cargo xtask branch export {branch}` writes them anew"
        );
    }
    if !left_out.is_empty() {
        println!(
            "left out: {}; `cargo xtask branch export {branch}` takes them out of the series",
            left_out.join(", ")
        );
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
        How::OtherMode => "a file has another mode".to_owned(),
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
