// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several runs at once on one `branches.toml`: none loses what another has written. Several folders
//! with one cache: none takes another's for its own. No network.

#[allow(dead_code, reason = "the other tests use the rest")]
mod common;

use std::process::Child;
use std::time::Duration;

use common::House;
use patch_stack::mirror::Guard;
use patch_stack::watch::Silent;

/// A house with a branch in each of two projects, both pinned.
fn two_projects() -> House {
    let house = House::new();
    let file = house.path().join("branches.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let (head, rest) = text.split_once("[project.p]").unwrap();
    let (first, second) = (
        format!("[project.p]{rest}"),
        format!("[project.p]{rest}")
            .replace("project.p", "project.q")
            .replace("\"patches\"", "\"others\"")
            .replace("branch.b.p", "branch.c.q")
            .replace("branch.b", "branch.c"),
    );
    std::fs::write(&file, format!("{head}{first}\n{second}")).unwrap();
    let others = house.path().join("others/s");
    std::fs::create_dir_all(&others).unwrap();
    for entry in std::fs::read_dir(house.patch("")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), others.join(entry.file_name())).unwrap();
    }
    house.run(&["fetch"]).ends(0);
    house.run(&["lock"]).ends(0).says("2 branches");
    house
}

fn commit_in(house: &House, worktree: &str) {
    let folder = house.cache(worktree);
    std::fs::write(folder.join("src/b"), "other\n").unwrap();
    house.git_in(
        &folder,
        &["commit", "--quiet", "-a", "-m", "b: other\n\nYes."],
    );
}

