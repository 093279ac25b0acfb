// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is left after the tool was killed or told to stop, and that two runs take turns. No network.

#[allow(dead_code, reason = "the other tests use the rest")]
mod common;

use std::time::Duration;

use common::{House, lines};

#[test]
fn killed_at_any_moment_nothing_is_lost() {
    let house = House::fetched();
    house.run(&["apply", "b"]).ends(0);
    let tip = house.git(&["rev-parse", "HEAD"]);
    for milliseconds in [1, 3, 6, 10, 20, 40, 80] {
        house.run(&["clean", "b", "--force"]).ends(0);
        house.kill_after(&["apply", "b"], Duration::from_millis(milliseconds));
        house.run(&["apply", "b"]).ends(0);
        assert_eq!(house.git(&["rev-parse", "HEAD"]), tip);
        assert_eq!(house.git(&["status", "--porcelain"]), "");

        house.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
        house.kill_after(&["export", "b"], Duration::from_millis(milliseconds));
        // Killed or not: the next run ends with the one patch that is left.
        house.run(&["export", "b"]).ends(0);
        let order = std::fs::read_to_string(house.patch("series")).unwrap();
        assert_eq!(order, "0001-a-five.patch\n");
        house.restore_patches();
        house.kill_after(&["lock"], Duration::from_millis(milliseconds));
        house.run(&["lock"]).ends(0);
        house.run(&["verify"]).ends(0);
    }
    // Nothing half written is left.
    for folder in [house.path().to_owned(), house.patch("")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with('.'), "{name}");
        }
    }
    house.run(&["clean", "b", "--force"]).ends(0);
    house.run(&["apply", "b"]).ends(0);
    assert_eq!(house.git(&["rev-parse", "HEAD"]), tip);
}

#[test]
fn a_beginning_that_is_killed_at_any_moment_is_whole_or_not_there() {
    let new = |name: &str| {
        let words = [
            "new",
            name,
            "--project",
            "p",
            "--base",
            "v1",
            "--description",
            "d",
        ];
        words.map(str::to_owned)
    };
    let import =
        |name: &str| ["import", "b", "theirs.mbox", "--ours", "--series", name].map(str::to_owned);
    let house = House::new();
    house.mailbox("theirs.mbox");
    for milliseconds in [1, 3, 6, 10, 20, 40] {
        let fresh = format!("fresh{milliseconds}");
        let theirs = format!("theirs{milliseconds}");
        for words in [&new(&fresh)[..], &import(&theirs)] {
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            house.kill_after(&words, Duration::from_millis(milliseconds));
            let said = house.run(&words);
            assert!(
                said.output.contains(" is declared")
                    || said.output.contains(" are in ")
                    || said.has("already")
            );
        }
        house.run(&["list"]).ends(0).says(&fresh);
        let order = house.path().join("patches").join(&theirs).join("series");
        // A branch has a patch's name once, and the series of the round before has this one.
        let order = std::fs::read_to_string(order).unwrap();
        assert_eq!(order.lines().count(), 1, "{order}");
        assert!(order.ends_with("0001-b-from-the-list.patch\n"), "{order}");
    }
}

#[test]
fn told_to_stop_it_takes_what_it_runs_along() {
    let house = House::new();
    for (signal, status) in [("-TERM", 128 + 15), ("-INT", 128 + 2)] {
        let child = house.start_with_slow_git(&["fetch"]);
        let git = house.slow_git();
        let told = std::process::Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status()
            .unwrap();
        assert!(told.success());
        let asked = std::time::Instant::now();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{said}");
        assert!(said.contains("stopped"), "{said}");
        assert!(asked.elapsed() < Duration::from_secs(20));
        assert!(!std::path::Path::new("/proc").join(git).exists());
    }
    // No lock is left.
    house.run(&["fetch"]).ends(0).says("p v1: fetched");
    house.run(&["apply", "b"]).ends(0);
}

#[test]
fn two_runs_at_once_take_turns() {
    let house = House::new();
    let both = [["fetch"], ["fetch"], ["fetch"]].map(|words| house.start(&words));
    for child in both {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let both = [["apply", "b"], ["apply", "b"]].map(|words| house.start(&words));
    for child in both {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    assert_eq!(house.git(&["status", "--porcelain"]), "");
    assert_eq!(
        std::fs::read_to_string(house.worktree().join("src/a")).unwrap(),
        lines(&[(5, "five"), (10, "ten")])
    );
}
