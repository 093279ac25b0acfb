// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line as a maintainer uses it, on a small project: what it says and what it ends
//! with. No network.

#[allow(dead_code, reason = "the other tests use the rest")]
mod common;

use common::House;

const CONFLICT: i32 = 4;
const NEEDS_REFRESH: i32 = 3;
const REFUSED: i32 = 6;
const UNAVAILABLE: i32 = 5;
const USAGE: i32 = 2;

#[test]
fn a_first_day() {
    let house = House::new();
    house.run(&["list"]).ends(0).says("three lines of a");
    house.run(&["status"]).ends(UNAVAILABLE).says("not fetched");
    house
        .run(&["doctor"])
        .ends(UNAVAILABLE)
        .says("missing  p v1");
    house.run(&["fetch"]).ends(0).says("p v1: fetched");
    house.run(&["fetch"]).ends(0).says("p v1: is there");
    house
        .run(&["fetch", "--base", "v2"])
        .ends(0)
        .says("p v2: fetched");
    house
        .run(&["fetch", "--base", "v7"])
        .ends(USAGE)
        .says("no base called `v7`");
    house
        .run(&["doctor", "--thorough"])
        .ends(0)
        .says("all there");
    house.run(&["status"]).ends(0).says("clean");
    house.run(&["verify"]).ends(1).says("does not pin it");
    house.run(&["lock"]).ends(0).says("1 branches");
    house.run(&["lock"]).ends(0).says("as before");
    house
        .run(&["verify"])
        .ends(0)
        .says("ok       b: 2 patches on v1");
    house
        .run(&["apply", "b", "--dry-run"])
        .ends(0)
        .says("exact");
    assert!(!house.cache("worktrees").exists());

    house.run(&["edit", "b"]).ends(0).says("2 patches of b");
    house.run(&["export", "b", "--check"]).ends(0);
    house.change(&[(5, "five"), (10, "ten"), (18, "eighteen")]);
    house
        .run(&["export", "b"])
        .ends(REFUSED)
        .says("not committed");
    house
        .run(&["apply", "b"])
        .ends(REFUSED)
        .says("not committed");
    house.commit("a: eighteen\n\nFor the sake of it.");
    house.run(&["status"]).ends(0).says("commits not exported");
    house.git_in(&house.worktree(), &["checkout", "--quiet", "HEAD~1"]);
    house
        .run(&["status"])
        .ends(0)
        .says("HEAD is not on the branch: it is detached");
    house
        .run(&["export", "b"])
        .ends(REFUSED)
        .says("`git switch b` there");
    house.git_in(&house.worktree(), &["switch", "--quiet", "b"]);
    house
        .run(&["clean", "b"])
        .ends(REFUSED)
        .says("not exported");
    house
        .run(&["export", "b", "--check"])
        .ends(NEEDS_REFRESH)
        .says("a-eighteen.patch");
    house
        .run(&["export", "b"])
        .ends(0)
        .says("new      patches/s/a-eighteen.patch");
    house.run(&["export", "b"]).ends(0).says("nothing to write");
    house.run(&["verify"]).ends(0).says("3 patches");
    house.run(&["check", "b"]).ends(0).says("unsigned");
    house.run(&["check", "b"]).ends(0).says("(0 checked now)");
    house.run(&["clean", "b"]).ends(0);
    assert!(!house.worktree().exists());
}

