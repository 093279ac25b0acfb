// SPDX-License-Identifier: MIT OR Apache-2.0
//! Series from end to end with both engines: what stops is skipped.

use std::path::PathBuf;
use std::process::Output;

use git2::Oid;
use patch_stack::apply::{Applier, How, Outcome};
use patch_stack::mail::Patch;
use patch_stack::rebase;

use crate::common::Repo;

/// A series as commits, as patches, and as a mailbox.
pub(crate) struct Series {
    pub(crate) base: Oid,
    pub(crate) commits: Vec<Oid>,
    pub(crate) patches: Vec<Patch>,
    pub(crate) mailbox: PathBuf,
}

/// What became of many patches, none of which stops the rest.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) exact: usize,
    pub(crate) offset: usize,
    pub(crate) three_way: usize,
    pub(crate) already: usize,
    pub(crate) skipped: usize,
}

impl Counts {
    fn add(&mut self, outcome: &Outcome) {
        match outcome.steps.first().map(|step| step.how) {
            Some(How::Exact) => self.exact += 1,
            Some(How::Offset(_)) => self.offset += 1,
            Some(How::ThreeWay) => self.three_way += 1,
            Some(How::AlreadyApplied) => self.already += 1,
            None => self.skipped += 1,
        }
    }
}

/// Applies patches one by one and skips those that stop.
pub(crate) fn apply_or_skip(applier: &mut Applier, base: Oid, patches: &[Patch]) -> (Oid, Counts) {
    let mut counts = Counts::default();
    let mut at = base;
    for patch in patches {
        let outcome = applier.series(at, [patch]).unwrap();
        counts.add(&outcome);
        at = outcome.steps.first().map_or(at, |step| step.commit);
    }
    (at, counts)
}

/// Rebases commits one by one and skips those that stop.
pub(crate) fn rebase_or_skip(applier: &mut Applier, commits: &[Oid], onto: Oid) -> (Oid, Counts) {
    let mut counts = Counts::default();
    let mut at = onto;
    for commit in commits {
        let outcome = rebase::dry_run(applier, &[*commit], at).unwrap();
        counts.add(&outcome);
        at = outcome.steps.first().map_or(at, |step| step.commit);
    }
    (at, counts)
}

/// `git am -3`, with `--skip` where it stops. Returns the tip and how often it was skipped.
pub(crate) fn am_or_skip(repo: &Repo, base: Oid, series: &Series) -> (Oid, usize) {
    repo.check_out_sparse(base, &series.patches);
    let path = series.mailbox.to_str().unwrap();
    let arguments = [
        "am",
        "-q",
        "-3",
        "--keep-non-patch",
        "--committer-date-is-author-date",
        path,
    ];
    skip_to_the_end(repo, repo.command(&arguments).output().unwrap(), "am")
}

/// `git rebase --onto`, with `--skip` where it stops, and with more options.
pub(crate) fn git_rebase_or_skip(
    repo: &Repo,
    series: &Series,
    onto: Oid,
    options: &[&str],
) -> (Oid, usize) {
    repo.check_out_sparse(*series.commits.last().unwrap(), &series.patches);
    let (onto, base) = (onto.to_string(), series.base.to_string());
    let fixed = [
        "rebase",
        "-q",
        "--committer-date-is-author-date",
        "--onto",
        &onto,
        &base,
    ];
    let arguments: Vec<&str> = fixed.into_iter().chain(options.iter().copied()).collect();
    skip_to_the_end(repo, repo.command(&arguments).output().unwrap(), "rebase")
}

fn skip_to_the_end(repo: &Repo, mut output: Output, command: &str) -> (Oid, usize) {
    // git am forgets about the date when it goes on, git rebase does not.
    let (state, skip): (_, &[&str]) = match command {
        "am" => (
            "rebase-apply",
            &["am", "--skip", "--committer-date-is-author-date"],
        ),
        _ => ("rebase-merge", &["rebase", "--skip"]),
    };
    let mut skipped = 0;
    while !output.status.success() {
        assert!(
            repo.path().join(".git").join(state).exists(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        skipped += 1;
        output = repo.command(skip).output().unwrap();
    }
    (repo.id("HEAD"), skipped)
}
