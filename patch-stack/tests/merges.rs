// SPDX-License-Identifier: MIT OR Apache-2.0
//! Patches that do not apply any more, and commits on another base, held against `git am -3` and
//! `git rebase`.

mod common;

use std::path::Path;

use common::{Repo, lines, same_as_am, same_or_both_stop, tip};
use git2::Oid;
use patch_stack::apply::{How, Reason};
use patch_stack::rebase;

/// Two lines of history from one base: `change` makes the patch, `other` the new base. The
/// change has to come out as `git am -3` and as `git rebase` have it.
struct Fork {
    repo: Repo,
    base: Oid,
    change: Oid,
    other: Oid,
}

impl Fork {
    fn new(
        before: impl FnOnce(&Repo),
        change: impl FnOnce(&Repo),
        other: impl FnOnce(&Repo),
    ) -> Self {
        let repo = Repo::new();
        before(&repo);
        let base = repo.commit("base");
        other(&repo);
        let other = repo.commit("other");
        repo.git(&["checkout", "-q", "-B", "topic", &base.to_string()]);
        change(&repo);
        let change = repo.commit("area: change\n\nWhy.");
        Self {
            repo,
            base,
            change,
            other,
        }
    }

    fn patches(&self) -> Vec<Vec<u8>> {
        self.repo
            .format_patch(&format!("{}..topic", self.base), &[])
    }

    /// Both ways succeed, as git does.
    #[track_caller]
    fn merges(&self) -> How {
        let outcome = same_as_am(&self.repo, self.other, &self.patches());
        let rebased = self.rebased();
        assert_eq!(
            self.git_rebase(),
            rebased.as_ref().ok().copied(),
            "{rebased:?}"
        );
        outcome.steps[0].how
    }

    /// Both ways stop, as git does.
    #[track_caller]
    fn conflicts(&self) -> Vec<String> {
        let outcome = same_or_both_stop(&self.repo, self.other, &self.patches(), &["-3"]);
        assert_eq!(self.git_rebase(), None);
        assert!(self.rebased().is_err());
        match outcome.stopped.expect("the patch leaves conflicts").reason {
            Reason::Conflict { paths } => paths
                .into_iter()
                .map(|path| String::from_utf8(path).unwrap())
                .collect(),
            other => panic!("{other}"),
        }
    }

    fn rebased(&self) -> Result<Oid, Reason> {
        let commits = self.repo.git(&[
            "rev-list",
            "--reverse",
            &format!("{}..{}", self.base, self.change),
        ]);
        let commits: Vec<Oid> = String::from_utf8(commits)
            .unwrap()
            .lines()
            .map(|id| Oid::from_str(id).unwrap())
            .collect();
        let outcome = rebase::dry_run(&mut self.repo.applier(), &commits, self.other).unwrap();
        match outcome.stopped {
            None => Ok(tip(&outcome)),
            Some(stop) => Err(stop.reason),
        }
    }

    fn git_rebase(&self) -> Option<Oid> {
        let (other, base) = (self.other.to_string(), self.base.to_string());
        self.repo.git(&["checkout", "-q", "-f", "topic"]);
        self.repo.git(&["branch", "-f", "rebased", "topic"]);
        let arguments = [
            "rebase",
            "-q",
            "--committer-date-is-author-date",
            "--onto",
            &other,
            &base,
            "rebased",
        ];
        let done = self.repo.command(&arguments).output().unwrap();
        if !done.status.success() {
            self.repo.git(&["rebase", "--abort"]);
            return None;
        }
        Some(self.repo.id("rebased"))
    }
}

fn replace(repo: &Repo, path: &str, from: &str, to: &str) {
    let text = std::fs::read_to_string(repo.path().join(path)).unwrap();
    assert!(text.contains(from));
    repo.write(path, text.replacen(from, to, 1));
}

#[test]
fn changed_context() {
    let fork = Fork::new(
        |repo| repo.write("d/f", lines(0..60, &[])),
        |repo| replace(repo, "d/f", "line 30\n", "changed\n"),
        |repo| replace(repo, "d/f", "line 32\n", "context\n"),
    );
    assert_eq!(fork.merges(), How::ThreeWay);
}

#[test]
fn the_same_change() {
    let fork = Fork::new(
        |repo| repo.write("f", lines(0..60, &[])),
        |repo| replace(repo, "f", "line 30\n", "changed\n"),
        |repo| {
            replace(repo, "f", "line 30\n", "changed\n");
            replace(repo, "f", "line 3\n", "other\n");
        },
    );
    let outcome = same_or_both_stop_empty(&fork);
    assert_eq!(outcome, How::AlreadyApplied);
}

