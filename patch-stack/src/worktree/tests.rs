// SPDX-License-Identifier: MIT OR Apache-2.0
//! Apply, conflicts and what follows them, on a small project; and the same cut short anywhere.

use super::*;
use crate::apply::How;
use crate::failure::Kind;
use crate::testing::{CrashAt, Small, commit, lines, write};
use crate::watch::Silent;

/// The declared base becomes `name`.
fn declare_base(small: &Small, name: &str) {
    let file = small.path().join("branches.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    write(
        &file,
        &text.replace("base = \"v1\"", &format!("base = \"{name}\"")),
    );
}

#[test]
fn the_same_files_are_always_the_same_commits() {
    let small = Small::new();
    let done = small.apply().unwrap();
    assert_eq!(done, Done::Whole(vec![How::Exact; 3]));
    let tip = small.desk().head().unwrap();
    let git = small.git();
    assert_eq!(git.text(&["symbolic-ref", "HEAD"]).unwrap(), "refs/heads/b");
    assert_eq!(git.text(&["status", "--porcelain"]).unwrap(), "");
    assert_eq!(
        git.text(&["log", "--format=%s", "-1"]).unwrap(),
        "[TAG] a new file"
    );
    // Sparse: what no patch touches and nobody asked for is not there.
    assert!(small.desk().folder().join("src/a").exists());
    assert!(!small.desk().folder().join("other").exists());

    let again = small.apply().unwrap();
    assert_eq!(again, done);
    assert_eq!(small.desk().head().unwrap(), tip);
    let other = Small::new();
    other.apply().unwrap();
    assert_eq!(other.desk().head().unwrap(), tip);

    // What `git am` makes of the same files, in a worktree of its own.
    let folder = small.path().join("am");
    let start = small.base("v1").start.to_string();
    let shown = folder.display().to_string();
    let mirror = small.mirror.git();
    mirror
        .output(&["worktree", "add", "--quiet", "--detach", &shown, &start])
        .unwrap();
    let files: Vec<_> = ["0001-a-five", "0002-a-fifteen", "0003-TAG-a-new-file"]
        .map(|name| small.patch(&format!("{name}.patch")).display().to_string())
        .into();
    let mut arguments = vec![
        "am".to_owned(),
        "-3".to_owned(),
        "--keep-non-patch".to_owned(),
        "--committer-date-is-author-date".to_owned(),
    ];
    arguments.extend(files);
    let git = crate::git::Git::worktree(&folder);
    git.output(&arguments).unwrap();
    assert_eq!(git.text(&["rev-parse", "HEAD"]).unwrap(), tip.to_string());
}

/// Remembers which steps have ended well.
#[derive(Default)]
struct Steps {
    now: std::cell::RefCell<Option<String>>,
    done: std::cell::RefCell<Vec<String>>,
}

impl crate::watch::Watch for Steps {
    fn step(&self, what: &str) {
        self.now.replace(Some(what.to_owned()));
    }

    fn done(&self) {
        // Whether another run is waited for is up to chance.
        let done = self.now.take().filter(|what| !what.starts_with("waiting"));
        self.done.borrow_mut().extend(done);
    }
}

#[test]
fn whatever_takes_long_says_what_it_is_at() {
    let small = Small::new();
    let steps = Steps::default();
    let onto = small.base("v2");
    small
        .with(&steps, |job, _| apply(job, None, false))
        .unwrap();
    small
        .with(&steps, |job, _| find_landed(job, &onto))
        .unwrap();
    small
        .with(&steps, |job, _| rehearse(job, &onto, false))
        .unwrap();
    small.with(&steps, crate::export::export).unwrap();
    assert_eq!(
        steps.done.take(),
        [
            "applying 3 patches",
            "checking the worktree out",
            "looking for what has landed on v2",
            "applying 3 patches to v1",
            "looking for what has landed on v2",
            "carrying 3 patches to v2",
            "comparing with git range-diff",
            "looking what the commits of b have come to",
            "applying 3 patches as they are to be",
            "applying 3 patches",
        ]
    );
}

#[test]
fn the_first_patches_alone() {
    let small = Small::new();
    small
        .with(&Silent, |job, _| apply(job, Some(1), true))
        .unwrap();
    let git = small.git();
    assert_eq!(git.text(&["log", "--format=%s", "-1"]).unwrap(), "a: five");
    assert!(small.desk().folder().join("other/c").exists());
    // And then all.
    small.apply().unwrap();
    assert!(!small.desk().folder().join("other/c").exists());
}

