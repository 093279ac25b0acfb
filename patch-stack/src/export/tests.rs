// SPDX-License-Identifier: MIT OR Apache-2.0
//! Export on a small project: what keeps its bytes, what gets which name, what is refused; and
//! the same cut short anywhere.

use super::*;
use crate::testing::{CrashAt, Small, commit, lines, write};
use crate::watch::Silent;
use crate::worktree::{Done, apply};

fn words(small: &Small, exported: &Exported) -> Vec<String> {
    exported
        .changes
        .iter()
        .map(|change| {
            let path = change
                .path
                .strip_prefix(small.path().join("patches"))
                .unwrap();
            format!("{} {}", change.word(), path.display())
        })
        .collect()
}

fn order(small: &Small) -> String {
    std::fs::read_to_string(small.patch("series")).unwrap()
}

#[test]
fn what_was_not_touched_keeps_its_bytes() {
    let small = Small::new();
    // A file as another git, or a person, would have written it.
    let file = small.patch("0002-a-fifteen.patch");
    let text = std::fs::read_to_string(&file).unwrap();
    let odd = text.replace("Subject: [PATCH]", "X-Odd: yes\nSubject: [PATCH v7 2/9]");
    write(&file, &odd);
    small.apply().unwrap();
    let before = small.picture();
    let exported = small.export().unwrap();
    assert_eq!(exported.changes, []);
    assert_eq!(small.picture(), before);

    // The first patch is amended, and the second keeps its bytes all the same.
    let git = small.git();
    git.output(&["reset", "--quiet", "--hard", "HEAD~2"])
        .unwrap();
    write(
        &small.desk().folder().join("src/a"),
        &lines(&[(5, "FIVE"), (1, "one")]),
    );
    git.output(&["add", "-A"]).unwrap();
    git.output(&["commit", "--quiet", "--amend", "--no-edit"])
        .unwrap();
    git.output(&["cherry-pick", "refs/applied/b~1", "refs/applied/b"])
        .unwrap();
    let exported = small.export().unwrap();
    assert_eq!(words(&small, &exported), ["changed ours/0001-a-five.patch"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), odd);
    assert_eq!(small.export().unwrap().changes, []);
    // The branch is the commits of the files now.
    let tip = small.desk().head().unwrap();
    assert_eq!(tip, exported.tip);
    assert_eq!(small.desk().changes().unwrap(), [""; 0]);
}

#[test]
fn names_stay_through_a_new_subject_or_a_new_diff() {
    let small = Small::new();
    small.apply().unwrap();
    let git = small.git();
    git.output(&["reset", "--quiet", "--hard", "HEAD~2"])
        .unwrap();
    git.output(&["commit", "--quiet", "--amend", "-m", "a: the number five"])
        .unwrap();
    write(&small.desk().folder().join("src/b"), &lines(&[(9, "nine")]));
    commit(&git, "b: nine");
    git.output(&["cherry-pick", "refs/applied/b"]).unwrap();
    let exported = small.export().unwrap();
    assert_eq!(
        words(&small, &exported),
        [
            "changed ours/0001-a-five.patch",
            "new ours/b-nine.patch",
            "changed ours/series",
            "removed ours/0002-a-fifteen.patch",
        ]
    );
    assert_eq!(
        order(&small),
        "# The order.\n0001-a-five.patch\nb-nine.patch\n0003-TAG-a-new-file.patch\n"
    );
    assert_eq!(small.export().unwrap().changes, []);
}

#[test]
fn order_is_the_series_files_alone() {
    let small = Small::new();
    small.apply().unwrap();
    let git = small.git();
    git.output(&["reset", "--quiet", "--hard", "HEAD~3"])
        .unwrap();
    git.output(&[
        "cherry-pick",
        "refs/applied/b",
        "refs/applied/b~2",
        "refs/applied/b~1",
    ])
    .unwrap();
    let exported = small.export().unwrap();
    assert_eq!(words(&small, &exported), ["changed ours/series"]);
    assert_eq!(
        order(&small),
        "# The order.\n0003-TAG-a-new-file.patch\n0001-a-five.patch\n0002-a-fifteen.patch\n"
    );
}

