// SPDX-License-Identifier: MIT OR Apache-2.0
//! Apply, and what follows a conflict: continue, skip, abort.

use std::path::PathBuf;

use git2::Oid;

use super::desk::{Desk, Extent};
use super::recovery::finish_interrupted;
use super::state::{Applied, Operation, State, applied_files};
use crate::apply::{Applier, How, Outcome};
use crate::branch::{self, Layer, PatchFile};
use crate::declare::Project;
use crate::failure::{At as _, Failure, Kind, Result};
use crate::git::RefMove;
use crate::mail::Patch;
use crate::mirror::{BaseState, Mirror};
use crate::watch::Watch;

/// The option of `git am` without which a commit depends on the clock. `git am` forgets it when it
/// stops, so it is said again.
const AUTHOR_DATE: &str = "--committer-date-is-author-date";

/// A branch of a project that something is done to. The caller has locked the mirror.
pub struct Job<'a> {
    /// The mirror.
    pub mirror: &'a Mirror,
    /// The branch.
    pub branch: &'a str,
    /// The project.
    pub project: &'a Project,
    /// The base.
    pub base: &'a BaseState,
    /// The layers, as the files are.
    pub layers: &'a [Layer],
    /// Who watches.
    pub watch: &'a dyn Watch,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// All patches are applied; how each was.
    Whole(Vec<How>),
    /// The same after a conflict.
    Resolved(Resolved),
    /// A person has to resolve a conflict in the worktree.
    Conflict {
        /// The patch's file name.
        patch: String,
        /// Why.
        reason: String,
        /// Paths with conflicts; empty if the patch could not even be tried.
        paths: Vec<String>,
    },
    /// The operation was undone.
    Aborted,
}

/// What there is at the end of an operation that had stopped at a conflict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// How each patch that is in was applied; none where a person's hand was in it.
    pub hows: Vec<Option<How>>,
    /// File names of the patches that were skipped.
    pub left_out: Vec<String>,
}

impl Job<'_> {
    /// The branch's worktree.
    #[must_use]
    pub fn desk(&self) -> Desk {
        Desk::of(self.mirror, self.branch)
    }

    /// Its patches, in order, up to `upto`.
    pub(crate) fn patches(&self, upto: Option<usize>) -> Vec<&PatchFile> {
        branch::patches(self.layers)
            .take(upto.unwrap_or(usize::MAX))
            .collect()
    }

    /// The patch of a file that was applied, as it is now.
    fn patch_of(&self, file: &Applied) -> Option<&Patch> {
        let layer = self.layers.iter().find(|layer| layer.name == file.series)?;
        let found = layer.patches.iter().find(|found| found.name == file.name);
        found.map(|found| &found.patch)
    }

    /// Fails if an operation waits for a person.
    pub(crate) fn require_idle(&self) -> Result<Option<State>> {
        finish_interrupted(self.mirror, self.branch, self.watch)?;
        let state = State::read(self.mirror, self.branch)?;
        if let Some(operation) = state.as_ref().and_then(|state| state.operation.as_ref()) {
            return Err(Failure::refused(format!(
                "{} of {} waits for a conflict to be resolved in {}",
                operation.kind,
                self.branch,
                self.desk().folder().display()
            ))
            .hint("`branch continue`, `branch skip` or `branch abort`"));
        }
        Ok(state)
    }
}

/// Applies the first `upto` patches, or all. The worktree has all of the tree if `full` is set.
///
/// # Errors
/// [`Kind::Refused`] if work of a person's would be lost; nothing was touched then.
pub fn apply(job: &Job<'_>, upto: Option<usize>, full: bool) -> Result<Done> {
    let state = job.require_idle()?;
    let desk = job.desk();
    desk.require_replaceable()?;
    job.watch.check()?;
    let patches = job.patches(upto);
    job.watch
        .step(&format!("applying {} patches", patches.len()));
    let outcome = branch::make_of(
        job.mirror,
        job.base.start,
        patches.iter().map(|file| &file.patch),
    )?;
    job.watch.done();
    job.watch.check()?;
    let fresh = State {
        base: job.base.name.clone(),
        start: job.base.start.to_string(),
        upto: upto.filter(|&count| count < branch::patches(job.layers).count()),
        ..State::default()
    };
    let extent = if full {
        Extent::Full
    } else {
        Extent::of(job.project, job.layers)
    };
    settle(job, &patches, &outcome, fresh, state, "apply", &extent)
}