#[test]
fn nothing_of_a_persons_is_lost() {
    let small = Small::new();
    small.apply().unwrap();
    let file = small.desk().folder().join("src/a");
    let old = std::fs::read_to_string(&file).unwrap();
    write(&file, "by hand\n");
    let before = small.picture();
    let error = small.apply().unwrap_err();
    assert_eq!(error.kind, Kind::Refused);
    assert!(error.message.contains("not committed: M src/a"), "{error}");
    assert_eq!(small.picture(), before);
    let clean_up = || small.with(&Silent, |job, _| clean(job.mirror, "b", false, &Silent));
    assert_eq!(clean_up().unwrap_err().kind, Kind::Refused);

    write(&file, &(old + "more\n"));
    commit(&small.git(), "more");
    let error = small.apply().unwrap_err();
    assert!(error.message.contains("not exported"), "{error}");
    assert_eq!(clean_up().unwrap_err().kind, Kind::Refused);
    // A commit on no branch at all.
    let head = small.desk().head().unwrap().to_string();
    small
        .git()
        .output(&["checkout", "--quiet", "--detach"])
        .unwrap();
    small
        .mirror
        .git()
        .output(&["update-ref", "refs/heads/b", "refs/applied/b"])
        .unwrap();
    let error = small.apply().unwrap_err();
    assert!(error.message.contains(&head), "{error}");

    small
        .with(&Silent, |job, _| clean(job.mirror, "b", true, &Silent))
        .unwrap();
    assert!(!small.desk().exists());
    assert_eq!(State::read(&small.mirror, "b").unwrap(), None);
    small.apply().unwrap();
}

#[test]
fn a_conflict_is_an_ordinary_one_and_can_be_continued() {
    let small = Small::new();
    declare_base(&small, "v3");
    let done = small.apply().unwrap();
    let Done::Conflict { patch, paths, .. } = done else {
        panic!("{done:?}");
    };
    assert_eq!(patch, "0001-a-five.patch");
    assert_eq!(paths, ["src/a"]);
    let file = small.desk().folder().join("src/a");
    assert!(std::fs::read_to_string(&file).unwrap().contains("<<<<<<<"));
    assert_eq!(small.desk().operation().unwrap(), Some("git am"));
    // Everything else waits.
    let error = small.apply().unwrap_err();
    assert!(error.message.contains("waits for a conflict"), "{error}");
    assert_eq!(small.export().unwrap_err().kind, Kind::Refused);
    // Continuing with the conflict there is refused, and loses nothing.
    let go = || small.with(&Silent, |job, _| go_on(job));
    let error = go().unwrap_err();
    assert_eq!(error.kind, Kind::Conflict);
    assert!(error.message.contains("left in src/a"), "{error}");
    write(&file, &lines(&[(5, "both fives")]));
    small.git().output(&["add", "src/a"]).unwrap();
    let done = go().unwrap();
    let wanted = Resolved {
        hows: vec![None, Some(How::Exact), Some(How::Exact)],
        left_out: Vec::new(),
    };
    assert_eq!(done, Done::Resolved(wanted));
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, lines(&[(5, "both fives"), (15, "fifteen")]));
    assert_eq!(
        small.git().text(&["symbolic-ref", "HEAD"]).unwrap(),
        "refs/heads/b"
    );
    assert_eq!(go().unwrap_err().kind, Kind::Refused);
}

#[test]
fn a_conflict_can_be_finished_with_gits_own_command() {
    let small = Small::new();
    declare_base(&small, "v3");
    small.apply().unwrap();
    write(
        &small.desk().folder().join("src/a"),
        &lines(&[(5, "both fives")]),
    );
    small.git().output(&["add", "src/a"]).unwrap();
    small.git().output(&["am", "--continue"]).unwrap();
    let done = small.with(&Silent, |job, _| go_on(job)).unwrap();
    assert!(matches!(done, Done::Resolved(_)));
    small.export().unwrap();
}

