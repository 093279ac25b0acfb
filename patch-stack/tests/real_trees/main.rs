// SPDX-License-Identifier: MIT OR Apache-2.0
//! The engine against git on trees of real size, with patches made of what differs between
//! releases. Not run by a plain `cargo test`: it needs a repository with the releases.
//!
//! ```text
//! PATCH_STACK_REPOSITORY=…/mirror.git PATCH_STACK_RELEASES=v6.12.90,v6.12.96,v6.18.15 \
//!     cargo test --release -p patch-stack --test real_trees -- --ignored --nocapture --test-threads=1
//! ```
//!
//! For QEMU: `v7.2,v10.0.13,v10.2.2`. In a mirror of `cargo xtask branch fetch` the releases are
//! `refs/bases/v7.2` and so on.
//!
//! `PATCH_STACK_RELEASES` names the base, the next release, and a further one. Nothing is written
//! to the repository. `PATCH_STACK_PATCHES` says how many patches a part has (300).

#[path = "../common/mod.rs"]
mod common;
mod material;
mod skipping;

use std::path::PathBuf;
use std::time::Instant;

use common::{Repo, parse};
use git2::Oid;
use material::{Part, Selection, commits};
use patch_stack::apply::{How, Step};
use skipping::{
    Counts, Series, am_or_skip, apply_or_skip, git_rebase_or_skip, merge_in_git, rebase_or_skip,
};

struct Releases {
    repo: Repo,
    base: Oid,
    next: Oid,
    further: Oid,
    patches: usize,
}

impl Releases {
    fn from_environment() -> Self {
        let variable = |name| {
            std::env::var(name).unwrap_or_else(|_| panic!("set {name}; see the head of this file"))
        };
        let path = PathBuf::from(variable("PATCH_STACK_REPOSITORY"));
        let releases = variable("PATCH_STACK_RELEASES");
        let source = git2::Repository::open(&path).unwrap();
        let ids: Vec<Oid> = releases
            .split(',')
            .map(|name| {
                source
                    .revparse_single(name)
                    .unwrap()
                    .peel_to_commit()
                    .unwrap()
                    .id()
            })
            .collect();
        let &[base, next, further] = ids.as_slice() else {
            panic!("three releases are wanted")
        };
        let patches =
            std::env::var("PATCH_STACK_PATCHES").map_or(300, |number| number.parse().unwrap());
        Self {
            repo: Repo::over(source.path()),
            base,
            next,
            further,
            patches,
        }
    }

    fn select(&self, selection: &Selection<'_>) -> Series {
        let commits = commits(&self.repo.repository(), selection);
        let tip = *commits.last().expect("the releases differ");
        let files = self
            .repo
            .format_patch(&format!("{}..{tip}", selection.base), &[]);
        assert_eq!(files.len(), commits.len());
        let mailbox = self.repo.path().join(".git/mailbox");
        std::fs::write(&mailbox, files.concat()).unwrap();
        Series {
            base: selection.base,
            commits,
            patches: files.iter().map(|file| parse(file)).collect(),
            mailbox,
        }
    }

    /// Applies a series to `onto` with both.
    fn apply(&self, what: &str, series: &Series, onto: Oid) -> Counts {
        let start = Instant::now();
        let mut applier = self.repo.applier();
        let (ours, counts) = apply_or_skip(&mut applier, onto, &series.patches);
        let took = start.elapsed();
        let (theirs, skipped) = am_or_skip(&self.repo, onto, series);
        println!(
            "{what}: {counts:?} in {took:.1?}; git am skipped {skipped}, in {:.1?}",
            start.elapsed() - took
        );
        self.compare(&mut applier, onto, ours, theirs);
        assert_eq!(counts.skipped, skipped);
        counts
    }

    /// Rebases a series to `onto` with both.
    fn rebase(&self, what: &str, series: &Series, onto: Oid) -> Counts {
        let start = Instant::now();
        let mut applier = self.repo.applier();
        let (ours, counts, stopped) = rebase_or_skip(&mut applier, &series.commits, onto);
        let took = start.elapsed();
        applier.keep(ours).unwrap();
        let start = Instant::now();
        let (theirs, skipped) = git_rebase_or_skip(&self.repo, series, onto, &stopped);
        let merged = merge_in_git(&self.repo, &stopped);
        println!(
            "{what}: {counts:?} in {took:.1?}; of those git rebase stops at {skipped}, \
             and of the skipped it merges {merged}, in {:.1?}",
            start.elapsed()
        );
        self.compare(&mut applier, onto, ours, theirs);
        assert_eq!((skipped, merged), (0, 0));
        self.export(what, onto, ours);
        counts
    }