#[test]
fn binary_mode_rename_and_odd_authors_come_through() {
    let small = Small::new();
    small.apply().unwrap();
    let folder = small.desk().folder().to_owned();
    let git = small.git();
    std::fs::write(folder.join("src/binary"), [0, 159, 146, 150, 0, 1]).unwrap();
    commit(&git, "a binary");
    git.output(&["mv", "src/b", "src/moved"]).unwrap();
    commit(&git, "a rename");
    git.output(&["update-index", "--chmod=+x", "src/moved"])
        .unwrap();
    git.output(&["commit", "--quiet", "-m", "a mode"]).unwrap();
    git.output(&["checkout", "--quiet", "."]).unwrap();
    std::fs::write(folder.join("src/crlf"), "one\r\ntwo\r\n").unwrap();
    git.output(&["add", "-A"]).unwrap();
    git.output(&[
        "commit",
        "--quiet",
        "-m",
        "line ends",
        "--author=J\u{f6}rg, the \"odd\" <j@example.org>",
    ])
    .unwrap();
    let error = small.export().unwrap_err();
    // Carriage returns are lost unless the project says that it keeps them.
    assert!(
        error
            .message
            .contains("line-ends.patch has lines that end in CR LF"),
        "{error}"
    );
    let file = small.path().join("branches.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    write(&file, &text.replace("sparse =", "keep-cr = true\nsparse ="));
    let exported = small.export().unwrap();
    assert_eq!(exported.changes.len(), 5);
    small
        .with(&Silent, |job, _| {
            crate::worktree::clean(job.mirror, "b", false, &Silent)
        })
        .unwrap();
    small.apply().unwrap();
    assert_eq!(small.desk().head().unwrap(), exported.tip);
    // And nothing is read without them any more.
    write(&file, &text);
    let error = small.layers("v1").unwrap_err();
    assert!(
        error
            .message
            .contains("line-ends.patch has lines that end in CR LF"),
        "{error}"
    );
}

/// The file with `from` in it replaced by bytes that need not be UTF-8.
fn replace(file: &std::path::Path, from: &[u8], to: &[u8]) {
    let bytes = std::fs::read(file).unwrap();
    let at = bytes
        .windows(from.len())
        .position(|found| found == from)
        .unwrap();
    let changed = [&bytes[..at], to, &bytes[at + from.len()..]].concat();
    std::fs::write(file, changed).unwrap();
}

#[test]
fn an_author_in_another_character_set_keeps_the_bytes_of_the_file() {
    let small = Small::new();
    replace(
        &small.patch("0001-a-five.patch"),
        b"From: A Person",
        b"From: Ren\xe9",
    );
    replace(
        &small.patch("0002-a-fifteen.patch"),
        b"From: A Person",
        b"From: =?ISO-8859-1?Q?Ren=E9?=",
    );
    small.apply().unwrap();
    let git = small.git();
    let authors = || {
        git.text(&["log", "--format=%an", "-3", "--reverse"])
            .unwrap()
    };
    assert_eq!(authors(), "René\nRené\nA Person");
    assert_eq!(small.export().unwrap().changes, []);
    // Other commits of the same authors, with another committer: still the same patches.
    git.output(&[
        "-c",
        "user.name=Me",
        "-c",
        "user.email=me@example.org",
        "rebase",
        "--quiet",
        "--force-rebase",
        "HEAD~3",
    ])
    .unwrap();
    assert_eq!(small.export().unwrap().changes, []);
    assert_eq!(authors(), "René\nRené\nA Person");
}

#[test]
fn a_commit_that_is_not_utf8_is_written_as_utf8_or_refused() {
    let small = Small::new();
    small.apply().unwrap();
    let git = small.git();
    let raw = small.path().join("raw");
    std::fs::write(&raw, git.output(&["cat-file", "commit", "HEAD"]).unwrap()).unwrap();
    replace(&raw, b"A Person", b"Ren\xe9");
    let take = || {
        let shown = raw.display().to_string();
        let made = git
            .text(&["hash-object", "-t", "commit", "-w", "--literally", &shown])
            .unwrap();
        git.output(&["reset", "--quiet", "--hard", &made]).unwrap();
    };
    take();
    let before = small.picture();
    let error = small.export().unwrap_err();
    assert_eq!(error.kind, Kind::Refused);
    assert!(error.message.contains("is not UTF-8"), "{error}");
    assert_eq!(small.picture(), before);

    replace(&raw, b"\n\n", b"\nencoding ISO-8859-1\n\n");
    take();
    small.export().unwrap();
    let text = std::fs::read_to_string(small.patch("0003-TAG-a-new-file.patch")).unwrap();
    assert!(text.contains("From: =?UTF-8?q?Ren=C3=A9?= <"), "{text}");
    assert_eq!(git.text(&["log", "--format=%an", "-1"]).unwrap(), "René");
}

#[test]
fn what_stands_below_the_message_outlives_a_change_of_the_patch() {
    let small = Small::new();
    let file = small.patch("0003-TAG-a-new-file.patch");
    let text = std::fs::read_to_string(&file).unwrap();
    write(&file, &text.replace("\n---\n", "\n---\nv2: newer\n\n"));
    small.apply().unwrap();
    let git = small.git();
    write(&small.desk().folder().join("src/new"), "newer\n");
    git.output(&["commit", "--quiet", "--all", "--amend", "--no-edit"])
        .unwrap();
    small.export().unwrap();
    let below = |text: &str| -> String {
        let (_, below) = text.split_once("\n---\n").unwrap();
        below.split_once(" src/new |").unwrap().0.to_owned()
    };
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("\n+newer\n"), "{text}");
    assert_eq!(below(&text), "v2: newer\n\n");
    // More of it, where a person writes it: in the commit's message, below a rule.
    write(&small.desk().folder().join("src/new"), "newest\n");
    let message = "[TAG] a new file\n\nBecause it is new.\n---\nv3: newest";
    git.output(&["commit", "--quiet", "--all", "--amend", "-m", message])
        .unwrap();
    small.export().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(below(&text), "v2: newer\n\nv3: newest\n\n");
    let message = git.text(&["log", "--format=%B", "-1"]).unwrap();
    assert_eq!(message.trim_end(), "[TAG] a new file\n\nBecause it is new.");
    assert_eq!(small.export().unwrap().changes, []);
}