#[test]
fn another_base() {
    let house = House::fetched();
    house
        .run(&["rebase", "b", "--onto", "v2", "--dry-run"])
        .ends(0)
        .says("1:");
    house
        .run(&["rebase", "b", "--onto", "v2"])
        .ends(0)
        .says("look at it, then");
    house
        .run(&["status"])
        .ends(0)
        .says("commits not exported, on v2");
    house
        .run(&["export", "b"])
        .ends(0)
        .says("base     v2 in branches.toml");
    house.run(&["status"]).ends(0).says("v2");
    house.run(&["lock"]).ends(0);
    house.run(&["verify"]).ends(0);

    // And one where it conflicts.
    house
        .run(&["rebase", "b", "--onto", "v3", "--dry-run"])
        .ends(CONFLICT)
        .says("CONFLICT");
    house
        .run(&["rebase", "b", "--onto", "v3"])
        .ends(CONFLICT)
        .says("resolve src/a");
    let said = house.run(&["status"]).ends(CONFLICT);
    assert!(!said.has("clean"), "{}", said.output);
    said.says("rebase waits at a conflict");
    let said = house.run(&["edit", "b"]).ends(CONFLICT);
    assert!(!said.has("export"), "{}", said.output);
    said.says("cargo xtask branch continue | skip | abort");
    let said = house.run(&["edit", "b", "--path"]).ends(CONFLICT);
    assert_eq!(said.output.trim_end(), house.worktree().to_str().unwrap());
    house.run(&["apply", "b"]).ends(REFUSED);
    house
        .run(&["continue"])
        .ends(CONFLICT)
        .says("conflicts are left in src/a");
    house.run(&["abort"]).ends(0).says("where it was before");
    house
        .run(&["continue"])
        .ends(REFUSED)
        .says("no branch waits");
    house.run(&["rebase", "b", "--onto", "v3"]).ends(CONFLICT);
    house
        .run(&["skip"])
        .ends(NEEDS_REFRESH)
        .says("1 patches of b are in")
        .says("left out: 0001-a-five.patch");
    house.run(&["clean", "b", "--force"]).ends(0);
    house.run(&["rebase", "b", "--onto", "v3"]).ends(CONFLICT);
    house.change(&[(5, "my five")]);
    house.git(&["add", "src/a"]);
    let said = house.run(&["continue", "--json"]).ends(NEEDS_REFRESH);
    let json: serde_json::Value = serde_json::from_str(&said.output).unwrap();
    let hows = json["how"].as_array().unwrap();
    assert_eq!(hows, &["resolved by hand", "offset 2 lines"], "{json}");
    house.run(&["export", "b"]).ends(0);
    house.run(&["apply", "b", "--dry-run"]).ends(0);
    house
        .run(&["rebase", "b", "--onto", "v9"])
        .ends(USAGE)
        .says("did you mean");
}

#[test]
fn gits_own_operations_are_told() {
    let house = House::fetched();
    house.run(&["apply", "b"]).ends(0);
    let editor = "sequence.editor=sed -i 1s/pick/edit/";
    house.git(&["-c", editor, "rebase", "--quiet", "-i", "HEAD~1"]);
    house
        .run(&["status"])
        .ends(0)
        .says("a git rebase is under way");
    house
        .run(&["edit", "b"])
        .ends(0)
        .says("a git rebase is under way");
    house
        .run(&["apply", "b"])
        .ends(REFUSED)
        .says("`git rebase --abort`");
    house.git(&["rebase", "--abort"]);
    house.run(&["apply", "b"]).ends(0);
}

#[test]
fn every_commands_help_has_an_example_of_it() {
    let house = House::new();
    let help = house.run(&["--help"]).ends(0).output;
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let names: Vec<_> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .collect();
    assert!(names.len() > 20 && names.contains(&"abort"), "{names:?}");
    for name in names {
        let help = house.run(&[name, "--help"]).ends(0).output;
        let (_, examples) = help.split_once("\nExamples:\n").expect(name);
        let line = format!("cargo xtask branch {name}");
        assert!(examples.contains(&line), "{name}: {examples}");
    }
}

#[test]
fn files_that_have_moved_need_a_refresh() {
    let house = House::fetched();
    house.redeclare("base = \"v1\"", "base = \"v2\"");
    house
        .run(&["apply", "b", "--dry-run"])
        .ends(NEEDS_REFRESH)
        .says("offset");
    house
        .run(&["lock"])
        .ends(NEEDS_REFRESH)
        .says("nothing was pinned");
    house
        .run(&["apply", "b"])
        .ends(NEEDS_REFRESH)
        .says("writes them anew");
    house.run(&["export", "b"]).ends(0).says("changed");
    house.run(&["apply", "b"]).ends(0);
}