/// Brings worktree, refs and state to where `outcome` ends, or starts a conflict session there.
pub(crate) fn settle(
    job: &Job<'_>,
    patches: &[&PatchFile],
    outcome: &Outcome,
    mut fresh: State,
    before: Option<State>,
    kind: &str,
    extent: &Extent,
) -> Result<Done> {
    let desk = job.desk();
    let tip = outcome
        .steps
        .last()
        .map_or(job.base.start, |step| step.commit);
    let commits: Vec<_> = outcome
        .steps
        .iter()
        .map(|step| Some(step.commit.to_string()))
        .chain(std::iter::repeat(None))
        .take(patches.len())
        .collect();
    fresh.files = applied_files(job.layers, &commits);
    if fresh.files.len() < patches.len() {
        return Err(Failure::failed("more patches than files"));
    }
    let Some(stop) = &outcome.stopped else {
        job.watch.step("checking the worktree out");
        desk.open_at(tip, extent)?;
        job.watch.done();
        job.watch.check()?;
        let mut moves = vec![set(&desk.head_ref(), tip)];
        if kind == "apply" {
            moves.push(set(&desk.applied_ref(), tip));
        }
        // The state first: it says no more than the files do, and a run that ends here is
        // repeated.
        fresh.write(job.mirror, job.branch)?;
        job.watch.check()?;
        job.mirror.git().move_refs(&moves)?;
        job.watch.check()?;
        desk.follow()?;
        return Ok(Done::Whole(
            outcome.steps.iter().map(|step| step.how).collect(),
        ));
    };
    // Not begun yet: a run that ends before git has told of the conflict is undone by the next.
    fresh.operation = Some(Operation {
        begun: false,
        skipping: None,
        kind: kind.to_owned(),
        before: job
            .mirror
            .find_ref(&desk.head_ref())?
            .map(|id| id.to_string()),
        state: before.map(Box::new),
    });
    desk.open_at(tip, extent)?;
    job.watch.check()?;
    fresh.write(job.mirror, job.branch)?;
    job.watch.check()?;
    let mails = write_mails(job, &patches[stop.index..])?;
    job.watch.check()?;
    let mut arguments = vec![
        "am".to_owned(),
        "--3way".to_owned(),
        "--keep-non-patch".to_owned(),
        AUTHOR_DATE.to_owned(),
        "--no-gpg-sign".to_owned(),
    ];
    if job.project.keep_cr {
        arguments.push("--keep-cr".to_owned());
    }
    arguments.extend(mails.iter().map(|file| file.display().to_string()));
    let output = desk.git().try_output(&arguments)?;
    after_am(
        job,
        &desk,
        output.status.success(),
        Some(stop.reason.to_string()),
    )
}

fn set(name: &str, to: Oid) -> RefMove {
    RefMove::Set {
        name: name.to_owned(),
        to,
    }
}

/// The mails that `git am` is given: copies, so that a person may edit the patch files meanwhile.
fn write_mails(job: &Job<'_>, patches: &[&PatchFile]) -> Result<Vec<PathBuf>> {
    let folder = job
        .mirror
        .root()
        .join("mails")
        .join(&job.mirror.project)
        .join(job.branch);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).at("making", &folder)?;
    patches
        .iter()
        .enumerate()
        .map(|(index, file)| {
            let path = folder.join(format!("{:04}-{}", index + 1, file.name));
            std::fs::write(&path, &file.patch.bytes).at("writing", &path)?;
            Ok(path)
        })
        .collect()
}