fn ends_well(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

const UNAVAILABLE: i32 = 5;
const NEW: [&str; 8] = [
    "new",
    "fresh",
    "--project",
    "p",
    "--base",
    "v1",
    "--description",
    "d",
];

#[test]
fn whoever_writes_waits_and_reads_again() {
    let house = two_projects();
    house.run(&["edit", "b"]).ends(0);
    commit_in(&house, "worktrees/p/b");
    let toml = house.path().join("branches.toml");
    let lock = house.path().join("branches.lock");
    for words in [&["export", "b"][..], &["lock"], &NEW, &["clean", "b"]] {
        // Another run: it is in the middle of its writing.
        let other = Guard::of_declaration(house.path(), &Silent).unwrap();
        let mut child = house.start(words);
        std::thread::sleep(Duration::from_millis(700));
        assert!(
            child.try_wait().unwrap().is_none(),
            "{words:?} did not wait"
        );
        let declared = std::fs::read_to_string(&toml).unwrap();
        let remark = format!("# After {}.\n", words[0]);
        std::fs::write(&toml, declared + &remark).unwrap();
        let pinned = std::fs::read_to_string(&lock).unwrap();
        let sum = pinned
            .lines()
            .rfind(|line| line.contains("sha256 = "))
            .unwrap();
        let changed = pinned.replace(sum, &sum.replace("sha256 = \"", "sha256 = \"0"));
        std::fs::write(&lock, &changed).unwrap();
        drop(other);
        ends_well(child);
        let declared = std::fs::read_to_string(&toml).unwrap();
        assert!(declared.contains(&remark), "{words:?}");
        if words == ["export", "b"] {
            // The other's line is as the other wrote it, and nobody else's.
            let pinned = std::fs::read_to_string(&lock).unwrap();
            assert!(pinned.contains("sha256 = \"0"), "{pinned}");
        }
        std::fs::write(&lock, &pinned).unwrap();
        house.run(&["lock"]).ends(0);
    }
}

#[test]
fn exports_in_two_projects_are_both_pinned() {
    let house = two_projects();
    for (branch, worktree) in [("b", "worktrees/p/b"), ("c", "worktrees/q/c")] {
        house.run(&["edit", branch]).ends(0);
        commit_in(&house, worktree);
    }
    let both = [["export", "b"], ["export", "c"]].map(|words| house.start(&words));
    both.into_iter().for_each(ends_well);
    house.run(&["verify"]).ends(0).says("3 patches");
}

#[test]
fn branches_that_begin_at_once_are_all_declared() {
    let house = two_projects();
    let names: Vec<_> = (0..6).map(|number| format!("n{number}")).collect();
    let runs: Vec<_> = names
        .iter()
        .zip(["p", "q"].iter().cycle())
        .map(|(name, project)| {
            let mut words = NEW;
            words[1] = name;
            words[3] = project;
            house.start(&words)
        })
        .collect();
    runs.into_iter().for_each(ends_well);
    for name in &names {
        house.run(&["list"]).ends(0).says(name);
    }
}

#[test]
fn a_base_that_is_declared_otherwise_is_fetched_first() {
    let house = House::fetched();
    house.run(&["lock"]).ends(0);
    let declared = "source = [{ git = \"upstream\", ref = \"v1\" }]";
    house.redeclare(declared, &declared.replace("\"v1\"", "\"v2\""));
    let why = "which branches.toml no longer declares";
    house.run(&["status"]).ends(UNAVAILABLE).says(why);
    house.run(&["lock"]).ends(UNAVAILABLE).says(why);
    house.run(&["apply", "b"]).ends(UNAVAILABLE).says(why);
    house.run(&["doctor"]).ends(UNAVAILABLE).says(why);
    house
        .run(&["verify"])
        .ends(UNAVAILABLE)
        .says("SKIPPED")
        .says(why);
    // What is pinned is another commit, and only a person can say that it is to be this one.
    house
        .run(&["fetch"])
        .ends(6)
        .says("out of branches.lock and fetch again");
    std::fs::remove_file(house.path().join("branches.lock")).unwrap();
    house.run(&["fetch"]).ends(0).says("p v1: fetched");
    house.run(&["fetch"]).ends(0).says("p v1: is there");
    house.run(&["status"]).ends(3).says("needs refresh");
}

#[test]
fn a_damaged_note_stops_its_own_branch_only() {
    let house = two_projects();
    for kind in ["state", "journal"] {
        house.run(&["apply", "b"]).ends(0);
        let note = house.cache(kind).join("p/b.json");
        std::fs::create_dir_all(note.parent().unwrap()).unwrap();
        std::fs::write(&note, "{").unwrap();
        let damaged = format!("{} is damaged", note.display());
        house
            .run(&["status"])
            .ends(1)
            .says("broken")
            .says(&damaged)
            .says("branch clean b --force")
            .says("c       v1    2        clean");
        house.run(&["doctor"]).ends(1).says(&damaged);
        house.run(&["list"]).ends(0);
        house.run(&["verify"]).ends(0);
        house.run(&["apply", "c"]).ends(0);
        house.run(&["continue"]).ends(6).says("no branch waits");
        house.run(&["apply", "b"]).ends(1).says(&damaged);
        house.run(&["clean", "b"]).ends(1).says(&damaged);
        house
            .run(&["clean", "b", "--force"])
            .ends(0)
            .says("b.set-aside");
        let aside = std::fs::read_to_string(note.with_file_name("b.set-aside")).unwrap();
        assert_eq!(aside, "{");
        house.run(&["status"]).ends(0);
    }
}

#[test]
fn what_another_folders_run_left_is_not_written_from_here() {
    let house = House::fetched();
    let written = house.path().join("elsewhere/file");
    let note = house.cache("journal/p/b.json");
    std::fs::create_dir_all(note.parent().unwrap()).unwrap();
    let left_by = |folder: &std::path::Path| {
        let text = format!(
            "{{\"folder\": {folder:?}, \"files\": [[{written:?}, [104, 105]]], \"refs\": []}}"
        );
        std::fs::write(&note, text).unwrap();
    };
    left_by(written.parent().unwrap());
    house
        .run(&["status"])
        .ends(1)
        .says("a run on b in")
        .says("was cut short");
    house.run(&["apply", "b"]).ends(6).says("finishes it");
    assert!(!written.exists());
    left_by(house.path());
    house.run(&["list"]).ends(0).says("is finished now");
    assert_eq!(std::fs::read_to_string(&written).unwrap(), "hi");
}