#[test]
fn mistakes_get_a_sentence() {
    let house = House::fetched();
    house
        .run(&["apply", "c"])
        .ends(USAGE)
        .says("there is no branch called `c`");
    house.run(&["chekc", "b"]).ends(USAGE).says("check");
    house
        .run(&["check", "b", "chekpatch"])
        .ends(USAGE)
        .says("did you mean `checkpatch`?");
    house
        .run(&["export", "b"])
        .ends(REFUSED)
        .says("is not applied");
    house
        .run(&["format", "b", "--signoff", "me"])
        .ends(USAGE)
        .says("not a person");
    house.redeclare("description", "descripton");
    house
        .run(&["status"])
        .ends(USAGE)
        .says("branches.toml:")
        .says("did you mean `description`?");
}

#[test]
fn a_lock_that_is_wrong_or_damaged_is_told() {
    let house = House::fetched();
    house.run(&["lock"]).ends(0);
    let file = house.path().join("branches.lock");
    let text = std::fs::read_to_string(&file).unwrap();
    let zeros = format!("= \"{}\"", "0".repeat(40));
    let with = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap();
        std::fs::write(&file, text.replace(line, &format!("{key}{zeros}"))).unwrap();
    };
    for (key, told) in [
        ("tree ", "has the tree "),
        ("tip-tree ", "its tip has the tree "),
    ] {
        with(key);
        house
            .run(&["verify"])
            .ends(1)
            .says(told)
            .says("pins 0000000000000000000000000000000000000000");
    }
    let merged = format!("<<<<<<< HEAD\n{text}=======\n>>>>>>> theirs\n");
    std::fs::write(&file, merged).unwrap();
    for words in [&["status"][..], &["lock"]] {
        house
            .run(words)
            .ends(USAGE)
            .says("branches.lock:1: ")
            .says("`branch lock --update`");
    }
    house.run(&["lock", "--update"]).ends(0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn a_hand_edited_patch_is_noticed() {
    let house = House::fetched();
    house.run(&["lock"]).ends(0);
    house.run(&["apply", "b"]).ends(0);
    let file = house.patch("0001-a-five.patch");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("+five", "+FIVE")).unwrap();
    house
        .run(&["export", "b"])
        .ends(REFUSED)
        .says("changed by hand");
    house.run(&["verify"]).ends(1).says("is not the pinned one");
    std::fs::write(&file, text.replace("@@ -", "@@ x")).unwrap();
    house.run(&["apply", "b"]).ends(1).says("0001-a-five.patch");
    std::fs::write(&file, &text).unwrap();
    std::fs::write(house.patch("0001-a-five.patch.orig"), &text).unwrap();
    house
        .run(&["verify"])
        .ends(1)
        .says("0001-a-five.patch.orig is in no series");
}

#[test]
fn a_variants_patch_that_no_order_names_is_an_error() {
    let house = House::fetched();
    house.redeclare(
        "description = \"numbers\"",
        "description = \"numbers\"\n[project.p.series.s.variant.two]\nbases = [\"v2\"]",
    );
    let stray = house.patch("variant-two/0003-a-stray.patch");
    std::fs::create_dir_all(stray.parent().unwrap()).unwrap();
    std::fs::copy(house.patch("0001-a-five.patch"), &stray).unwrap();
    let text = "0003-a-stray.patch: no `series` file names it";
    house.run(&["status"]).ends(1).says("broken").says(text);
    house.run(&["verify"]).ends(1).says(text);
    house.run(&["apply", "b"]).ends(USAGE).says(text);
    // One that replaces a file of the series' is none.
    let replaces = house.patch("variant-two/0001-a-five.patch");
    std::fs::rename(&stray, &replaces).unwrap();
    house.run(&["apply", "b"]).ends(0);
    // An export that takes a patch out of the order they share takes its replacement along.
    house.git(&["reset", "--quiet", "--hard", "HEAD~2"]);
    house.change(&[(10, "ten")]);
    house.commit("a: ten\n\nBecause of the ten.");
    house
        .run(&["export", "b"])
        .ends(0)
        .says("removed  patches/s/variant-two/0001-a-five.patch");
    house.run(&["status"]).ends(0).says("clean");
}