    /// Makes patches of the commits from `base` to `tip`, and of the patches commits again.
    fn export(&self, what: &str, base: Oid, tip: Oid) {
        let start = Instant::now();
        let files = self.repo.format_patch(&format!("{base}..{tip}"), &[]);
        let patches: Vec<_> = files.iter().map(|file| parse(file)).collect();
        let outcome = self.repo.applier().series(base, &patches).unwrap();
        let exact = |step: &Step| step.how == How::Exact;
        assert!(outcome.stopped.is_none() && outcome.steps.iter().all(exact));
        assert_eq!(outcome.steps.last().map_or(base, |step| step.commit), tip);
        println!(
            "{what}: {} patches made of the commits give the same commits, in {:.1?}",
            files.len(),
            start.elapsed()
        );
    }

    /// Panics with the first commit that differs.
    fn compare(
        &self,
        applier: &mut patch_stack::apply::Applier,
        base: Oid,
        ours: Oid,
        theirs: Oid,
    ) {
        if ours == theirs {
            return;
        }
        applier.keep(ours).unwrap();
        let list = |tip: Oid| {
            let printed = self
                .repo
                .git(&["rev-list", "--reverse", &format!("{base}..{tip}")]);
            String::from_utf8(printed)
                .unwrap()
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let (ours, theirs) = (list(ours), list(theirs));
        let common = ours
            .iter()
            .zip(&theirs)
            .take_while(|(ours, theirs)| ours == theirs)
            .count();
        let (ours, theirs) = (ours.get(common), theirs.get(common));
        let show = |commit: Option<&String>| {
            commit.map_or_else(String::new, |commit| {
                String::from_utf8_lossy(&self.repo.git(&["show", "-s", "--format=raw", commit]))
                    .into_owned()
            })
        };
        let differences = match (ours, theirs) {
            (Some(ours), Some(theirs)) => self.repo.git(&["diff", theirs, ours]),
            _ => Vec::new(),
        };
        panic!(
            "after {common} commits git made:\n{}\nthe engine made:\n{}\nfrom git's to the engine's:\n{}",
            show(theirs),
            show(ours),
            String::from_utf8_lossy(&differences)
        );
    }
}

impl Releases {
    /// What differs between the base and the next release, each file in two patches.
    fn next_release(&self) -> Series {
        self.select(&Selection {
            base: self.base,
            further: self.next,
            also_in: None,
            patches: self.patches,
            files: 7,
            without: Vec::new(),
            part: Part::All,
            title: "next",
        })
    }

    /// Other changes of files, some of which the next release changes too.
    fn other_changes(&self) -> Series {
        self.select(&Selection {
            base: self.base,
            further: self.further,
            also_in: Some(self.next),
            patches: self.patches,
            files: 7,
            without: Vec::new(),
            part: Part::Half,
            title: "further",
        })
    }
}

#[test]
#[ignore = "needs a repository with three releases; see the head of the file"]
fn patches_of_a_release() {
    let releases = Releases::from_environment();
    let series = releases.next_release();
    let counts = releases.apply("to their base", &series, releases.base);
    assert_eq!(counts.exact, series.patches.len());
    let counts = releases.apply("to the release that has them", &series, releases.next);
    assert!(counts.already > series.patches.len() / 2);
}

#[test]
#[ignore = "needs a repository with three releases; see the head of the file"]
fn patches_to_a_further_release() {
    let releases = Releases::from_environment();
    let series = releases.next_release();
    let counts = releases.apply("to the further release", &series, releases.further);
    assert!(counts.offset + counts.three_way > 0);
}

#[test]
#[ignore = "needs a repository with three releases; see the head of the file"]
fn commits_to_a_further_release() {
    let releases = Releases::from_environment();
    let series = releases.next_release();
    let counts = releases.rebase("rebased to the further release", &series, releases.further);
    assert!(counts.three_way > 0);
}

#[test]
#[ignore = "needs a repository with three releases; see the head of the file"]
fn other_changes_to_the_next_release() {
    let releases = Releases::from_environment();
    let series = releases.other_changes();
    let counts = releases.apply("other changes to the next release", &series, releases.next);
    assert!(counts.three_way > series.patches.len() / 10);
    let counts = releases.rebase("rebased to the next release", &series, releases.next);
    assert!(counts.three_way > series.patches.len() / 10);
}
