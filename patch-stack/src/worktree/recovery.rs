// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a run left that was cut short. What it had written down is finished; an operation that git
//! had not begun is undone, unless a person has been at work in the worktree since.

use std::path::{Path, PathBuf};

use super::desk::Desk;
use super::state::State;
use super::{journal, session};
use crate::failure::{At as _, Failure, Result};
use crate::mirror::Mirror;
use crate::watch::Watch;

/// What became of a run that was cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovered {
    /// Its files and refs are written, or it waits at its conflict.
    Finished,
    /// The branch is where it was before.
    Undone,
}

/// Finishes or undoes what a run has left of `branch`. Only while the mirror is locked.
///
/// # Errors
/// A file or a ref can't be written.
pub fn finish_interrupted(
    mirror: &Mirror,
    branch: &str,
    watch: &dyn Watch,
) -> Result<Option<Recovered>> {
    if journal::finish(mirror, branch, watch)? {
        return Ok(Some(Recovered::Finished));
    }
    let Some(mut state) = State::read(mirror, branch)? else {
        return Ok(None);
    };
    let Some(operation) = state.operation.as_mut().filter(|found| !found.begun) else {
        return Ok(None);
    };
    let desk = Desk::of(mirror, branch);
    if desk.require_nothing_lost().is_ok() {
        session::undo(mirror, branch, operation.clone(), watch)?;
        return Ok(Some(Recovered::Undone));
    }
    if desk.operation()? == Some("git am") {
        // git had come to the conflict, and a person may have worked on it.
        operation.begun = true;
        state.write(mirror, branch)?;
        return Ok(Some(Recovered::Finished));
    }
    Ok(None)
}

/// Was a run cut short? Without the lock it may as well be one that is still at it.
///
/// # Errors
/// The state of the branch can't be read.
pub fn is_interrupted(mirror: &Mirror, branch: &str) -> Result<bool> {
    Ok(journal::place(mirror, branch).exists()
        || State::read(mirror, branch)?
            .and_then(|state| state.operation)
            .is_some_and(|operation| !operation.begun))
}

/// Did a run for the `branches.toml` in `folder` leave files of `branch` half written? A journal that
/// is damaged, or another folder's, is no business of a command that is not about this branch.
#[must_use]
pub fn is_half_written(mirror: &Mirror, branch: &str, folder: &Path) -> bool {
    journal::folder(mirror, branch).is_ok_and(|found| found.is_some_and(|its| its == folder))
}

/// Fails if what a run has left of `branch` can't be finished for the `branches.toml` in `folder`.
///
/// # Errors
/// It is damaged, or it is for another folder's, whose files are not to be written from here.
pub fn require_ours(mirror: &Mirror, branch: &str, folder: &Path) -> Result<()> {
    State::read(mirror, branch)?;
    match journal::folder(mirror, branch)? {
        Some(its) if its != folder => Err(Failure::refused(format!(
            "a run on {branch} in {} was cut short while it wrote files there",
            its.display()
        ))
        .hint(format!(
            "`cargo xtask branch list` there finishes it; `branch clean {branch} --force` gives it up"
        ))),
        _ => Ok(()),
    }
}

/// Renames what [`require_ours`] refuses, so that the branch can be cleaned. Returns the new names.
///
/// # Errors
/// A file can't be renamed.
pub fn set_aside(mirror: &Mirror, branch: &str, folder: &Path) -> Result<Vec<PathBuf>> {
    let state = State::read(mirror, branch).is_err();
    let journal = match journal::folder(mirror, branch) {
        Ok(Some(its)) => its != folder,
        Ok(None) => false,
        Err(_) => true,
    };
    [
        (state, State::place(mirror, branch)),
        (journal, journal::place(mirror, branch)),
    ]
    .into_iter()
    .filter(|(is_bad, _)| *is_bad)
    .map(|(_, file)| {
        let aside = file.with_file_name(format!("{branch}.set-aside"));
        std::fs::rename(&file, &aside).at("moving aside", &file)?;
        Ok(aside)
    })
    .collect()
}