#[test]
fn a_mailed_series_becomes_a_layer_that_no_export_writes() {
    let house = House::fetched();
    house.mailbox("theirs.mbox");
    house
        .run(&["import", "b", "theirs.mbox", "--series", "theirs"])
        .ends(0)
        .says("1 patches are in");
    house
        .run(&["import", "b", "theirs.mbox", "--series", "twice"])
        .ends(USAGE)
        .says("is that mail already");
    house.run(&["apply", "b"]).ends(0).says("3 patches");
    assert!(
        house
            .git(&["log", "--format=%s"])
            .contains("b: from the list")
    );
    house.run(&["export", "b"]).ends(0).says("nothing to write");
    house.git(&[
        "rebase",
        "--quiet",
        "--exec",
        "echo more >> src/b && git commit -q -a --amend --no-edit",
        "HEAD~3",
    ]);
    house
        .run(&["export", "b"])
        .ends(REFUSED)
        .says("theirs is external");
}

#[test]
fn mails_are_written_and_never_sent() {
    let house = House::fetched();
    let words = ["format", "b", "-v", "2", "--cover", "--output", "mails"];
    let from = ["--from", "Some One <one@example.org>"];
    let named = [&words[..], &from].concat();
    house.run(&named).ends(REFUSED).says("cover-letter");
    std::fs::write(house.patch("cover-letter"), "a: numbers\n\nWhy.\n").unwrap();
    house.run(&words).ends(USAGE).says("--from");
    house
        .run(&["format", "b", "--since", "HEAD"])
        .ends(USAGE)
        .says("--cover");
    house.run(&["format", "b", "-v0"]).ends(USAGE).says("0");
    assert!(!house.path().join("mails").exists());
    house
        .run(&named)
        .ends(0)
        .says("3 mails")
        .says("nothing was sent");
    let mails = house.path().join("mails");
    let cover = std::fs::read_to_string(mails.join("v2-0000-cover-letter.patch")).unwrap();
    assert!(
        cover.contains("Subject: [PATCH v2 0/2] a: numbers"),
        "{cover}"
    );
    assert!(!cover.contains("Signed-off-by"));
    assert!(
        cover.contains("From: Some One <one@example.org>"),
        "{cover}"
    );
    house.redeclare(
        "description = \"three lines of a\"",
        "description = \"d\"\ndownstream-only = true",
    );
    house
        .run(&["format", "b"])
        .ends(REFUSED)
        .says("downstream only");
}

#[test]
fn the_series_own_history_is_shown() {
    let house = House::fetched();
    house.repository();
    house.run(&["edit", "b"]).ends(0);
    house.change(&[(5, "five"), (10, "TEN")]);
    house.git(&["commit", "--quiet", "--all", "--amend", "--no-edit"]);
    house.run(&["export", "b"]).ends(0);
    house
        .run(&["diff", "b", "HEAD"])
        .ends(0)
        .says("2:")
        .says("+TEN");
    house.commit_repository("b: ten is TEN");
    house
        .run(&["log", "b", "0002"])
        .ends(0)
        .says("b: ten is TEN")
        .says("first");
    house
        .run(&["diff", "b", "HEAD~1..HEAD"])
        .ends(0)
        .says("+TEN");
    house
        .run(&["diff", "b", "nowhere"])
        .ends(USAGE)
        .says("is no commit");
    house.run(&["diff", "b"]).ends(USAGE);
    house
        .run(&["diff", "b", "--against", "b"])
        .ends(0)
        .says("1:");
}

