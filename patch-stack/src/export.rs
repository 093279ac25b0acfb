// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits back to patch files.
//!
//! An export is planned first: which commit is which file, what each file will hold, in which
//! order. A file whose patch still gives the same commit where it stands keeps its bytes. The plan
//! is then applied again by the engine that did not write it, exactly and without a merge, and has
//! to come to the same tree; only then is anything written.

mod matching;
mod plan;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use git2::Oid;

pub use self::plan::{Change, Plan};
pub use self::shared::{Shared, shared};

use crate::declare::{self, Declaration};
use crate::failure::{At as _, Failure, Kind, Result};
use crate::lock::Lock;
use crate::worktree::{Job, Journal, State, applied_files, require_same_files};

/// What an export works on besides the job. The caller has locked the folder of `branches.toml` and
/// read both files since.
pub struct Ground<'a> {
    /// The folder of `branches.toml`.
    pub folder: &'a std::path::Path,
    /// What is declared.
    pub declared: &'a Declaration,
    /// What is pinned.
    pub lock: &'a Lock,
    /// The series that new commits go to, if not that of the commit before.
    pub series: Option<&'a str>,
}

/// What an export did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// What changes, file by file; empty if the files say it all already.
    pub changes: Vec<Change>,
    /// The tip commit that the files now give.
    pub tip: Oid,
    /// The base that the branch is on from now on, if it was another.
    pub new_base: Option<String>,
    /// The other branches that have a series of this one, and have changed with it.
    pub shared: Vec<Shared>,
}

/// Plans the export of a branch as its commits are now.
///
/// # Errors
/// [`Kind::Refused`] if the branch is not one that can be exported: nothing applied, an operation
/// under way, HEAD elsewhere than on the branch, changes not committed, a merge, an empty commit, a commit below an external layer,
/// a patch file that was changed by hand.
pub fn plan(job: &Job<'_>, ground: &Ground<'_>) -> Result<(Plan, State)> {
    let state = job.require_idle()?.ok_or_else(|| {
        Failure::refused(format!("{} is not applied", job.branch))
            .hint(format!("`branch edit {}` applies it", job.branch))
    })?;
    let desk = job.desk();
    let head = if desk.exists() {
        if let Some(what) = desk.operation()? {
            return Err(Failure::refused(format!(
                "a {what} is under way in {}",
                desk.folder().display()
            )));
        }
        if let Some(place) = desk.stray_head()? {
            return Err(Failure::refused(format!(
                "HEAD of {} is not on {}: {place}",
                desk.folder().display(),
                job.branch
            ))
            .hint(format!("`git switch {}` there", job.branch)));
        }
        if let Some(change) = desk.changes()?.first() {
            return Err(Failure::refused(format!(
                "the worktree has changes that are not committed: {}",
                change.trim()
            ))
            .hint("commit them, amend a commit with them, or drop them"));
        }
        desk.head()?
    } else {
        job.mirror
            .find_ref(&desk.head_ref())?
            .ok_or_else(|| Failure::refused(format!("{} has no commits", job.branch)))?
    };
    require_same_files(&state, job.layers)?;
    job.watch.step(&format!(
        "looking what the commits of {} have come to",
        job.branch
    ));
    let plan = Plan::make(job, &state, head, ground.series)?;
    job.watch.done();
    job.watch.step(&format!(
        "applying {} patches as they are to be",
        plan.files.len()
    ));
    plan.prove(job, &state)?;
    job.watch.done();
    Ok((plan, state))
}

