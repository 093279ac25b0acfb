// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which patches a base has already, and patch-ids held against `git patch-id --stable`.

mod common;

use common::{Repo, parse};
use git2::Oid;
use patch_stack::landed::Evidence;
use patch_stack::mail::Patch;
use patch_stack::{landed, patch_id};

fn git_id(repo: &Repo, patch: &[u8]) -> Oid {
    let printed = repo.git_with(&["patch-id", "--stable"], patch);
    Oid::from_str(
        std::str::from_utf8(&printed)
            .unwrap()
            .split(' ')
            .next()
            .unwrap(),
    )
    .unwrap()
}

#[test]
fn patch_ids() {
    let repo = Repo::new();
    let lines: String = (0..100).map(|number| format!("line {number}\n")).collect();
    repo.write("f", &lines);
    repo.write("g", lines.replace("line", "row"));
    repo.write("b", [0, 1, 2]);
    repo.write("c", [0, 1, 2, 3, 4, 5]);
    repo.write("x", "a\n");
    let base = repo.commit("base");
    repo.write(
        "f",
        lines
            .replace("line 5\n", "changed\n")
            .replace("line 50\n", "\n\nchanged")
            .replace("line 99\n", "end"),
    );
    repo.write(
        "g",
        lines.replace("line", "row").replace("row 7\n", "changed\n"),
    );
    repo.commit("lines");
    repo.git(&["mv", "g", "moved"]);
    repo.write(
        "moved",
        lines
            .replace("line", "row")
            .replace("row 70\n", "changed\n"),
    );
    repo.write("new", "a\n");
    repo.remove("x");
    repo.commit("rename, new, gone");
    repo.git(&["update-index", "--chmod=+x", "f"]);
    repo.git(&["config", "core.fileMode", "false"]);
    repo.commit("mode");
    repo.git(&["update-index", "--chmod=-x", "f"]);
    repo.write("moved", "all of it\n");
    repo.commit("mode and more");
    repo.write("b", [0, 1, 2, 3]);
    repo.commit("binary");
    repo.write("b", [0, 1]);
    repo.write("c", [0, 1]);
    repo.write("f", &lines);
    repo.commit("binary and more");
    repo.write("empty", "");
    repo.commit("empty file");

    let patches = repo.format_patch(&base.to_string(), &[]);
    assert_eq!(patches.len(), 7);
    let commits = repo.git(&["rev-list", "--reverse", &format!("{base}..HEAD")]);
    let commits: Vec<Oid> = String::from_utf8(commits)
        .unwrap()
        .lines()
        .map(|id| Oid::from_str(id).unwrap())
        .collect();
    for (patch, commit) in patches.iter().zip(commits) {
        let parsed = parse(patch);
        assert_eq!(
            patch_id::of(&parsed),
            git_id(&repo, patch),
            "{}",
            parsed.subject
        );
        let mut applier = repo.applier();
        let found = landed::find(
            &mut applier,
            &repo.repository(),
            base,
            &[&parsed],
            &[base, commit],
        )
        .unwrap();
        assert_eq!(found[0].same_patch_id, Some(commit), "{}", parsed.subject);
    }
}

#[test]
fn landed_patches_are_found_without_history() {
    let lines: String = (0..100).map(|number| format!("line {number}\n")).collect();
    let repo = Repo::new();
    repo.write("f", &lines);
    let base = repo.commit("base");
    let mut text = lines.clone();
    for (number, to) in [
        (10, "first\n"),
        (50, "second\n"),
        (51, "third\n"),
        (80, "fourth\n"),
    ] {
        text = text.replace(&format!("line {number}\n"), to);
        repo.write("f", &text);
        repo.commit(to.trim());
    }
    let patches: Vec<_> = repo
        .format_patch(&base.to_string(), &[])
        .iter()
        .map(|patch| parse(patch))
        .collect();

    // A tarball: the second and the third have landed, the lines have moved, and the fourth has
    // landed with a change.
    repo.git(&["checkout", "-q", "--orphan", "tarball"]);
    let released = lines.replace("line 2\n", "new\nnew\n");
    let released = released
        .replace("line 50\n", "second\n")
        .replace("line 51\n", "third\n")
        .replace("line 80\n", "FOURTH\n");
    repo.write("f", released);
    let release = repo.commit("release");

    let patches: Vec<_> = patches.iter().collect();
    let mut applier = repo.applier();
    let found = landed::find(&mut applier, &repo.repository(), release, &patches, &[]).unwrap();
    let has: Vec<(bool, bool)> = found
        .iter()
        .map(|found| (found.reverse_applies, found.becomes_empty))
        .collect();
    // The third has changed the second's context: only undoing both in order tells of the second.
    assert_eq!(
        has,
        [(false, false), (true, false), (true, true), (false, false)]
    );
    assert!(found.iter().all(|found| found.same_patch_id.is_none()));

    // With history, the commit is named.
    let commits = repo.git(&["rev-list", "main"]);
    let commits: Vec<Oid> = String::from_utf8(commits)
        .unwrap()
        .lines()
        .map(|id| Oid::from_str(id).unwrap())
        .collect();
    let found = landed::find(
        &mut applier,
        &repo.repository(),
        release,
        &patches,
        &commits,
    )
    .unwrap();
    let named: Vec<Oid> = found
        .iter()
        .map(|found| found.same_patch_id.unwrap())
        .collect();
    assert_eq!(
        named,
        commits.iter().rev().skip(1).copied().collect::<Vec<_>>()
    );
}

fn landed(repo: &Repo, base: Oid, patch: &Patch) -> Evidence {
    let repository = repo.repository();
    landed::find(&mut repo.applier(), &repository, base, &[patch], &[]).unwrap()[0]
}

#[test]
fn a_reverse_that_fits_lines_that_look_alike_is_no_evidence() {
    let function = |name: &str, middle: &str| {
        format!("{name}\n{{\n\ta();\n\tb();\n\tc();\n{middle}\td();\n\te();\n\tf();\n}}\n")
    };
    let whole = |first: &str| function("first", first) + &function("second", "\tx();\n\ty();\n");
    let repo = Repo::new();
    repo.write("f", whole(""));
    let base = repo.commit("base");
    repo.write("f", whole("\tx();\n\ty();\n"));
    let tip = repo.commit("first, too");
    let patch = parse(&repo.format_patch(&base.to_string(), &[])[0]);
    let landed = |base| landed(&repo, base, &patch);
    assert!(!landed(base).is_any(), "{:?}", landed(base));
    assert!(landed(tip).reverse_applies);
}

#[test]
fn a_mode_has_landed_only_where_a_file_has_it() {
    let repo = Repo::new();
    repo.write("f", "a\n");
    repo.commit("plain");
    repo.git(&["config", "core.fileMode", "false"]);
    repo.git(&["update-index", "--chmod=+x", "f"]);
    let base = repo.commit("executable");
    repo.git(&["update-index", "--chmod=-x", "f"]);
    let tip = repo.commit("plain again");
    let patch = parse(&repo.format_patch(&base.to_string(), &[])[0]);
    let landed = |base| landed(&repo, base, &patch);
    assert!(!landed(base).is_any(), "{:?}", landed(base));
    assert!(landed(tip).reverse_applies && landed(tip).becomes_empty);
}
