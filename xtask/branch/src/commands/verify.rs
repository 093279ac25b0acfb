// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch verify`: from the files to the tips, without a network.

use anyhow::Result;
use clap::Args;
use patch_stack::branch::{self, Applied};
use patch_stack::watch::Watch as _;
use serde_json::json;

use super::lock::{branch_lock, same_base};
use crate::failure::{Failure, Status, in_a_line, status_of_error};
use crate::house::{House, Place, Shown};
use crate::signals;

pub(crate) const ABOUT: &str = "Check files, series and tips against branches.lock, offline";
pub(crate) const LONG_ABOUT: &str = "\
Check files, series and tips against branches.lock, without a network and without trusting what was
remembered: every patch file is read and applied again, and has to come to the pinned commit.

A base that is not in the mirror can't be checked: its branch is SKIPPED, which is no pass
(status 5), and its series' hashes are checked all the same.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask branch verify
  cargo xtask branch verify planes --json";

/// Verifies.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The branch [default: all]
    #[arg(value_name = "BRANCH")]
    branch: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

enum Verdict {
    Holds(String),
    Wrong(String),
    Skipped(String),
}

impl Verify {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let mut all = Vec::new();
        let mut status = Status::Good;
        for place in house.places(self.branch.as_deref())? {
            let verdict = match verify(&place) {
                // One mirror that can't be read is no reason to leave out the others.
                Err(error) if signals::check().is_ok() => {
                    Verdict::Wrong(format!("{}: {}", place.project.name, in_a_line(&error)))
                }
                verdict => verdict?,
            };
            let (word, text) = match verdict {
                Verdict::Holds(text) => ("ok", text),
                Verdict::Wrong(text) => {
                    status = Status::Failed;
                    ("WRONG", text)
                }
                Verdict::Skipped(text) => {
                    if status == Status::Good {
                        status = Status::Unavailable;
                    }
                    ("SKIPPED", text)
                }
            };
            if !self.json {
                println!("{word:8} {}: {text}", place.title());
            }
            all.push(json!({
                "branch": place.branch.name,
                "project": place.project.name,
                "verdict": word,
                "text": text,
            }));
        }
        if self.branch.is_none() {
            for (name, project) in house.lock.branches.keys() {
                let declared = house
                    .declared
                    .branches
                    .get(name)
                    .is_some_and(|branch| branch.parts.contains_key(project));
                if !declared {
                    status = Status::Failed;
                    let text = "branches.lock pins it, and branches.toml does not declare it";
                    if !self.json {
                        println!("{:8} {name} ({project}): {text}", "WRONG");
                    }
                    all.push(json!({
                        "branch": name, "project": project, "verdict": "WRONG", "text": text,
                    }));
                }
            }
        }
        if self.json {
            println!("{:#}", json!(all));
        }
        Ok(status)
    }
}

fn verify(place: &Place<'_>) -> Result<Verdict> {
    let layers = match place.layers() {
        Ok(layers) => layers,
        Err(error) => return Ok(Verdict::Wrong(error.to_string())),
    };
    let key = (place.branch.name.clone(), place.project.name.clone());
    let Some(pinned) = place.house.lock.branches.get(&key) else {
        return Ok(Verdict::Wrong(
            "branches.lock does not pin it; `branch lock` does".to_owned(),
        ));
    };
    if let Some(stray) = layers.iter().flat_map(branch::Layer::stray_files).next() {
        return Ok(Verdict::Wrong(format!(
            "{} is in no series",
            stray.display()
        )));
    }
    for layer in &layers {
        let found = (layer.name.clone(), layer.sha256.clone());
        if !pinned.series.contains(&found) {
            return Ok(Verdict::Wrong(format!(
                "the series {} is not the pinned one",
                layer.name
            )));
        }
    }
    let mirror = place.mirror()?;
    let base = match place.base(&mirror, &place.part.base) {
        Ok(base) => base,
        Err(error) if status_of_error(&error) == Status::Unavailable => {
            return Ok(Verdict::Skipped(format!(
                "{error}; its {} patches were read, and not applied",
                pinned.patches
            )));
        }
        Err(error) => return Err(error),
    };
    let watch = Shown::default();
    watch.step(&format!("verifying {}", place.title()));
    let applied = branch::apply_anew(&mirror, base, layers)?;
    watch.done();
    if let Err(error) = applied.require_applied() {
        return Ok(Verdict::Wrong(error.to_string()));
    }
    Ok(match against_lock(place, &applied) {
        Ok(()) => Verdict::Holds(format!(
            "{} patches on {}, tip {}",
            applied.count(),
            place.part.base,
            applied.tip()
        )),
        Err(error) => Verdict::Wrong(error.to_string()),
    })
}

/// Fails if the branch is not what branches.lock pins.
pub(crate) fn against_lock(place: &Place<'_>, applied: &Applied) -> Result<()> {
    let lock = &place.house.lock;
    let wrong = |text: String| Err(Failure::new(Status::Failed, text).into());
    let base = (place.project.name.clone(), place.part.base.clone());
    let Some(base) = lock.bases.get(&base) else {
        return wrong(format!("branches.lock pins no base {}", place.part.base));
    };
    same_base(base, applied)?;
    let key = (place.branch.name.clone(), place.project.name.clone());
    let Some(pinned) = lock.branches.get(&key) else {
        return wrong("branches.lock does not pin it".to_owned());
    };
    let found = branch_lock(place, applied);
    if *pinned == found {
        return Ok(());
    }
    if pinned.base != found.base {
        return wrong(format!(
            "it is on {}, and branches.lock has it on {}",
            found.base, pinned.base
        ));
    }
    if pinned.series != found.series {
        return wrong("its series are not the pinned ones".to_owned());
    }
    let count = (found.patches.to_string(), pinned.patches.to_string());
    let (what, found, pinned) = if found.tip_commit != pinned.tip_commit {
        ("tip is", &found.tip_commit, &pinned.tip_commit)
    } else if found.tip_tree != pinned.tip_tree {
        ("tip has the tree", &found.tip_tree, &pinned.tip_tree)
    } else {
        ("number of patches is", &count.0, &count.1)
    };
    wrong(format!(
        "its {what} {found}, and branches.lock pins {pinned}"
    ))
}