/// What `git am` has come to: the next conflict, or the end.
fn after_am(job: &Job<'_>, desk: &Desk, whole: bool, reason: Option<String>) -> Result<Done> {
    job.watch.check()?;
    let mut state = State::read(job.mirror, job.branch)?
        .ok_or_else(|| Failure::failed("the state of the branch is gone"))?;
    if !whole && desk.operation()? == Some("git am") {
        let (next, last) = desk.at_mail()?;
        let paths = desk.unmerged()?;
        if let Some(operation) = &mut state.operation {
            operation.begun = true;
            operation.skipping = None;
            state.write(job.mirror, job.branch)?;
        }
        let files = &state.files;
        let at = files.len().saturating_sub(last.saturating_sub(next) + 1);
        return Ok(Done::Conflict {
            patch: files
                .get(at)
                .map(|file| file.name.clone())
                .unwrap_or_default(),
            reason: reason.unwrap_or_else(|| {
                if paths.is_empty() {
                    "it does not apply, and there is nothing to merge from".to_owned()
                } else {
                    format!("merging leaves conflicts in {}", paths.join(", "))
                }
            }),
            paths,
        });
    }
    if !whole {
        return Err(Failure::failed(
            "git am failed, and left nothing to resolve",
        ));
    }
    let head = desk.head()?;
    // The state last: until it says otherwise the operation waits, and is finished once more.
    job.mirror.git().move_refs(&[set(&desk.head_ref(), head)])?;
    job.watch.check()?;
    desk.follow()?;
    job.watch.check()?;
    state.operation = None;
    state.write(job.mirror, job.branch)?;
    Ok(Done::Resolved(resolved(job, &state, head)?))
}

/// Looks what the commits from where the series start up to `head` have of the files of `state`.
fn resolved(job: &Job<'_>, state: &State, head: Oid) -> Result<Resolved> {
    let repository = job.mirror.repository()?;
    let mut walk = repository.revwalk()?;
    walk.set_sorting(git2::Sort::TOPOLOGICAL | git2::Sort::REVERSE)?;
    walk.simplify_first_parent()?;
    walk.push(head)?;
    walk.hide(Oid::from_str(&state.start)?)?;
    let commits: Vec<_> = walk.collect::<std::result::Result<_, _>>()?;
    let all_are_in = commits.len() >= state.files.len();
    let mut applier = Applier::new(&repository, branch::tolerant())?;
    let mut found = Resolved::default();
    let mut files = state.files.as_slice();
    for id in commits {
        let commit = repository.find_commit(id)?;
        // A skipped file is passed over: its commit would have its subject, which `git am` keeps.
        let is_of = |file: &Applied| match &file.commit {
            Some(known) => *known == id.to_string(),
            None => job
                .patch_of(file)
                .is_some_and(|patch| commit.summary_bytes() == Some(patch.subject.as_bytes())),
        };
        let passed = if all_are_in {
            0
        } else {
            files.iter().position(is_of).unwrap_or(0)
        };
        let (skipped, rest) = files.split_at(passed);
        found
            .left_out
            .extend(skipped.iter().map(|file| file.name.clone()));
        let (file, rest) = rest
            .split_first()
            .map_or((None, rest), |(file, rest)| (Some(file), rest));
        files = rest;
        let patch = file.and_then(|file| job.patch_of(file));
        found.hows.push(match patch {
            Some(patch) => {
                let again = applier.series(commit.parent_id(0)?, [patch])?;
                let step = again.steps.first();
                step.filter(|step| step.tree == commit.tree_id())
                    .map(|step| step.how)
            }
            None => None,
        });
    }
    found
        .left_out
        .extend(files.iter().map(|file| file.name.clone()));
    Ok(found)
}

/// What waits, or a refusal.
fn waiting(job: &Job<'_>) -> Result<(State, Operation)> {
    finish_interrupted(job.mirror, job.branch, job.watch)?;
    let state = State::read(job.mirror, job.branch)?.unwrap_or_default();
    match state.operation.clone() {
        Some(operation) => Ok((state, operation)),
        None => Err(Failure::refused(format!(
            "no operation of {} waits to be continued",
            job.branch
        ))),
    }
}

/// What is there when no `git am` is under way any more: finished, by a person with git's own
/// command or by a run that was cut short.
fn finished(job: &Job<'_>, desk: &Desk, state: &State, operation: &Operation) -> Result<Done> {
    // Never begun, or HEAD is where it began, as after a `git am --abort`: the patches that are
    // left would be taken for dropped.
    let undone = operation.skipping.is_none() && desk.head()?.to_string() == state.began_at();
    if undone || !operation.begun {
        return Err(Failure::refused(format!(
            "no `git am` is under way in {}, and none of the patches that were left is applied",
            desk.folder().display()
        ))
        .hint("`branch abort` goes back to where the branch was"));
    }
    after_am(job, desk, true, None)
}