#[test]
fn what_can_not_be_a_patch_file_is_refused() {
    let small = Small::new();
    let refused = |small: &Small| {
        let before = small.picture();
        let error = small.export().unwrap_err();
        assert_eq!(small.picture(), before);
        error.message
    };
    assert!(refused(&small).contains("is not applied"));
    small.apply().unwrap();
    let git = small.git();
    git.output(&["commit", "--quiet", "--allow-empty", "-m", "nothing"])
        .unwrap();
    assert!(refused(&small).contains("\"nothing\" changes nothing"));
    git.output(&["reset", "--quiet", "--hard", "HEAD~1"])
        .unwrap();

    write(&small.desk().folder().join("src/b"), "b\n");
    commit(&git, "fixup! a: five");
    assert!(refused(&small).contains("waits to be squashed"));
    git.output(&["reset", "--quiet", "--hard", "HEAD~1"])
        .unwrap();

    git.output(&["checkout", "--quiet", "-b", "side", "HEAD~1"])
        .unwrap();
    write(&small.desk().folder().join("src/b"), "b\n");
    commit(&git, "side");
    git.output(&["checkout", "--quiet", "b"]).unwrap();
    git.output(&["merge", "--quiet", "-m", "both", "side"])
        .unwrap();
    assert!(refused(&small).contains("\"both\" is a merge"));

    let other = git
        .text(&["commit-tree", "HEAD^{tree}", "-m", "alone"])
        .unwrap();
    git.output(&["reset", "--quiet", "--hard", &other]).unwrap();
    assert!(refused(&small).contains("does not stand on its base"));
    git.output(&["reset", "--quiet", "--hard", "refs/applied/b"])
        .unwrap();

    let file = small.patch("0001-a-five.patch");
    let text = std::fs::read_to_string(&file).unwrap();
    write(&file, &text.replace("+five", "+5"));
    assert!(refused(&small).contains("0001-a-five.patch was changed by hand"));
}

