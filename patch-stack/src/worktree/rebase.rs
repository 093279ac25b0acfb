// SPDX-License-Identifier: MIT OR Apache-2.0
//! A branch carried to another base: first in memory, with what has landed there and a range-diff
//! to look at; then, if that is wanted, in the worktree. `export` makes it last.

use git2::Oid;

use super::desk::Extent;
use super::session::{Done, Job, settle};
use super::state::State;
use crate::apply::{Applier, How, Outcome};
use crate::branch::{self, Layer, PatchFile};
use crate::failure::{Failure, Kind, Result};
use crate::landed::{self, Evidence};
use crate::mirror::BaseState;
use crate::rebase;

/// A patch that the new base seems to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landed {
    /// Its file name.
    pub name: String,
    /// What speaks for it.
    pub evidence: Evidence,
}

/// A rebase in memory.
pub struct Rebase {
    /// Patches that the new base seems to have.
    pub landed: Vec<Landed>,
    /// File names of the patches that are carried over, in order.
    pub kept: Vec<String>,
    /// What became of those.
    pub outcome: Outcome,
    /// What git-range-diff(1) says of the old and the new commits, as far as there are new ones.
    pub range_diff: String,
}

/// Which of the branch's patches the commit `onto` has.
///
/// # Errors
/// The mirror can't be read, or the branch does not apply to its own base.
pub fn find_landed(job: &Job<'_>, onto: &BaseState) -> Result<Vec<Landed>> {
    let mut applier = Applier::new(&job.mirror.repository()?, branch::tolerant())?;
    landed_with(job, &mut applier, onto)
}

fn landed_with(job: &Job<'_>, applier: &mut Applier, onto: &BaseState) -> Result<Vec<Landed>> {
    job.watch
        .step(&format!("looking for what has landed on {}", onto.name));
    let repository = job.mirror.repository()?;
    let files = job.patches(None);
    let patches: Vec<_> = files.iter().map(|file| &file.patch).collect();
    let upstream = between(&repository, job.base.imported, onto.imported)?;
    let found = landed::find(applier, &repository, onto.start, &patches, &upstream)?;
    job.watch.done();
    Ok(files
        .iter()
        .zip(found)
        .filter(|(_, evidence)| evidence.is_any())
        .map(|(file, evidence)| Landed {
            name: file.name.clone(),
            evidence,
        })
        .collect())
}

/// The commits that `to` has and `from` has not, if the two have common history at all.
fn between(repository: &git2::Repository, from: Oid, to: Oid) -> Result<Vec<Oid>> {
    if repository.merge_base(from, to).is_err() {
        return Ok(Vec::new());
    }
    let mut walk = repository.revwalk()?;
    walk.push(to)?;
    walk.hide(from)?;
    Ok(walk.collect::<std::result::Result<_, _>>()?)
}

/// Rebases in memory. With `drop_landed`, what `onto` seems to have is left out.
///
/// # Errors
/// [`Kind::Conflict`] if the branch does not apply to its own base.
pub fn rehearse(job: &Job<'_>, onto: &BaseState, drop_landed: bool) -> Result<Rebase> {
    let repository = job.mirror.repository()?;
    let mut applier = Applier::new(&repository, branch::tolerant())?;
    let files = job.patches(None);
    job.watch.step(&format!(
        "applying {} patches to {}",
        files.len(),
        job.base.name
    ));
    let old = applier.series(job.base.start, files.iter().map(|file| &file.patch))?;
    job.watch.done();
    if let Some(stop) = &old.stopped {
        return Err(Failure::new(
            Kind::Conflict,
            format!(
                "{} does not even apply to {}: {}",
                files[stop.index].name, job.base.name, stop.reason
            ),
        ));
    }
    job.watch.check()?;
    let landed = landed_with(job, &mut applier, onto)?;
    let is_kept =
        |file: &&PatchFile| !drop_landed || !landed.iter().any(|landed| landed.name == file.name);
    let (kept, commits): (Vec<_>, Vec<_>) = files
        .iter()
        .zip(&old.steps)
        .filter(|(file, _)| is_kept(file))
        .map(|(file, step)| (file.name.clone(), step.commit))
        .unzip();
    job.watch.check()?;
    job.watch.step(&format!(
        "carrying {} patches to {}",
        commits.len(),
        onto.name
    ));
    let outcome = rebase::dry_run(&mut applier, &commits, onto.start)?;
    job.watch.done();
    job.watch.check()?;
    // Objects without a ref: git's range-diff reads them, and nothing else sees them.
    let old_tip = old.steps.last().map_or(job.base.start, |step| step.commit);
    let new_tip = outcome.steps.last().map_or(onto.start, |step| step.commit);
    if old_tip != job.base.start {
        applier.keep(old_tip)?;
    }
    if new_tip != onto.start {
        applier.keep(new_tip)?;
    }
    // git does not take a range without commits for one.
    let range_diff = if old_tip == job.base.start || new_tip == onto.start {
        String::new()
    } else {
        job.watch.step("comparing with git range-diff");
        let text = job.mirror.git().text(&[
            "range-diff",
            "--no-color",
            &format!("{}..{old_tip}", job.base.start),
            &format!("{}..{new_tip}", onto.start),
        ])?;
        job.watch.done();
        text
    };
    Ok(Rebase {
        landed,
        kept,
        outcome,
        range_diff,
    })
}

/// Carries the branch to `onto` in its worktree, whose layers for that base are `layers`.
///
/// # Errors
/// [`Kind::Refused`] if work would be lost, or if a patch has landed and is to be kept. Nothing was
/// touched then.
pub fn rebase_onto(
    job: &Job<'_>,
    onto: &BaseState,
    layers: &[Layer],
    drop_landed: bool,
) -> Result<(Rebase, Done)> {
    let before = job.require_idle()?;
    job.desk().require_replaceable()?;
    let rehearsed = rehearse(job, onto, drop_landed)?;
    let empty = rehearsed
        .outcome
        .steps
        .iter()
        .zip(&rehearsed.kept)
        .find(|(step, _)| step.how == How::AlreadyApplied);
    if let Some((_, name)) = empty {
        return Err(
            Failure::refused(format!("{name} changes nothing on {} any more", onto.name))
                .hint("--drop-landed leaves out what has landed"),
        );
    }
    let files: Vec<_> = job
        .patches(None)
        .into_iter()
        .filter(|file| rehearsed.kept.contains(&file.name))
        .collect();
    let remaining: Vec<_> = layers
        .iter()
        .map(|layer| {
            let mut layer = layer.clone();
            layer
                .patches
                .retain(|file| rehearsed.kept.contains(&file.name));
            layer
        })
        .collect();
    let fresh = State {
        base: onto.name.clone(),
        start: onto.start.to_string(),
        dropped: rehearsed
            .landed
            .iter()
            .filter(|landed| !rehearsed.kept.contains(&landed.name))
            .map(|landed| landed.name.clone())
            .collect(),
        ..State::default()
    };
    let target = Job {
        base: onto,
        layers: &remaining,
        ..*job
    };
    let extent = Extent::of(job.project, job.layers);
    let done = settle(
        &target,
        &files,
        &rehearsed.outcome,
        fresh,
        before,
        "rebase",
        &extent,
    )?;
    Ok((rehearsed, done))
}