#[test]
fn a_conflict_can_be_skipped_or_undone() {
    let small = Small::new();
    small.apply().unwrap();
    let before = small.picture();
    declare_base(&small, "v3");
    // On v1 still: the declared base is another, and what was applied is replaced.
    let on_v3 = |act: fn(&Job<'_>) -> crate::failure::Result<Done>| {
        let _guard = small.mirror.lock(&Silent).unwrap();
        let declared = small.declared();
        let base = small.base("v3");
        let layers = small.layers("v3").unwrap();
        act(&Job {
            mirror: &small.mirror,
            branch: "b",
            project: &declared.projects["p"],
            base: &base,
            layers: &layers,
            watch: &Silent,
        })
    };
    assert!(matches!(
        on_v3(|job| apply(job, None, false)).unwrap(),
        Done::Conflict { .. }
    ));
    assert_eq!(on_v3(abort).unwrap(), Done::Aborted);
    declare_base(&small, "v1");
    let text = std::fs::read_to_string(small.path().join("branches.toml")).unwrap();
    write(
        &small.path().join("branches.toml"),
        &text.replace("base = \"v3\"", "base = \"v1\""),
    );
    assert_eq!(small.picture(), before);

    assert!(matches!(
        on_v3(|job| apply(job, None, false)).unwrap(),
        Done::Conflict { .. }
    ));
    let wanted = Resolved {
        hows: vec![Some(How::Exact); 2],
        left_out: vec!["0001-a-five.patch".to_owned()],
    };
    assert_eq!(on_v3(skip).unwrap(), Done::Resolved(wanted));
    let text = std::fs::read_to_string(small.desk().folder().join("src/a")).unwrap();
    assert_eq!(text, lines(&[(5, "another five"), (15, "fifteen")]));
}

#[test]
fn an_apply_that_is_cut_short_anywhere_ends_the_same_when_run_again() {
    let whole = Small::new();
    whole.apply().unwrap();
    let wanted = strip(&whole);
    let mut crashes = 0;
    for at in 0.. {
        let small = Small::new();
        let crashed = small.with(&CrashAt::new(at), |job, _| apply(job, None, false));
        if crashed.is_ok() {
            break;
        }
        crashes += 1;
        small.apply().unwrap();
        assert_eq!(strip(&small), wanted, "cut short at step {at}");
    }
    assert!(crashes >= 4, "{crashes}");
}

/// The picture without the names of the folder and of git's own passing refs.
fn strip(small: &Small) -> String {
    small
        .picture()
        .replace(&small.path().display().to_string(), "")
}

/// A branch whose first patch conflicts, and whose third does as well: an apply that stops twice.
fn twice_in_conflict() -> Small {
    let small = Small::new();
    declare_base(&small, "v3");
    let upstream = crate::git::Git::worktree(&small.path().join("upstream"));
    upstream.output(&["checkout", "--quiet", "three"]).unwrap();
    write(&small.path().join("upstream/src/new"), "theirs\n");
    commit(&upstream, "a file of that name");
    let url = small.path().join("upstream").display().to_string();
    for name in ["refs/bases/v3", "refs/fixed/v3"] {
        small
            .mirror
            .git()
            .output(&["fetch", "--quiet", &url, &format!("+three:{name}")])
            .unwrap();
    }
    small
}

