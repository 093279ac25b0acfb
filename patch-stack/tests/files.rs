// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can happen to a file, held against `git am`: the same commit, to the byte.

mod common;

use common::{Repo, lines, parse, same_as_am, same_or_both_stop};
use patch_stack::apply::How;
use patch_stack::landed;
use patch_stack::mail::{Options, Patch};

/// Makes a commit by `change` and applies its patch to the commit before.
#[track_caller]
fn one(before: impl FnOnce(&Repo), change: impl FnOnce(&Repo)) {
    let repo = Repo::new();
    before(&repo);
    let base = repo.commit("base");
    change(&repo);
    repo.commit("area: change\n\nWhy.");
    let patches = repo.format_patch(&base.to_string(), &[]);
    let outcome = same_as_am(&repo, base, &patches);
    assert!(outcome.is_exact());
}

#[test]
fn modify() {
    one(
        |repo| repo.write("a/b/f", lines(0..100, &[])),
        |repo| {
            repo.write(
                "a/b/f",
                lines(0..100, &[(3, "x"), (50, "y\nz"), (99, "end")]),
            )
        },
    );
}

#[test]
fn new_and_deleted() {
    one(
        |repo| {
            repo.write("old/deep/f", "gone\n");
            repo.write("kept", "a\n");
        },
        |repo| {
            repo.remove("old/deep/f");
            repo.write("new/deep/g", "here\n");
        },
    );
}

#[test]
fn empty_files() {
    one(
        |repo| {
            repo.write("emptied", "a\n");
            repo.write("filled", "");
            repo.write("gone", "");
        },
        |repo| {
            repo.write("emptied", "");
            repo.write("filled", "a\n");
            repo.remove("gone");
            repo.write("made", "");
        },
    );
}

#[test]
fn modes() {
    one(
        |repo| {
            repo.write("f", "a\n");
            repo.write("g", "a\nb\n");
        },
        |repo| {
            repo.git(&["update-index", "--chmod=+x", "f"]);
            repo.git(&["config", "core.fileMode", "false"]);
            repo.write("g", "a\nc\n");
        },
    );
}

#[test]
fn a_mode_that_the_index_line_has_wrong_stays() {
    let repo = Repo::new();
    repo.write("f", "a\n");
    let plain = repo.commit("base");
    repo.write("f", "b\n");
    repo.commit("change");
    let patches = repo.format_patch(&plain.to_string(), &[]);
    repo.git(&["checkout", "-q", "--detach", &plain.to_string()]);
    repo.git(&["update-index", "--chmod=+x", "f"]);
    repo.git(&["commit", "-q", "-m", "executable"]);
    let base = repo.id("HEAD");
    let outcome = same_as_am(&repo, base, &patches);
    assert_eq!(outcome.steps[0].how, How::OtherMode);
}

#[test]
fn a_mode_that_is_there_already_makes_no_commit() {
    let repo = Repo::new();
    repo.write("f", "a\n");
    let plain = repo.commit("base");
    repo.git(&["update-index", "--chmod=+x", "f"]);
    repo.git(&["commit", "-q", "-m", "executable"]);
    let base = repo.id("HEAD");
    let patches = repo.format_patch(&plain.to_string(), &[]);
    let outcome = repo.applier().series(base, [&parse(&patches[0])]).unwrap();
    assert_eq!(outcome.steps[0].how, How::AlreadyApplied);
    assert_eq!(outcome.steps[0].commit, base);
}

#[test]
fn renames() {
    one(
        |repo| {
            repo.write("a", lines(0..50, &[]));
            repo.write("b", lines(100..150, &[]));
            repo.write("dir/c", lines(200..250, &[]));
        },
        |repo| {
            repo.git(&["mv", "a", "moved"]);
            repo.write("moved", lines(0..50, &[(20, "x")]));
            repo.git(&["mv", "b", "same"]);
            // A directory becomes a file.
            repo.git(&["mv", "dir/c", "c"]);
            std::fs::remove_dir(repo.path().join("dir")).unwrap();
            repo.write("dir", "now a file\n");
        },
    );
}

#[test]
fn two_files_swap_their_names() {
    let repo = Repo::new();
    repo.write("a", lines(0..50, &[]));
    repo.write("b", lines(100..150, &[]));
    let base = repo.commit("base");
    repo.write("a", lines(100..150, &[(120, "x")]));
    repo.write("b", lines(0..50, &[(20, "y")]));
    repo.commit("swap");
    let patches = repo.format_patch(&base.to_string(), &["-B", "-M"]);
    assert!(String::from_utf8_lossy(&patches[0]).contains("rename from"));
    same_as_am(&repo, base, &patches);
}