/// Goes on after a conflict was resolved and added.
///
/// # Errors
/// [`Kind::Conflict`] if conflicts are left; [`Kind::Refused`] if git's own command has undone all.
pub fn go_on(job: &Job<'_>) -> Result<Done> {
    let (state, operation) = waiting(job)?;
    let desk = job.desk();
    if desk.operation()? != Some("git am") {
        return finished(job, &desk, &state, &operation);
    }
    let unmerged = desk.unmerged()?;
    if !unmerged.is_empty() {
        return Err(Failure::new(
            Kind::Conflict,
            format!("conflicts are left in {}", unmerged.join(", ")),
        )
        .hint(format!(
            "resolve them in {}, then `git add` them",
            desk.folder().display()
        )));
    }
    let git = desk.git();
    let staged = git.try_output(&["diff", "--cached", "--quiet"])?;
    if staged.status.success() {
        return Err(Failure::new(
            Kind::Conflict,
            "nothing is added, so the patch would become an empty commit",
        )
        .hint("`git add` the resolution, or `branch skip` if the patch is not needed any more"));
    }
    job.watch.check()?;
    let output = git.try_output(&["am", "--continue", AUTHOR_DATE])?;
    after_am(job, &desk, output.status.success(), None)
}

/// Leaves the patch out that conflicts, and goes on.
///
/// # Errors
/// No operation waits.
pub fn skip(job: &Job<'_>) -> Result<Done> {
    let (mut state, operation) = waiting(job)?;
    let desk = job.desk();
    if desk.operation()? != Some("git am") {
        return finished(job, &desk, &state, &operation);
    }
    let (next, _) = desk.at_mail()?;
    if operation.skipping.is_some_and(|mail| mail != next) {
        // A run that was cut short has skipped it; this is the conflict that came next.
        return after_am(job, &desk, false, None);
    }
    job.watch.check()?;
    if let Some(operation) = &mut state.operation {
        operation.skipping = Some(next);
    }
    state.write(job.mirror, job.branch)?;
    job.watch.check()?;
    let output = desk.git().try_output(&["am", "--skip", AUTHOR_DATE])?;
    after_am(job, &desk, output.status.success(), None)
}

/// Undoes the operation: the branch is where it was before.
///
/// # Errors
/// No operation waits.
pub fn abort(job: &Job<'_>) -> Result<Done> {
    let (_, operation) = waiting(job)?;
    undo(job.mirror, job.branch, operation, job.watch)?;
    Ok(Done::Aborted)
}

/// Brings worktree and state to where they were before `operation`. May be repeated.
pub(crate) fn undo(
    mirror: &Mirror,
    branch: &str,
    operation: Operation,
    watch: &dyn Watch,
) -> Result<()> {
    let desk = Desk::of(mirror, branch);
    if desk.exists() {
        watch.check()?;
        if desk.operation()? == Some("git am") {
            // Not `--abort`: it would go back to a commit that only the session knows.
            desk.git().output(&["reset", "--quiet", "--hard"])?;
            watch.check()?;
            desk.git().output(&["am", "--quit"])?;
        }
        watch.check()?;
        match &operation.before {
            Some(before) => {
                desk.git()
                    .output(&["checkout", "--quiet", "--detach", before])?;
                watch.check()?;
                desk.follow()?;
            }
            None => desk.remove()?,
        }
    }
    watch.check()?;
    match operation.state {
        Some(state) => state.write(mirror, branch),
        None => State::forget(mirror, branch),
    }
}

/// Removes worktree, refs and what is remembered of a branch.
///
/// # Errors
/// [`Kind::Refused`] if work of a person's would be lost, unless `force` is set.
pub fn clean(mirror: &Mirror, branch: &str, force: bool, watch: &dyn Watch) -> Result<()> {
    finish_interrupted(mirror, branch, watch)?;
    let desk = Desk::of(mirror, branch);
    if !force {
        let state = State::read(mirror, branch)?;
        if state.is_some_and(|state| state.operation.is_some()) {
            return Err(Failure::refused(format!(
                "an operation of {branch} waits for a conflict to be resolved"
            ))
            .hint("`branch abort`, or --force"));
        }
        desk.require_replaceable()?;
    }
    watch.check()?;
    desk.remove()?;
    watch.check()?;
    let names = [desk.head_ref(), desk.applied_ref()];
    let mut moves = Vec::new();
    for name in names {
        if mirror.find_ref(&name)?.is_some() {
            moves.push(RefMove::Delete { name });
        }
    }
    if !moves.is_empty() {
        mirror.git().move_refs(&moves)?;
    }
    State::forget(mirror, branch)
}