#[test]
fn only_the_branch_is_exported_and_not_what_head_is_on() {
    let small = Small::new();
    small.apply().unwrap();
    let git = small.git();
    for number in 1..=3 {
        write(&small.desk().folder().join("src/z"), &number.to_string());
        commit(&git, &format!("z: {number}"));
    }
    let refused = || {
        let before = small.picture();
        let error = small.export().unwrap_err();
        assert_eq!(error.kind, Kind::Refused);
        assert_eq!(error.hint.as_deref(), Some("`git switch b` there"));
        assert_eq!(small.picture(), before);
        error.message
    };
    git.output(&["checkout", "--quiet", "--detach", "HEAD~2"])
        .unwrap();
    assert!(refused().ends_with("is not on b: it is detached"));
    git.output(&["checkout", "--quiet", "-b", "side"]).unwrap();
    assert!(refused().ends_with("is not on b: it is on side"));
    git.output(&["switch", "--quiet", "b"]).unwrap();
    assert_eq!(small.export().unwrap().changes.len(), 4);
}

#[test]
fn the_rest_of_a_series_stays_when_only_its_beginning_was_applied() {
    let small = Small::new();
    small
        .with(&Silent, |job, _| apply(job, Some(1), false))
        .unwrap();
    write(
        &small.desk().folder().join("src/a"),
        &lines(&[(5, "five"), (1, "one")]),
    );
    let git = small.git();
    commit(&git, "a: one");
    let exported = small.export().unwrap();
    assert_eq!(
        words(&small, &exported),
        ["new ours/a-one.patch", "changed ours/series"]
    );
    assert_eq!(
        order(&small),
        "# The order.\n0001-a-five.patch\na-one.patch\n0002-a-fifteen.patch\n\
         0003-TAG-a-new-file.patch\n"
    );
    // A change that the rest does not survive is refused.
    write(&small.desk().folder().join("src/a"), "gone\n");
    commit(&git, "a: gone");
    let error = small.export().unwrap_err();
    assert_eq!(error.kind, Kind::Conflict);
    assert!(error.message.contains("0002-a-fifteen.patch"), "{error}");
}

#[test]
fn a_conflict_on_another_base_is_exported_as_a_variant() {
    let small = Small::new();
    let file = small.path().join("branches.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    write(&file, &text.replace("base = \"v1\"", "base = \"v3\""));
    assert!(matches!(small.apply().unwrap(), Done::Conflict { .. }));
    write(
        &small.desk().folder().join("src/a"),
        &lines(&[(5, "both fives")]),
    );
    small.git().output(&["add", "-A"]).unwrap();
    small
        .with(&Silent, |job, _| crate::worktree::go_on(job))
        .unwrap();
    let exported = small.export().unwrap();
    // The second patch has line 5 in no context; it applies as it is, and stays one for both.
    assert_eq!(
        words(&small, &exported),
        ["new ours/variant-three/0001-a-five.patch"]
    );
    let layers = small.layers("v3").unwrap();
    assert!(layers[0].patches[0].varied && !layers[0].patches[1].varied);
    assert!(!small.layers("v1").unwrap()[0].patches[0].varied);
    assert_eq!(small.export().unwrap().changes, []);
}