#[test]
fn copies() {
    let repo = Repo::new();
    repo.write("a", lines(0..50, &[]));
    let base = repo.commit("base");
    repo.write("copy", lines(0..50, &[(20, "y")]));
    repo.write("a", lines(0..50, &[(30, "x")]));
    repo.commit("copy");
    let patches = repo.format_patch(&base.to_string(), &["-C"]);
    assert!(String::from_utf8_lossy(&patches[0]).contains("copy from"));
    same_as_am(&repo, base, &patches);
}

#[test]
fn symbolic_links() {
    one(
        |repo| {
            repo.write("f", "a\n");
            std::os::unix::fs::symlink("f", repo.path().join("link")).unwrap();
            std::os::unix::fs::symlink("f", repo.path().join("turned")).unwrap();
        },
        |repo| {
            repo.remove("link");
            std::os::unix::fs::symlink("elsewhere", repo.path().join("link")).unwrap();
            // A change of type: deleted and made anew.
            repo.remove("turned");
            repo.write("turned", "a file\n");
        },
    );
}

#[test]
fn missing_newlines() {
    one(
        |repo| {
            repo.write("added", "a\nb");
            repo.write("removed", "a\nb\n");
            repo.write("kept", "a\nb\nc\nd\ne");
        },
        |repo| {
            repo.write("added", "a\nb\n");
            repo.write("removed", "a\nb");
            repo.write("kept", "a\nB\nc\nd\ne");
            repo.write("new", "no newline");
        },
    );
}

#[test]
fn binary() {
    let noise = |seed: u32, length: u32| -> Vec<u8> {
        (0..length)
            .map(|at| (at.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13) as u8)
            .collect()
    };
    one(
        |repo| {
            repo.write("delta.bin", noise(1, 20_000));
            repo.write("literal.bin", noise(2, 3000));
            repo.write("gone.bin", noise(3, 100));
        },
        |repo| {
            let mut content = noise(1, 20_000);
            content.splice(500..510, *b"something else");
            content.truncate(19_000);
            repo.write("delta.bin", content);
            repo.write("literal.bin", noise(9, 2000));
            repo.remove("gone.bin");
            repo.write("new.bin", noise(4, 5000));
        },
    );
}

#[test]
fn odd_names() {
    one(
        |repo| repo.write("with space/a b", "a\n"),
        |repo| {
            repo.write("with space/a b", "b\n");
            repo.write("tab\there", "a\n");
            repo.write("\"quoted\"\\", "a\n");
            repo.write("\u{e9}", "a\n");
            repo.write("with space/new file", "a\n");
            repo.write("empty with space", "");
        },
    );
}

#[test]
fn the_deepest_path_is_no_trouble_and_a_deeper_one_is_refused() {
    let repo = Repo::new();
    repo.write("f", "a\n");
    let base = repo.commit("base");
    let mail = |names: usize| {
        let path = vec!["a"; names].join("/");
        mail_of_new_file(&format!("a/{path}"), &format!("b/{path}"), "100644")
    };
    let patch = parse(&mail(256));
    let mut applier = repo.applier();
    let outcome = applier.series(base, [&patch]).unwrap();
    assert!(outcome.is_exact());
    let tip = outcome.steps[0].commit;
    let landed = landed::find(&mut applier, &repo.repository(), tip, &[&patch], &[]).unwrap();
    assert!(landed[0].reverse_applies);
    for names in [257, 50_000] {
        let error = Patch::parse(&mail(names), &Options::default()).unwrap_err();
        assert!(error.to_string().contains("is longer or deeper"), "{error}");
    }
}