/// git makes no commit, so the tip is the base.
fn same_or_both_stop_empty(fork: &Fork) -> How {
    let patches = fork.patches();
    let parsed = [common::parse(&patches[0])];
    let outcome = fork.repo.applier().series(fork.other, &parsed).unwrap();
    assert_eq!(
        fork.repo.am(fork.other, &patches, &["-3"]),
        Some(fork.other)
    );
    assert_eq!(tip(&outcome), fork.other);
    assert_eq!(fork.git_rebase(), Some(fork.other));
    assert_eq!(fork.rebased(), Ok(fork.other));
    outcome.steps[0].how
}

#[test]
fn a_conflict() {
    let fork = Fork::new(
        |repo| {
            repo.write("f", lines(0..60, &[]));
            repo.write("g", lines(0..60, &[]));
        },
        |repo| {
            replace(repo, "f", "line 30\n", "mine\n");
            replace(repo, "g", "line 30\n", "mine\n");
        },
        |repo| {
            replace(repo, "f", "line 30\n", "theirs\n");
            replace(repo, "g", "line 3\n", "theirs\n");
        },
    );
    assert_eq!(fork.conflicts(), ["f"]);
}

#[test]
fn the_patch_renames() {
    let fork = Fork::new(
        |repo| repo.write("d/f", lines(0..60, &[])),
        |repo| {
            repo.git(&["mv", "d/f", "moved"]);
            replace(repo, "moved", "line 30\n", "changed\n");
            repo.git(&["update-index", "--chmod=+x", "moved"]);
        },
        |repo| replace(repo, "d/f", "line 32\n", "context\n"),
    );
    assert_eq!(fork.merges(), How::ThreeWay);
}

#[test]
fn the_base_renames() {
    for changed in [false, true] {
        let fork = Fork::new(
            |repo| {
                repo.write("d/f", lines(0..60, &[]));
                repo.write("g", lines(100..160, &[]));
            },
            |repo| {
                replace(repo, "d/f", "line 30\n", "changed\n");
                replace(repo, "g", "line 130\n", "changed\n");
            },
            |repo| {
                std::fs::create_dir(repo.path().join("e")).unwrap();
                repo.git(&["mv", "d/f", "e/other"]);
                repo.git(&["mv", "g", "e/g"]);
                if changed {
                    replace(repo, "e/other", "line 3\n", "theirs\n");
                    replace(repo, "e/g", "line 103\n", "theirs\nand\nmore\n");
                }
            },
        );
        assert_eq!(fork.merges(), How::ThreeWay);
    }
}

#[test]
fn both_rename() {
    let rename = |to: &'static str| {
        move |repo: &Repo| {
            repo.git(&["mv", "f", to]);
            replace(
                repo,
                to,
                if to == "a" { "line 3\n" } else { "line 30\n" },
                "changed\n",
            );
        }
    };
    let before = |repo: &Repo| repo.write("f", lines(0..60, &[]));
    let other = |repo: &Repo| {
        repo.git(&["mv", "f", "a"]);
        replace(repo, "a", "line 50\n", "theirs\n");
    };
    assert_eq!(
        Fork::new(before, rename("a"), other).merges(),
        How::ThreeWay
    );
    Fork::new(before, rename("b"), other).conflicts();
}

#[test]
fn deleted_on_one_side() {
    let before = |repo: &Repo| {
        repo.write("f", lines(0..60, &[]));
        repo.write("g", "kept\n");
    };
    let edit = |repo: &Repo| replace(repo, "f", "line 30\n", "changed\n");
    let delete = |repo: &Repo| repo.remove("f");
    assert_eq!(Fork::new(before, edit, delete).conflicts(), ["f"]);
    assert_eq!(Fork::new(before, delete, edit).conflicts(), ["f"]);
    let both = Fork::new(
        before,
        |repo| {
            delete(repo);
            repo.write("new", "new\n");
        },
        delete,
    );
    assert_eq!(both.merges(), How::ThreeWay);
}

#[test]
fn added_on_both_sides() {
    let before = |repo: &Repo| repo.write("f", "a\n");
    let add = |text: &'static str| move |repo: &Repo| repo.write("new", text);
    Fork::new(before, add("one\n"), add("two\n")).conflicts();
    let fork = Fork::new(
        before,
        |repo| {
            repo.write("new", "one\n");
            repo.write("f", "b\n");
        },
        add("one\n"),
    );
    assert_eq!(fork.merges(), How::ThreeWay);
}