#[test]
fn no_patch_of_a_variant_is_forgotten() {
    let small = Small::new();
    let variant = small.patch("variant-three");
    let text = std::fs::read_to_string(small.patch("0002-a-fifteen.patch")).unwrap();
    write(&variant.join("0002-a-fifteen.patch"), &text);
    write(&variant.join("more.patch"), &text);
    for base in ["v1", "v3"] {
        let error = small.layers(base).unwrap_err();
        assert_eq!(error.kind, Kind::Usage);
        assert!(
            error.message.contains("variant-three/more.patch"),
            "{error}"
        );
    }
    std::fs::remove_file(variant.join("more.patch")).unwrap();
    let other = small.patch("variant-four");
    std::fs::create_dir(&other).unwrap();
    let error = small.layers("v1").unwrap_err();
    assert!(
        error.message.contains("variant-four is of a variant that"),
        "{error}"
    );
    std::fs::remove_dir(&other).unwrap();

    // What the series drops, its variants drop.
    small.apply().unwrap();
    let git = small.git();
    git.output(&["reset", "--quiet", "--hard", "HEAD~2"])
        .unwrap();
    git.output(&["cherry-pick", "refs/applied/b"]).unwrap();
    let exported = small.export().unwrap();
    assert_eq!(
        words(&small, &exported),
        [
            "changed ours/series",
            "removed ours/0002-a-fifteen.patch",
            "removed ours/variant-three/0002-a-fifteen.patch",
        ]
    );
    small.layers("v3").unwrap();
}

/// Branch `b` on `base`, and another branch `c` of the same series on `v1`.
fn with_another_branch(base: &str) -> Small {
    let small = Small::new();
    let file = small.path().join("branches.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("base = \"v1\" #", &format!("base = \"{base}\" #"));
    let other =
        "[branch.c]\ndescription = \"c\"\n[branch.c.p]\nbase = \"v1\"\nseries = [\"ours\"]\n";
    write(&file, &format!("{text}\n{other}"));
    small
}

#[test]
fn another_branch_of_the_series_is_not_moved_to_and_fro() {
    let small = with_another_branch("v2");
    small.apply().unwrap();
    let before = small.picture();
    let error = small.export().unwrap_err();
    assert_eq!(error.kind, Kind::Refused);
    assert_eq!(
        error.message,
        "c has the series ours as well, and would need a refresh on v1"
    );
    assert!(error.hint.unwrap().contains("bases = [\"v2\"]"));
    assert_eq!(small.picture(), before);

    let file = small.path().join("branches.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let variant = "[project.p.series.ours.variant.two]\nbases = [\"v2\"]\n";
    write(
        &file,
        &text.replace("[branch.b]", &format!("{variant}[branch.b]")),
    );
    let exported = small.export().unwrap();
    assert_eq!(exported.shared, []);
    assert_eq!(
        words(&small, &exported),
        [
            "new ours/variant-two/0001-a-five.patch",
            "new ours/variant-two/0002-a-fifteen.patch",
        ]
    );
}

#[test]
fn another_branch_that_changes_with_the_series_is_named() {
    let small = with_another_branch("v1");
    small.apply().unwrap();
    write(&small.desk().folder().join("src/z"), "z\n");
    commit(&small.git(), "z");
    let exported = small.export().unwrap();
    let told: Vec<_> = exported.shared.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["c has changed as well, and applies to v1; `branch lock` pins it"]
    );
    assert_eq!(small.export().unwrap().shared, []);
}

#[test]
fn an_export_that_is_cut_short_anywhere_is_finished_by_the_next_run() {
    let prepare = || {
        let small = Small::new();
        small.apply().unwrap();
        let git = small.git();
        git.output(&["reset", "--quiet", "--hard", "HEAD~2"])
            .unwrap();
        write(&small.desk().folder().join("src/b"), &lines(&[(9, "nine")]));
        commit(&git, "b: nine");
        small
    };
    let strip = |small: &Small| {
        small
            .picture()
            .replace(&small.path().display().to_string(), "")
    };
    let whole = prepare();
    whole.export().unwrap();
    let wanted = strip(&whole);
    let mut crashes = 0;
    for at in 0.. {
        let small = prepare();
        let crashed = small.with(&CrashAt::new(at), export);
        if crashed.is_ok() {
            break;
        }
        crashes += 1;
        small.export().unwrap();
        assert_eq!(strip(&small), wanted, "cut short at step {at}");
    }
    assert!(crashes >= 8, "{crashes}");
}