#[test]
fn paths_are_refused_where_git_refuses_them() {
    let repo = Repo::new();
    repo.git(&["config", "core.protectHFS", "true"]);
    let blob = String::from_utf8(repo.git_with(&["hash-object", "-w", "--stdin"], b"")).unwrap();
    let quoted = |path: &str| -> String {
        let bytes: String = path.bytes().map(|byte| format!("\\{byte:03o}")).collect();
        format!("\"{bytes}\"")
    };
    let paths = [
        "a",
        "a/b",
        "..",
        "a/../b",
        "./a",
        "a/.",
        "a//b",
        "a/",
        ".git",
        "a/.git",
        ".GIT/x",
        ".git./x",
        ".git../x",
        ".git /x",
        ".git . ./x",
        ".git:x",
        ".git::$INDEX_ALLOCATION/x",
        "git~1",
        "git~1/x",
        "GIT~1. /x",
        "git~1:x",
        "git~2/x",
        "git~10",
        "a\\.git\\x",
        "a\\.GIT. \\x",
        "a\\git~1",
        "a\\.git",
        "a\\b",
        "a\\.gitignore",
        ".git\\x",
        ".gitx",
        ".git.x",
        "x.git",
        ".gi",
        ".gitignore",
        "a/.github/b",
        "..a",
        "...",
        " ",
        ".git\tx",
        ".g\u{200c}it",
        ".g\u{200c}it/x",
        "\u{feff}.git",
        ".git\u{206f}",
        ".gi\u{e9}t",
        "\u{202a}.GIT/x",
        ".git\u{2070}",
        ".gitmodules",
        "a/.gitmodules",
        ".GitModules",
        "gitmod~1",
        "gitmod~1. ",
        ".gitmodules ..",
        "gitmodules",
        "gi7eba~1",
        ".gitm\u{200c}odules",
        "a\\.gitmodules",
    ];
    for path in paths {
        for mode in ["100644", "120000"] {
            let info = format!("{mode},{},{path}", blob.trim());
            let theirs = repo
                .command(&["update-index", "--add", "--cacheinfo", &info])
                .output()
                .unwrap();
            repo.git(&["read-tree", "--empty"]);
            let mail = mail_of_new_file(
                &quoted(&format!("a/{path}")),
                &quoted(&format!("b/{path}")),
                mode,
            );
            let ours = Patch::parse(&mail, &Options::default());
            assert_eq!(
                ours.is_ok(),
                theirs.status.success(),
                "{mode} {path:?}: {ours:?}"
            );
        }
    }
}

/// A mail that makes an empty file.
fn mail_of_new_file(old: &str, new: &str, mode: &str) -> Vec<u8> {
    format!(
        "From: A <a@example.org>\nDate: Tue, 3 Mar 2026 12:00:00 +0100\n\
         Subject: [PATCH] new\n\nWhy.\n---\n\
         diff --git {old} {new}\nnew file mode {mode}\nindex 0000000..e69de29\n"
    )
    .into_bytes()
}

#[test]
fn offsets_are_told() {
    let repo = Repo::new();
    repo.write("f", lines(0..100, &[]));
    let base = repo.commit("base");
    repo.write("f", lines(0..100, &[(50, "x"), (80, "y")]));
    repo.commit("change");
    let patches = repo.format_patch(&base.to_string(), &[]);
    repo.git(&["checkout", "-q", "--detach", &base.to_string()]);
    repo.write(
        "f",
        lines(0..100, &[(10, "new\nnew\nnew"), (60, "new\nnew")]),
    );
    let other = repo.commit("other base");
    let outcome = same_as_am(&repo, other, &patches);
    assert_eq!(outcome.steps[0].how, How::Offset(3));
    assert!(!outcome.is_exact());
}

#[test]
fn the_same_lines_again_and_again() {
    // Which of many places a hunk goes to, when it fits at several.
    let block = "{\n\tcall();\n\treturn 0;\n}\n\n";
    let mut applied = 0;
    for (before, after) in [(0, 2), (2, 0), (1, 1), (3, 1), (1, 4)] {
        let repo = Repo::new();
        repo.write("f", block.repeat(9));
        let base = repo.commit("base");
        let changed = block.replace("return 0", "return 1");
        repo.write(
            "f",
            format!("{}{changed}{}", block.repeat(4), block.repeat(4)),
        );
        repo.commit("change");
        let patches = repo.format_patch(&base.to_string(), &[]);
        repo.git(&["checkout", "-q", "--detach", &base.to_string()]);
        let filler = "other\n".repeat(7);
        repo.write(
            "f",
            format!(
                "{}{filler}{}{filler}{}",
                block.repeat(before),
                block.repeat(2),
                block.repeat(after + 2)
            ),
        );
        let other = repo.commit("other");
        applied += usize::from(
            same_or_both_stop(&repo, other, &patches, &[])
                .stopped
                .is_none(),
        );
    }
    assert!(applied > 2, "{applied}");
}

#[test]
fn several_patches_of_a_file() {
    let repo = Repo::new();
    repo.write("d/f", lines(0..200, &[]));
    let base = repo.commit("base");
    for number in (0..200).step_by(20) {
        let text = std::fs::read_to_string(repo.path().join("d/f")).unwrap();
        repo.write(
            "d/f",
            text.replace(&format!("line {number}\n"), "changed\nand more\n"),
        );
        repo.commit(&format!("change {number}"));
    }
    // And back again: blobs that there are already.
    repo.write("d/f", lines(0..200, &[]));
    repo.commit("back");
    repo.write("d/f", lines(0..200, &[(5, "x")]));
    repo.commit("again");
    let patches = repo.format_patch(&base.to_string(), &[]);
    assert_eq!(patches.len(), 12);
    same_as_am(&repo, base, &patches);
}
