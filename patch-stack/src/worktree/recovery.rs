// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a run left that was cut short. What it had written down is finished; an operation that git
//! had not begun is undone, unless a person has been at work in the worktree since.

use super::desk::Desk;
use super::state::State;
use super::{journal, session};
use crate::failure::Result;
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