#[test]
fn json_is_json() {
    let house = House::fetched();
    house.repository();
    house.mailbox("theirs.mbox");
    let new = "new n --project p --base v1 --description d --json";
    let new: Vec<_> = new.split(' ').collect();
    for words in [
        &["list", "--json"][..],
        &["status", "--json"],
        &["fetch", "--json"],
        &["verify", "--json"],
        &["doctor", "--json"],
        &["apply", "b", "--dry-run", "--json"],
        &["apply", "b", "--json"],
        &["export", "b", "--json"],
        &["check", "b", "signoff,reason", "--json"],
        &["landed", "b", "--json"],
        &["rebase", "b", "--onto", "v2", "--dry-run", "--json"],
        &["log", "b", "0001", "--json"],
        &["lock", "--json"],
        &["edit", "b", "--json"],
        &["diff", "b", "HEAD", "--json"],
        &["format", "b", "--json"],
        &["rebase", "b", "--onto", "v3", "--json"],
        &["edit", "b", "--json"],
        &["skip", "--json"],
        &["clean", "b", "--force", "--json"],
        &["rebase", "b", "--onto", "v3", "--json"],
        &["abort", "--json"],
        &new,
        &["import", "b", "theirs.mbox", "--series", "theirs", "--json"],
    ] {
        let said = house.run(words);
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(&said.output);
        assert!(parsed.is_ok(), "{words:?}: {}", said.output);
    }
    // What is said, and not only that it is JSON. `continue` has a test of its own.
    let json = |words: &[&str]| -> serde_json::Value {
        serde_json::from_str(&house.run(words).ends(0).output).unwrap()
    };
    let log = json(&["log", "b", "0001-a-five.patch", "--json"]);
    assert_eq!(log["commits"][0]["subject"], "first", "{log}");
    assert_eq!(json(&["lock", "--json"])["branches"], 2);
    assert_eq!(json(&["clean", "b", "--json"])[0]["branch"], "b");
    let edit = json(&["edit", "b", "--json"]);
    assert_eq!(edit["worktree"].as_str(), house.worktree().to_str());
    let mails = json(&["format", "b", "--output", "mails", "--json"]);
    assert_eq!(mails["mails"].as_array().unwrap().len(), 2, "{mails}");
    assert_eq!(mails["unsigned"], 2);
}

#[test]
fn a_reader_that_is_gone_ends_it_in_silence() {
    let house = House::fetched();
    let mut child = house.start(&["list", "--json"]);
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !said.contains("panicked") && !said.contains("error"),
        "{said}"
    );
}

#[test]
fn a_full_disk_is_told() {
    let house = House::fetched();
    let said = house.run_to("/dev/full", &["status"]).ends(1);
    said.says("error: writing to the standard output: No space left");
}

#[test]
fn a_new_branch() {
    let house = House::fetched();
    let words = [
        "new",
        "fresh",
        "--project",
        "p",
        "--base",
        "v1",
        "--description",
        "fresh",
    ];
    house.run(&words).ends(0).says("is declared");
    house.run(&words).ends(USAGE).says("already");
    house.run(&["edit", "fresh"]).ends(0);
    let folder = house.cache("worktrees/p/fresh");
    std::fs::write(folder.join("src/b"), "b\n").unwrap();
    house.git_in(
        &folder,
        &["commit", "--quiet", "-a", "-m", "b: b\n\nWhy not."],
    );
    house.run(&["export", "fresh"]).ends(0).says("b-b.patch");
    house.run(&["status", "fresh"]).ends(0).says("clean");
}

#[test]
fn a_users_git_configuration_changes_nothing() {
    let plain = House::fetched();
    plain.run(&["apply", "b"]).ends(0);
    let wanted = plain.git(&["rev-parse", "HEAD"]);
    let house = House::fetched();
    house.hostile_configuration();
    house.run(&["apply", "b"]).ends(0);
    assert_eq!(house.git(&["rev-parse", "HEAD"]), wanted);
    house.run(&["export", "b"]).ends(0).says("nothing to write");
    house
        .run(&["check", "b", "roundtrip"])
        .ends(0)
        .says("2 passed");
    house.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    house.change(&[(5, "five"), (10, "ten"), (1, "one")]);
    house.commit("a: one\n\nAnd ten.");
    plain.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    plain.change(&[(5, "five"), (10, "ten"), (1, "one")]);
    plain.commit("a: one\n\nAnd ten.");
    house.run(&["export", "b"]).ends(0);
    plain.run(&["export", "b"]).ends(0);
    let text = |house: &House| std::fs::read(house.patch("a-one.patch")).unwrap();
    assert_eq!(text(&house), text(&plain));
}
