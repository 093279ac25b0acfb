// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch export`: the worktree's commits become patch files.

use anyhow::Result;
use clap::Args;
use patch_stack::export;
use serde_json::json;

use crate::failure::Status;
use crate::house::House;

pub(crate) const ABOUT: &str = "Write a branch's commits back to its patch files";
pub(crate) const LONG_ABOUT: &str = "\
Write a branch's commits back to its patch files. A patch that was not touched keeps its bytes. The
files to be are applied again by the other engine, and have to come to the same trees, before
anything is written. branches.lock follows; after a rebase, so does the base in branches.toml.

Other branches that have one of the series are rehearsed and named. One on another base that would
stand worse than before stops the export, unless a variant is declared for either base.

--check writes nothing, and ends with status 3 if an export would change something.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask branch export planes
  cargo xtask branch export planes --check";

/// Exports.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The branch
    #[arg(value_name = "BRANCH")]
    branch: String,

    /// The project, where the branch has parts in several
    #[arg(long, value_name = "NAME")]
    project: Option<String>,

    /// The series that new commits go to [default: that of the commit before]
    #[arg(long, value_name = "NAME")]
    series: Option<String>,

    /// Only say what would change
    #[arg(long)]
    check: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Export {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let place = house.place(&self.branch, self.project.as_deref())?;
        if let Some(series) = &self.series
            && !place.part.series.contains(series)
        {
            return Err(
                crate::failure::Failure::usage(patch_stack::declare::nearest_name(
                    "series of the branch",
                    series,
                    place.part.series.iter().map(String::as_str),
                ))
                .into(),
            );
        }
        place.current_job(self.series.as_deref(), |job, ground| {
            let (changes, tip, base, shared) = if self.check {
                let (plan, state) = export::plan(job, ground)?;
                let moved = (state.base != place.part.base).then_some(state.base);
                let changes = plan.changes(job)?;
                let shared = export::shared(job, ground, &changes)?;
                (changes, None, moved, shared)
            } else {
                let done = export::export(job, ground)?;
                (done.changes, Some(done.tip), done.new_base, done.shared)
            };
            let shown = |path: &std::path::Path| {
                path.strip_prefix(&house.folder)
                    .unwrap_or(path)
                    .display()
                    .to_string()
            };
            if self.json {
                let files: Vec<_> = changes
                    .iter()
                    .map(|change| json!({"what": change.word(), "path": shown(&change.path)}))
                    .collect();
                println!(
                    "{:#}",
                    json!({
                        "changes": files,
                        "tip_commit": tip.map(|tip| tip.to_string()),
                        "new_base": base,
                        "shared": shared.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    })
                );
            } else {
                for change in &changes {
                    println!("{:8} {}", change.word(), shown(&change.path));
                }
                if let Some(base) = &base {
                    println!("base     {base} in branches.toml");
                }
                match tip {
                    Some(tip) if changes.is_empty() => {
                        println!("nothing to write; the files give {tip}");
                    }
                    Some(tip) => println!("the files give {tip}"),
                    None if changes.is_empty() => println!("an export would change nothing"),
                    None => {}
                }
                for other in &shared {
                    eprintln!("note: {other}");
                }
                if tip.is_some() && job.desk().exists() {
                    for file in job.desk().untracked()? {
                        eprintln!("note: {file} is in the worktree, and git does not know it");
                    }
                }
            }
            let differs = self.check && (!changes.is_empty() || base.is_some());
            Ok(if differs {
                Status::NeedsRefresh
            } else {
                Status::Good
            })
        })
    }
}