#[test]
fn a_file_where_a_directory_has_to_be() {
    let before = |repo: &Repo| repo.write("f", "a\n");
    let fork = Fork::new(
        before,
        |repo| repo.write("x/y", "deep\n"),
        |repo| repo.write("x", "flat\n"),
    );
    fork.conflicts();
}

#[test]
fn modes_merge() {
    let fork = Fork::new(
        |repo| repo.write("f", lines(0..60, &[])),
        |repo| {
            replace(repo, "f", "line 30\n", "changed\n");
            repo.git(&["config", "core.fileMode", "false"]);
            repo.git(&["update-index", "--chmod=+x", "f"]);
        },
        |repo| replace(repo, "f", "line 32\n", "context\n"),
    );
    assert_eq!(fork.merges(), How::ThreeWay);
}

#[test]
fn binary_files_conflict() {
    let fork = Fork::new(
        |repo| repo.write("b", [0, 1, 2, 3]),
        |repo| repo.write("b", [0, 1, 2, 4]),
        |repo| repo.write("b", [0, 9, 2, 3]),
    );
    assert_eq!(fork.conflicts(), ["b"]);
}

#[test]
fn a_missing_blob_is_named() {
    let fork = Fork::new(
        |repo| repo.write("f", lines(0..60, &[])),
        |repo| replace(repo, "f", "line 30\n", "changed\n"),
        |repo| replace(repo, "f", "line 32\n", "context\n"),
    );
    let patches = fork.patches();
    // A base without the history that the patch was made from.
    let stranger = Repo::new();
    stranger.write("f", lines(0..60, &[(32, "context")]));
    let base = stranger.commit("base");
    let outcome = same_or_both_stop(&stranger, base, &patches, &["-3"]);
    let reason = outcome.stopped.unwrap().reason;
    assert!(
        matches!(&reason, Reason::MissingBlob { blob, .. } if blob.as_ref().is_some_and(|blob| blob.len() == 40)),
        "{reason}"
    );

    // Without a three-way merge the hunk is named.
    let outcome = same_or_both_stop(&stranger, base, &patches, &[]);
    assert_eq!(
        outcome.stopped.unwrap().reason.to_string(),
        "f does not apply at hunk 1: its lines are not there"
    );
}

#[test]
fn short_blob_names_are_found() {
    let fork = Fork::new(
        |repo| repo.write("f", lines(0..60, &[])),
        |repo| replace(repo, "f", "line 30\n", "changed\n"),
        |repo| replace(repo, "f", "line 32\n", "context\n"),
    );
    let arguments = [
        "format-patch",
        "--stdout",
        "--abbrev=12",
        &format!("{}..topic", fork.base),
    ];
    let patch = fork.repo.git(&arguments);
    assert_eq!(
        same_as_am(&fork.repo, fork.other, &[patch]).steps[0].how,
        How::ThreeWay
    );
}

#[test]
fn a_patch_edited_by_hand_does_not_merge() {
    let fork = Fork::new(
        |repo| repo.write("f", lines(0..60, &[])),
        |repo| replace(repo, "f", "line 30\n", "changed\n"),
        |repo| replace(repo, "f", "line 32\n", "context\n"),
    );
    let patch = String::from_utf8(fork.patches().remove(0))
        .unwrap()
        .replace("-line 30\n", "-line thirty\n");
    let outcome = same_or_both_stop(&fork.repo, fork.other, &[patch.into_bytes()], &["-3"]);
    let reason = outcome.stopped.unwrap().reason.to_string();
    assert!(reason.contains("edited by hand"), "{reason}");
}

#[test]
fn a_series_goes_on_after_a_merge() {
    let fork = Fork::new(
        |repo| repo.write("f", lines(0..60, &[])),
        |repo| {
            for number in [10, 20, 30] {
                replace(repo, "f", &format!("line {number}\n"), "changed\n");
                repo.commit(&format!("change {number}"));
            }
        },
        |repo| {
            replace(repo, "f", "line 12\n", "context\n");
            replace(repo, "f", "line 20\n", "changed\n");
        },
    );
    let patches = fork.patches();
    // The last of the four is empty.
    let outcome = same_as_am(&fork.repo, fork.other, &patches[..3]);
    let how: Vec<How> = outcome.steps.iter().map(|step| step.how).collect();
    assert_eq!(how, [How::ThreeWay, How::AlreadyApplied, How::Exact]);
}

