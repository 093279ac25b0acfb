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
            Some(How::Offset(_) | How::OtherMode) => self.offset += 1,
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

/// A commit that stopped, and where it should have gone.
pub(crate) struct Stopped {
    pub(crate) commit: Oid,
    pub(crate) onto: Oid,
}

/// Rebases commits one by one and skips those that stop.
pub(crate) fn rebase_or_skip(
    applier: &mut Applier,
    commits: &[Oid],
    onto: Oid,
) -> (Oid, Counts, Vec<Stopped>) {
    let (mut counts, mut stopped) = (Counts::default(), Vec::new());
    let mut at = onto;
    for &commit in commits {
        let outcome = rebase::dry_run(applier, &[commit], at).unwrap();
        counts.add(&outcome);
        match outcome.steps.first() {
            Some(step) => at = step.commit,
            None => stopped.push(Stopped { commit, onto: at }),
        }
    }
    (at, counts, stopped)
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

/// `git rebase --onto` of those commits that did not stop here, with `--skip` where it stops.
/// Returns the tip and how often it was skipped. (All commits at once would take a call of git for
/// each that stops, and half an hour; whether those stop in git too, [`merge_in_git`] tells.)
pub(crate) fn git_rebase_or_skip(
    repo: &Repo,
    series: &Series,
    onto: Oid,
    stopped: &[Stopped],
) -> (Oid, usize) {
    repo.check_out_sparse(onto, &series.patches);
    repo.git(&["checkout", "-q", "--detach", &series.base.to_string()]);
    let picks = series
        .commits
        .iter()
        .filter(|commit| !stopped.iter().any(|stopped| stopped.commit == **commit))
        .map(|commit| format!("pick {commit}\n"));
    let list = repo.path().join(".git/picks");
    std::fs::write(&list, picks.collect::<String>()).unwrap();
    let editor = format!("sequence.editor=cp {}", list.display());
    let arguments = [
        "-c",
        &editor,
        "rebase",
        "-q",
        "-i",
        "--empty=drop",
        "--committer-date-is-author-date",
        "--onto",
        &onto.to_string(),
        &series.base.to_string(),
        &series.commits.last().unwrap().to_string(),
    ];
    let output = repo.command(&arguments).output().unwrap();
    skip_to_the_end(repo, output, "rebase")
}

/// How many commits that stopped here git merges (git-merge-tree(1): the merge of git rebase,
/// without a worktree; since git 2.40 with a base of one's choice).
pub(crate) fn merge_in_git(repo: &Repo, stopped: &[Stopped]) -> usize {
    let merges: String = stopped
        .iter()
        .map(|Stopped { commit, onto }| {
            let base = repo.id(&format!("{commit}^"));
            format!("{base} -- {onto} {commit}\n")
        })
        .collect();
    let arguments = ["merge-tree", "--write-tree", "--no-messages", "--stdin"];
    let printed = repo.git_with(&arguments, merges.as_bytes());
    let fields: Vec<&[u8]> = printed.split(|byte| *byte == 0).collect();
    let results: Vec<&[u8]> = fields
        .windows(2)
        .filter(|pair| matches!(pair[0], b"0" | b"1") && pair[1].len() == 40)
        .map(|pair| pair[0])
        .collect();
    assert_eq!(results.len(), stopped.len());
    results.into_iter().filter(|clean| *clean == b"1").count()
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
