// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch status`: how every branch stands.

use anyhow::Result;
use clap::Args;
use patch_stack::branch::Standing;
use patch_stack::worktree::{self, State};
use serde_json::{Value, json};

use super::apply::state_word;
use crate::building;
use crate::failure::{Status, in_a_line, status_of_error};
use crate::house::{House, Place};
use crate::table;

pub(crate) const ABOUT: &str = "Say how every branch stands";
pub(crate) const LONG_ABOUT: &str = "\
Say how every branch stands: its base, how many patches, whether they apply cleanly, which have
landed, whether there are commits that were not exported, and the last build and boot.

Ends with the worst of the branches' statuses: 3 if one needs a refresh, 4 on a conflict or while one
waits to be resolved, 5 if a base is not in the mirror.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask branch status
  cargo xtask branch status planes --json";

/// Tells.
#[derive(Debug, Args)]
pub(crate) struct StatusCommand {
    /// The branch [default: all]
    #[arg(value_name = "BRANCH")]
    branch: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is known of one branch.
struct Line {
    status: Status,
    cells: Vec<String>,
    json: Value,
}

impl StatusCommand {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let mut lines = Vec::new();
        for place in house.places(self.branch.as_deref())? {
            lines.push(look(&place)?);
        }
        let worst = lines
            .iter()
            .map(|line| line.status)
            .max_by_key(|status| *status as u8)
            .unwrap_or(Status::Good);
        if self.json {
            let all: Vec<_> = lines.into_iter().map(|line| line.json).collect();
            println!("{:#}", json!(all));
        } else {
            let rows: Vec<_> = lines.into_iter().map(|line| line.cells).collect();
            table::print(
                &["branch", "base", "patches", "state", "lock", "notes"],
                &rows,
            );
            if worst == Status::Unavailable {
                eprintln!("hint: `cargo xtask branch fetch` brings the bases into the mirror");
            }
        }
        Ok(worst)
    }
}

fn look(place: &Place<'_>) -> Result<Line> {
    let title = place.title();
    let base = &place.part.base;
    let applied = match place.applied() {
        Ok(applied) => applied,
        Err(error) => {
            // A branch whose base is not here, or whose files are broken, is a line as well.
            let unavailable = status_of_error(&error) == Status::Unavailable;
            let (status, state) = if unavailable {
                (Status::Unavailable, "not fetched")
            } else {
                (Status::Failed, "broken")
            };
            return Ok(Line {
                status,
                cells: vec![
                    title,
                    base.clone(),
                    "-".to_owned(),
                    state.to_owned(),
                    "-".to_owned(),
                    if unavailable {
                        error.to_string()
                    } else {
                        in_a_line(&error)
                    },
                ],
                json: json!({
                    "branch": place.branch.name,
                    "project": place.project.name,
                    "base": base,
                    "state": state,
                    "error": error.to_string(),
                }),
            });
        }
    };
    let standing = applied.standing();
    let pinned = super::verify::against_lock(place, &applied);
    let mut notes = Vec::new();
    match &standing {
        Standing::Clean => {}
        Standing::NeedsRefresh(moved) => {
            notes.push(format!("{} of {} have moved", moved.len(), applied.count()))
        }
        Standing::Conflict { index, reason } => notes.push(format!(
            "{}: {reason}",
            applied
                .patch(*index)
                .map_or("", |patch| patch.name.as_str())
        )),
    }
    // What is damaged is told on the branch's own line, and no other's.
    let (work, damage) = match at_work(place) {
        Ok(work) => (work, None),
        Err(error) => (Work::default(), Some(in_a_line(&error))),
    };
    let Work { waits, words: work } = work;
    notes.extend(work.clone());
    notes.extend(damage.clone());
    let (status, state) = if damage.is_some() {
        (Status::Failed, "broken")
    } else if waits {
        (Status::Conflict, "conflict")
    } else {
        (super::apply::status_of(&standing), state_word(&standing))
    };
    let tree = applied.outcome.steps.last().map(|step| step.tree);
    let (built, booted) = building::lately(place, tree.unwrap_or(applied.base.tree));
    notes.extend(built.clone());
    notes.extend(booted.clone());
    Ok(Line {
        status,
        json: json!({
            "branch": place.branch.name,
            "project": place.project.name,
            "base": base,
            "patches": applied.count(),
            "state": state,
            "locked": pinned.is_ok(),
            "tip_commit": applied.tip().to_string(),
            "work": work,
            "build": built,
            "boot": booted,
            "notes": notes,
        }),
        cells: vec![
            title,
            base.clone(),
            applied.count().to_string(),
            state.to_owned(),
            match pinned {
                Ok(()) => "as pinned".to_owned(),
                Err(_) => "differs".to_owned(),
            },
            notes.join("; "),
        ],
    })
}

/// What a person has under way.
#[derive(Default)]
struct Work {
    /// Is it a conflict that waits to be resolved?
    waits: bool,
    words: Option<String>,
}

fn at_work(place: &Place<'_>) -> Result<Work> {
    let mirror = place.mirror()?;
    worktree::require_ours(&mirror, &place.branch.name, &place.house.folder)?;
    let state = State::read(&mirror, &place.branch.name)?;
    if let Some(operation) = state.as_ref().and_then(|state| state.operation.as_ref()) {
        return Ok(Work {
            waits: true,
            words: Some(format!(
                "{} waits at a conflict: `branch continue | skip | abort`",
                operation.kind
            )),
        });
    }
    let desk = place.desk()?;
    let mut words = Vec::new();
    if desk.exists() {
        if let Some(what) = desk.operation()? {
            words.push(format!("a {what} is under way in its worktree"));
        } else if let Some(place) = desk.stray_head()? {
            words.push(format!("HEAD is not on the branch: {place}"));
        }
    }
    let head = mirror.find_ref(&desk.head_ref())?;
    if head != mirror.find_ref(&desk.applied_ref())? {
        let rebased = state
            .filter(|state| state.base != place.part.base)
            .map(|state| format!(", on {}", state.base));
        words.push(format!(
            "commits not exported{}",
            rebased.unwrap_or_default()
        ));
    }
    Ok(Work {
        waits: false,
        words: (!words.is_empty()).then(|| words.join("; ")),
    })
}