/// Exports a branch.
///
/// # Errors
/// What [`plan()`] refuses, or a file that can't be written. What was begun is finished by the next
/// run.
pub fn export(job: &Job<'_>, ground: &Ground<'_>) -> Result<Exported> {
    let (plan, mut state) = plan(job, ground)?;
    job.watch.check()?;
    let desk = job.desk();
    job.watch
        .step(&format!("applying {} patches", plan.files.len()));
    let outcome = crate::branch::make_of(
        job.mirror,
        plan.start,
        plan.files.iter().map(|file| &file.patch),
    )?;
    job.watch.done();
    if let Some(stop) = outcome.stopped {
        return Err(Failure::new(Kind::Failed, stop.reason.to_string()));
    }
    // A branch of which only the first patches were applied ends, in the mirror, with those.
    let here = plan.applied_count();
    let tip = outcome.steps[..here]
        .last()
        .map_or(plan.start, |step| step.commit);
    let whole = outcome.steps.last().map_or(plan.start, |step| step.commit);
    job.watch.check()?;

    let changes = plan.changes(job)?;
    let shared = shared(job, ground, &changes)?;
    job.watch.check()?;
    let mut journal = Journal::of(ground.folder);
    let mut removals = Vec::new();
    for change in &changes {
        match &change.content {
            Some(content) => journal.write(change.path.clone(), content.clone()),
            None => removals.push(change.path.clone()),
        }
    }
    for path in removals {
        journal.remove(path);
    }
    let declared_base = &ground.declared.branches[job.branch].parts[&job.project.name].base;
    let new_base = (*declared_base != state.base).then(|| state.base.clone());
    if let Some(base) = &new_base {
        let (path, text) = redeclared(job, ground, base)?;
        journal.write(path, text);
    }
    let layers = plan.layers(job);
    let mut lock = ground.lock.clone();
    let key = (job.branch.to_owned(), job.project.name.clone());
    if let Some(pinned) = lock.branches.get_mut(&key) {
        pinned.base.clone_from(&state.base);
        pinned.series = layers
            .iter()
            .map(|layer| (layer.name.clone(), layer.sha256.clone()))
            .collect();
        pinned.patches = plan.files.len() as u64;
        pinned.tip_commit = whole.to_string();
        pinned.tip_tree = outcome
            .steps
            .last()
            .map_or_else(|| pinned.tip_tree.clone(), |step| step.tree.to_string());
        let base_key = (job.project.name.clone(), state.base.clone());
        lock.bases
            .entry(base_key)
            .or_insert_with(|| job.base.to_lock());
        let path = ground.folder.join("branches.lock");
        let text = lock.to_text().into_bytes();
        if std::fs::read(&path).ok().as_ref() != Some(&text) {
            journal.write(path, text);
        }
    }
    let commits: Vec<_> = outcome.steps[..here]
        .iter()
        .map(|step| Some(step.commit.to_string()))
        .collect();
    state.files = applied_files(&layers, &commits);
    state.upto = state.upto.map(|_| here);
    state.dropped.clear();
    journal.write(State::place(job.mirror, job.branch), state.to_bytes());
    journal.set_ref(&desk.head_ref(), tip);
    journal.set_ref(&desk.applied_ref(), tip);
    if desk.exists() {
        // The same tree, so index and files stay as they are; HEAD follows the ref.
        desk.follow()?;
    }
    journal.carry_out(job.mirror, job.branch, job.watch)?;
    Ok(Exported {
        changes,
        tip: whole,
        new_base,
        shared,
    })
}

/// `branches.toml` with the branch on another base: the one value is replaced where it stands.
fn redeclared(job: &Job<'_>, ground: &Ground<'_>, base: &str) -> Result<(PathBuf, Vec<u8>)> {
    let path = ground.folder.join("branches.toml");
    let text = std::fs::read_to_string(&path).at("reading", &path)?;
    let changed = declare::with_base(&text, job.branch, &job.project.name, base)
        .map_err(|error| error.in_file(&path))?;
    Ok((path, changed.into_bytes()))
}

/// The files that an export would change, by path, for `--check`.
#[must_use]
pub fn by_path(changes: &[Change]) -> BTreeMap<PathBuf, &'static str> {
    changes
        .iter()
        .map(|change| (change.path.clone(), change.word()))
        .collect()
}
