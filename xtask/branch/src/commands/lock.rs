// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch lock`: pins bases, series and tips.

use anyhow::Result;
use clap::Args;
use patch_stack::branch::{Applied, Standing};
use patch_stack::lock::{BaseLock, BranchLock, Lock};
use serde_json::json;

use crate::failure::{Failure, Status};
use crate::house::{House, Place, Shown};

pub(crate) const ABOUT: &str = "Pin bases, series and tips in branches.lock";
pub(crate) const LONG_ABOUT: &str = "\
Pin bases, series and tips in branches.lock. Series and tips are always pinned anew. A base that is
pinned stays so, unless --update asks for what the mirror has now; then the lock may even be damaged,
by a merge for one. Nothing is written unless every
branch applies cleanly.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask branch lock
  cargo xtask branch lock --update     after `branch fetch --again`";

/// Pins.
#[derive(Debug, Args)]
pub(crate) struct LockCommand {
    /// Pin the bases anew as well
    #[arg(long)]
    update: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl LockCommand {
    /// Whatever the lock says now, is all of it replaced?
    pub(crate) fn writes_all(&self) -> bool {
        self.update
    }

    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let watch = Shown::default();
        let (house, _files) = house.alone(&watch)?;
        let mut lock = Lock::default();
        for place in house.places(None)? {
            let applied = place.applied()?;
            match applied.standing() {
                Standing::Clean => {}
                Standing::NeedsRefresh(_) => {
                    return Err(Failure::new(
                        Status::NeedsRefresh,
                        format!("{} needs a refresh; nothing was pinned", place.title()),
                    )
                    .hint(format!(
                        "cargo xtask branch apply {0} && cargo xtask branch export {0}",
                        place.branch.name
                    ))
                    .into());
                }
                Standing::Conflict { .. } => applied
                    .require_applied()
                    .map_err(|error| error.context(place.title()))?,
            }
            let key = (place.project.name.clone(), place.part.base.clone());
            let base = match house.lock.bases.get(&key) {
                Some(pinned) if !self.update => {
                    same_base(pinned, &applied)?;
                    pinned.clone()
                }
                _ => applied.base.to_lock(),
            };
            lock.bases.insert(key, base);
            lock.branches.insert(
                (place.branch.name.clone(), place.project.name.clone()),
                branch_lock(&place, &applied),
            );
        }
        let changed = lock.write(&house.lock_file())?;
        if self.json {
            println!(
                "{:#}",
                json!({
                    "file": house.lock_file(),
                    "bases": lock.bases.len(),
                    "branches": lock.branches.len(),
                    "changed": changed,
                })
            );
            return Ok(Status::Good);
        }
        println!(
            "{}: {} bases, {} branches{}",
            house.lock_file().display(),
            lock.bases.len(),
            lock.branches.len(),
            if changed { "" } else { ", as before" }
        );
        Ok(Status::Good)
    }
}

/// Fails if the mirror's base is not the pinned one.
pub(crate) fn same_base(pinned: &BaseLock, applied: &Applied) -> Result<()> {
    let base = &applied.base;
    let (commit, tree, start) = (
        base.imported.to_string(),
        base.tree.to_string(),
        base.start.to_string(),
    );
    let parts = [
        ("commit", &commit, &pinned.commit),
        ("tree", &tree, &pinned.tree),
        ("start", &start, &pinned.start),
    ];
    let Some((what, found, pinned)) = parts.into_iter().find(|(_, found, pinned)| found != pinned)
    else {
        return Ok(());
    };
    Err(Failure::new(
        Status::Failed,
        format!(
            "the mirror's {} has the {what} {found}, and branches.lock pins {pinned}",
            base.name
        ),
    )
    .hint("`branch fetch --again` gets the pinned one, `branch lock --update` pins this one")
    .into())
}

/// What is pinned of a branch that applies.
pub(crate) fn branch_lock(place: &Place<'_>, applied: &Applied) -> BranchLock {
    BranchLock {
        base: place.part.base.clone(),
        series: applied
            .layers
            .iter()
            .map(|layer| (layer.name.clone(), layer.sha256.clone()))
            .collect(),
        patches: applied.count() as u64,
        tip_tree: applied
            .outcome
            .steps
            .last()
            // Without a patch nothing is on top of the base.
            .map_or_else(String::new, |step| step.tree.to_string()),
        tip_commit: applied.tip().to_string(),
    }
}