#[test]
fn kept_objects_are_whole() {
    let fork = Fork::new(
        |repo| repo.write("d/e/f", lines(0..60, &[])),
        |repo| {
            replace(repo, "d/e/f", "line 30\n", "changed\n");
            repo.write("d/new/g", "a\n");
        },
        |repo| replace(repo, "d/e/f", "line 32\n", "context\n"),
    );
    let parsed: Vec<_> = fork
        .patches()
        .iter()
        .map(|patch| common::parse(patch))
        .collect();
    let mut applier = fork.repo.applier();
    let ours = tip(&applier.series(fork.other, &parsed).unwrap());
    assert!(
        fork.repo.repository().find_commit(ours).is_err(),
        "nothing is written before"
    );
    // Two blobs, four trees, a commit.
    assert_eq!(applier.keep(ours).unwrap(), 7);
    fork.repo.git(&["fsck", "--strict", "--no-dangling"]);
    fork.repo.git(&["read-tree", "--empty"]);
    fork.repo.git(&["checkout", "-q", "-f", &ours.to_string()]);
    assert!(Path::new(&fork.repo.path().join("d/new/g")).exists());
}

/// Texts with few different lines and many, changed at random: git's choice among the ways to see
/// a change decides what merges, and to what.
#[test]
fn lines_are_merged_as_git_rebase_merges_them() {
    let repo = Repo::new();
    let mut random = Random(7);
    let (mut stream, cases) = (Vec::new(), 600);
    for case in 0..cases {
        let lines = [2, 3, 8, 30, 500][random.below(5)];
        let most = [20, 80, 300][random.below(3)];
        let length = 1 + random.below(most);
        let base: Vec<usize> = (0..length).map(|_| random.below(lines)).collect();
        let sides = [(); 2].map(|()| random.changed(&base, lines));
        let mut commit = |name: &str, mark: usize, from: Option<usize>, text: &[usize]| {
            let text: String = text.iter().map(|line| format!("{line}\n")).collect();
            let from = from.map_or_else(String::new, |from| format!("from :{from}\n"));
            stream.extend(
                format!(
                    "commit refs/heads/{name}{case}\nmark :{mark}\ncommitter A <a@b> 1 +0000\ndata 1\nm\n{from}M 644 inline f\ndata {}\n{text}\n",
                    text.len()
                )
                .into_bytes(),
            );
        };
        let mark = 3 * case + 1;
        commit("base", mark, None, &base);
        commit("ours", mark + 1, Some(mark), &sides[0]);
        commit("theirs", mark + 2, Some(mark), &sides[1]);
    }
    repo.git_with(&["fast-import", "--quiet"], &stream);
    let pairs: String = (0..cases)
        .map(|case| format!("ours{case} theirs{case}\n"))
        .collect();
    let merged = repo.git_with(
        &["merge-tree", "--write-tree", "--no-messages", "--stdin"],
        pairs.as_bytes(),
    );
    let fields: Vec<&str> = std::str::from_utf8(&merged).unwrap().split('\0').collect();
    let merged = fields
        .windows(2)
        .filter(|pair| matches!(pair[0], "0" | "1") && pair[1].len() == 40);
    let merged: Vec<Option<Oid>> = merged
        .map(|pair| (pair[0] == "1").then(|| Oid::from_str(pair[1]).unwrap()))
        .collect();
    assert_eq!(merged.len(), cases);
    let (mut clean, mut different) = (0, Vec::new());
    let (repository, mut applier) = (repo.repository(), repo.applier());
    let id = |name: String| repository.revparse_single(&name).unwrap().id();
    for (case, theirs) in merged.into_iter().enumerate() {
        let (onto, change) = (id(format!("ours{case}")), id(format!("theirs{case}")));
        let outcome = rebase::dry_run(&mut applier, &[change], onto).unwrap();
        let ours = outcome.steps.first().map(|step| step.tree);
        if ours != theirs {
            different.push((case, ours, theirs));
        }
        clean += usize::from(ours.is_some());
    }
    assert_eq!(different, [], "{clean} of {cases} merge");
    assert!(clean > cases / 5 && clean < cases * 4 / 5);
}

/// A generator of numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    /// A text with a few runs of lines taken out, put in, replaced, or copied from elsewhere.
    fn changed(&mut self, base: &[usize], lines: usize) -> Vec<usize> {
        let mut text = base.to_vec();
        for _ in 0..1 + self.below(3) {
            let start = self.below(text.len() + 1);
            let end = (start + self.below(6)).min(text.len());
            let end = if self.below(2) == 0 { start } else { end };
            let new: Vec<usize> = if self.below(3) == 0 {
                let from = self.below(base.len());
                base[from..].iter().take(self.below(8)).copied().collect()
            } else {
                let count = self.below(5);
                (0..count).map(|_| self.below(lines + 2)).collect()
            };
            text.splice(start..end, new);
        }
        text
    }
}
