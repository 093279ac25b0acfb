// SPDX-License-Identifier: MIT OR Apache-2.0
//! A mirror with objects that can't be read: what says so, and what mends it. No network.

#[allow(dead_code, reason = "the other tests use the rest")]
mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use common::House;

fn damage(object: &Path) {
    let writable = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(object, writable).unwrap();
    std::fs::write(object, "nonsense").unwrap();
}

fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(all_files(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[test]
fn a_damaged_mirror_is_named_with_its_remedy() {
    let house = House::fetched();
    house.run(&["lock"]).ends(0);
    let mirror = house.cache("mirror/p.git");
    let blob = house.git_in(&mirror, &["rev-parse", "refs/bases/v1:src/a"]);
    damage(&mirror.join("objects").join(&blob[..2]).join(&blob[2..]));
    let remedy = format!("remove {}, then `branch fetch`", mirror.display());

    let said = house.run(&["doctor", "--thorough"]).ends(1);
    assert!(!said.has("notice:"));
    said.says(&blob).says(&remedy);
    let which = "doctor --thorough` says which";
    house.run(&["verify"]).ends(1).says("WRONG").says(which);
    house.run(&["apply", "b"]).ends(1).says(which);

    for object in all_files(&mirror.join("objects")) {
        damage(&object);
    }
    house
        .run(&["doctor", "--thorough"])
        .ends(1)
        .says("BROKEN   p v1: ")
        .says("BROKEN   objects of p: ")
        .says(&remedy)
        .says("cache: ");
    house.run(&["status"]).ends(1).says("broken");

    std::fs::remove_dir_all(&mirror).unwrap();
    house.run(&["fetch"]).ends(0);
    house.run(&["verify"]).ends(0);
    house
        .run(&["doctor", "--thorough"])
        .ends(0)
        .says("all there and whole");
    house.run(&["fetch", "--again"]).ends(0).says("fetched");
}

#[test]
fn what_is_committed_while_git_looks_is_not_missing() {
    let house = House::fetched();
    // At its first look git follows a ref to a commit that it has not listed.
    let folder = house.path().join("odd");
    let path = std::env::var("PATH").unwrap();
    std::fs::create_dir(&folder).unwrap();
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *\" fsck \"*)\n\
         test -e seen || {{ : > seen; echo missing commit {}; exit 2; }}\n\
         esac\nPATH={path} exec git \"$@\"\n",
        "1".repeat(40)
    );
    let git = folder.join("git");
    std::fs::write(&git, script).unwrap();
    std::fs::set_permissions(&git, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = house
        .command(&["doctor", "--thorough"])
        .env("PATH", format!("{}:{path}", folder.display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("all there and whole"), "{said}");
    assert!(house.cache("mirror/p.git/seen").exists());
}