/// What is left of `act` when it is cut short at each of its steps and then repeated, against what
/// is left of it when it is not.
fn cut_short_anywhere(
    prepare: fn() -> Small,
    act: fn(&Job<'_>) -> crate::failure::Result<Done>,
    again: fn(&Small),
    steps: usize,
) {
    let whole = prepare();
    whole.with(&Silent, |job, _| act(job)).unwrap();
    let wanted = (strip(&whole), State::read(&whole.mirror, "b").unwrap());
    let mut crashes = 0;
    for at in 0.. {
        let small = prepare();
        if small.with(&CrashAt::new(at), |job, _| act(job)).is_ok() {
            break;
        }
        crashes += 1;
        again(&small);
        let found = (strip(&small), State::read(&small.mirror, "b").unwrap());
        assert_eq!(found, wanted, "cut short at step {at}");
    }
    assert!(crashes >= steps, "{crashes}");
}

#[test]
fn an_apply_that_conflicts_and_is_cut_short_ends_the_same_when_run_again() {
    cut_short_anywhere(
        twice_in_conflict,
        |job| apply(job, None, false),
        |small| match small.apply() {
            Ok(done) => assert!(matches!(done, Done::Conflict { .. }), "{done:?}"),
            // git had told of the conflict already.
            Err(error) => assert!(error.message.contains("waits for a conflict"), "{error}"),
        },
        5,
    );
}

#[test]
fn a_skip_that_is_cut_short_anywhere_skips_one_patch_when_run_again() {
    let conflict = || {
        let small = twice_in_conflict();
        small.apply().unwrap();
        small
    };
    let again = |small: &Small| match small.with(&Silent, |job, _| skip(job)) {
        Ok(done) => assert!(
            matches!(&done, Done::Conflict { patch, .. } if patch == "0003-TAG-a-new-file.patch"),
            "{done:?}"
        ),
        Err(error) => panic!("{error}"),
    };
    cut_short_anywhere(conflict, skip, again, 3);

    // And the last one, after which nothing is left to skip.
    let last = || {
        let small = twice_in_conflict();
        small.apply().unwrap();
        small.with(&Silent, |job, _| skip(job)).unwrap();
        small
    };
    let again = |small: &Small| {
        let done = small.with(&Silent, |job, _| skip(job)).unwrap();
        assert!(matches!(done, Done::Resolved(_)), "{done:?}");
    };
    cut_short_anywhere(last, skip, again, 4);
}

#[test]
fn a_continue_or_an_abort_that_is_cut_short_anywhere_ends_the_same_when_run_again() {
    let resolved = || {
        let small = Small::new();
        declare_base(&small, "v3");
        small.apply().unwrap();
        write(
            &small.desk().folder().join("src/a"),
            &lines(&[(5, "both fives")]),
        );
        small.git().output(&["add", "src/a"]).unwrap();
        small
    };
    let again = |small: &Small| {
        small.with(&Silent, |job, _| go_on(job)).unwrap();
    };
    cut_short_anywhere(resolved, go_on, again, 3);
    let again = |small: &Small| {
        small.with(&Silent, |job, _| abort(job)).unwrap();
    };
    cut_short_anywhere(resolved, abort, again, 3);
}

#[test]
fn gits_own_abort_is_not_taken_for_a_branch_without_its_patches() {
    let small = Small::new();
    declare_base(&small, "v3");
    small.apply().unwrap();
    small.git().output(&["am", "--abort"]).unwrap();
    for act in [go_on, skip] {
        let error = small.with(&Silent, |job, _| act(job)).unwrap_err();
        assert_eq!(error.kind, Kind::Refused);
        assert!(error.message.contains("none of the patches"), "{error}");
    }
    small.with(&Silent, |job, _| abort(job)).unwrap();
    assert!(matches!(small.apply().unwrap(), Done::Conflict { .. }));
}

#[test]
fn a_worktree_that_was_cut_short_is_made_anew() {
    let small = Small::new();
    small.apply().unwrap();
    // As if killed before the checkout was whole.
    let marker = small.path().join("cache/worktrees/p/.b.ready");
    std::fs::remove_file(marker).unwrap();
    std::fs::remove_file(small.desk().folder().join("src/a")).unwrap();
    assert!(!small.desk().exists());
    small.apply().unwrap();
    assert!(small.desk().folder().join("src/a").exists());
}

/// Carries the branch to the base `name`.
fn carry(
    small: &Small,
    name: &str,
    drop_landed: bool,
    watch: &dyn crate::watch::Watch,
) -> crate::failure::Result<Done> {
    let onto = small.base(name);
    let layers = small.layers(name)?;
    small.with(watch, |job, _| {
        rebase_onto(job, &onto, &layers, drop_landed).map(|(_, done)| done)
    })
}

#[test]
fn a_rebase_gives_what_git_rebase_gives_and_export_makes_it_last() {
    let small = Small::new();
    small.apply().unwrap();
    let onto = small.base("v2");
    let git = small.git();
    git.output(&["checkout", "--quiet", "--detach"]).unwrap();
    let (from, to) = (small.base("v1").start.to_string(), onto.start.to_string());
    git.output(&["rebase", "--quiet", "--onto", &to, &from])
        .unwrap();
    let by_git = git.text(&["rev-parse", "HEAD^{tree}"]).unwrap();
    git.output(&["checkout", "--quiet", "b"]).unwrap();

    let before = small.picture();
    let rehearsed = small
        .with(&Silent, |job, _| rehearse(job, &onto, false))
        .unwrap();
    assert_eq!(rehearsed.landed, []);
    assert_eq!(
        rehearsed.range_diff.lines().count(),
        3,
        "{}",
        rehearsed.range_diff
    );
    assert_eq!(small.picture(), before);

    assert!(matches!(
        carry(&small, "v2", false, &Silent).unwrap(),
        Done::Whole(_)
    ));
    assert_eq!(git.text(&["rev-parse", "HEAD^{tree}"]).unwrap(), by_git);
    assert_eq!(small.apply().unwrap_err().kind, Kind::Refused);
    let exported = small.export().unwrap();
    assert_eq!(exported.new_base.as_deref(), Some("v2"));
    let text = std::fs::read_to_string(small.path().join("branches.toml")).unwrap();
    assert!(text.contains("base = \"v2\" # where it stands"), "{text}");
    assert!(text.starts_with("# A remark that stays."));
    // From now on it is clean there.
    assert_eq!(small.apply().unwrap(), Done::Whole(vec![How::Exact; 3]));
    assert_eq!(small.desk().head().unwrap(), exported.tip);
}

#[test]
fn what_has_landed_is_proposed_and_left_out_only_if_asked() {
    let small = Small::new();
    // v2 gets the second patch.
    let upstream = crate::git::Git::worktree(&small.path().join("upstream"));
    let folder = small.path().join("upstream");
    upstream.output(&["checkout", "--quiet", "main"]).unwrap();
    write(
        &folder.join("src/a"),
        &format!("0\n0\n0\n{}", lines(&[(15, "fifteen")])),
    );
    commit(&upstream, "took it");
    let mirror = small.mirror.git();
    let url = folder.display().to_string();
    for name in ["refs/bases/v2", "refs/fixed/v2"] {
        mirror
            .output(&["fetch", "--quiet", &url, &format!("+main:{name}")])
            .unwrap();
    }
    small.apply().unwrap();
    let onto = small.base("v2");
    let landed = small
        .with(&Silent, |job, _| find_landed(job, &onto))
        .unwrap();
    assert_eq!(landed.len(), 1);
    assert_eq!(landed[0].name, "0002-a-fifteen.patch");
    let before = small.picture();
    let error = carry(&small, "v2", false, &Silent).unwrap_err();
    assert!(error.message.contains("changes nothing on v2"), "{error}");
    assert_eq!(small.picture(), before);

    let Done::Whole(hows) = carry(&small, "v2", true, &Silent).unwrap() else {
        panic!("a conflict");
    };
    assert_eq!(hows.len(), 2);
    let exported = small.export().unwrap();
    let removed: Vec<_> = exported
        .changes
        .iter()
        .filter(|change| change.content.is_none())
        .map(|change| change.path.file_name().unwrap().to_owned())
        .collect();
    assert_eq!(removed, ["0002-a-fifteen.patch"]);
    assert_eq!(small.apply().unwrap(), Done::Whole(vec![How::Exact; 2]));
}

#[test]
fn a_rebase_that_conflicts_can_be_continued_and_exported() {
    let small = Small::new();
    small.apply().unwrap();
    let before = small.picture();
    let done = carry(&small, "v3", false, &Silent).unwrap();
    assert!(matches!(done, Done::Conflict { .. }), "{done:?}");
    small.with(&Silent, |job, _| abort(job)).unwrap();
    assert_eq!(small.picture(), before);

    carry(&small, "v3", false, &Silent).unwrap();
    write(
        &small.desk().folder().join("src/a"),
        &lines(&[(5, "both fives")]),
    );
    small.git().output(&["add", "-A"]).unwrap();
    small.with(&Silent, |job, _| go_on(job)).unwrap();
    let exported = small.export().unwrap();
    assert_eq!(exported.new_base.as_deref(), Some("v3"));
    assert_eq!(small.apply().unwrap(), Done::Whole(vec![How::Exact; 3]));
}

#[test]
fn a_rebase_that_is_cut_short_anywhere_ends_the_same_when_run_again() {
    let prepare = || {
        let small = Small::new();
        small.apply().unwrap();
        small
    };
    let whole = prepare();
    carry(&whole, "v2", false, &Silent).unwrap();
    let wanted = strip(&whole);
    let mut crashes = 0;
    for at in 0.. {
        let small = prepare();
        if carry(&small, "v2", false, &CrashAt::new(at)).is_ok() {
            break;
        }
        crashes += 1;
        carry_again(&small);
        assert_eq!(strip(&small), wanted, "cut short at step {at}");
    }
    assert!(crashes >= 4, "{crashes}");
}

/// What a person does after a crash: the same again. If the refs had moved already, the rebase
/// was whole, and is refused as one that waits for its export.
fn carry_again(small: &Small) {
    match carry(small, "v2", false, &Silent) {
        Ok(_) => {}
        Err(error) => assert!(error.message.contains("not exported"), "{error}"),
    }
}
