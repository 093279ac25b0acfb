// SPDX-License-Identifier: MIT OR Apache-2.0
//! Building, booting and stacks, on a project whose compiler is `cp`. No network.

#[allow(dead_code, reason = "the other tests use the rest")]
mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::House;

/// "Compiles" every C file of the tree that says nothing of being broken.
const COMPILER: &str = "mkdir -p {build}/src; for f in {source}/src/*.c; do \
    test -e $f || continue; grep broken $f && { echo error: $f is broken; exit 1; }; \
    cp $f {build}/src/$(basename $f .c).o; done";

/// A house whose series adds a C file, breaks it, and mends it.
fn house(compiler: &str, more: &str) -> House {
    let house = House::fetched();
    let upstream = house.path().join("upstream");
    let git = |words: &[&str]| house.git_in(&upstream, words);
    git(&["checkout", "--quiet", "main"]);
    for (subject, content) in [
        ("new", "one\n"),
        ("broken", "broken\n"),
        ("mended", "two\n"),
    ] {
        std::fs::write(upstream.join("src/c.c"), content).unwrap();
        git(&["add", "-A"]);
        git(&["commit", "--quiet", "-m", &format!("c: {subject}")]);
    }
    let patches = house.path().join("patches/s");
    std::fs::remove_dir_all(&patches).unwrap();
    let folder = patches.display().to_string();
    let form = [
        "--quiet",
        "--zero-commit",
        "--no-signature",
        "-N",
        "--full-index",
    ];
    git(&[&["format-patch"], &form[..], &["-o", &folder, "v1"]].concat());
    order(
        &house,
        &["a-five", "a-ten", "c-new", "c-broken", "c-mended"],
    );
    let path = house.path().join("branches.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let build = format!(
        "[project.p.build.all]\nconfigure = [[\"touch\", \"{{build}}/set-up\"]]\n\
         make = [[\"sh\", \"-c\", \"{compiler}\"]]\nobjects = \"same-path\"\n\
         product = \"src/c.o\"\n{more}\n[branch.b]"
    );
    let text = text.replacen("[branch.b]", &build, 1).replacen(
        "series = [\"s\"]",
        "series = [\"s\"]\nbuild = [\"all\"]\nno-boot = \"it is no kernel\"",
        1,
    );
    std::fs::write(&path, text).unwrap();
    house
}

/// Makes the series these patches, out of all that there are.
fn order(house: &House, subjects: &[&str]) {
    let all = house.path().join("all");
    let series = house.path().join("patches/s");
    if !all.exists() {
        std::fs::rename(&series, &all).unwrap();
    }
    let _ = std::fs::remove_dir_all(&series);
    std::fs::create_dir(&series).unwrap();
    let mut names = String::new();
    for (index, subject) in subjects.iter().enumerate() {
        let name = format!("{:04}-{subject}.patch", index + 1);
        std::fs::copy(all.join(&name), series.join(&name)).unwrap();
        names.push_str(&name);
        names.push('\n');
    }
    std::fs::write(series.join("series"), names).unwrap();
}

fn stack(house: &House, words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask-branch"))
        .arg("stack")
        .args(words)
        .arg("--folder")
        .arg(house.path())
        .env("PARAPET_CACHE", house.path().join("cache"))
        .env_remove("PARAPET_CALLED_FROM")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn what_was_built_is_not_built_again() {
    let house = house(COMPILER, "");
    let said = house
        .run(&["build", "b"])
        .ends(0)
        .says("1 object looked for and found");
    assert!(!said.output.contains("(before)"));
    house.run(&["build", "b"]).ends(0).says("(before)");
    let said = house.run(&["build", "b", "--json"]).ends(0);
    let report: serde_json::Value = serde_json::from_str(&said.output).unwrap();
    let step = &report["builds"][0]["steps"][0];
    assert_eq!(step["cached"], true);
    assert_eq!(step["record"]["objects"], serde_json::json!(["src/c.o"]));
    let product = std::fs::read_to_string(step["product"].as_str().unwrap()).unwrap();
    assert_eq!(product, "two\n");
    house.run(&["status"]).says("built");
    // Another tip is another build, and going back costs nothing.
    order(&house, &["a-five", "a-ten", "c-new"]);
    house.run(&["status"]).says("built before this tip");
    let said = house.run(&["build", "b"]).ends(0);
    assert!(!said.output.contains("(before)"));
    order(
        &house,
        &["a-five", "a-ten", "c-new", "c-broken", "c-mended"],
    );
    house.run(&["build", "b"]).ends(0).says("(before)");
}

#[test]
fn each_names_the_patch_that_breaks() {
    let house = house(COMPILER, "");
    house
        .run(&["build", "b", "--each"])
        .ends(1)
        .says("FAILED   0004-c-broken.patch")
        .says("is broken")
        .says("all of its output is in");
    // What built before the break is remembered.
    let said = house.run(&["build", "b", "--each"]).ends(1);
    assert_eq!(
        said.output.matches("(before)").count(),
        4,
        "{}",
        said.output
    );
    order(&house, &["a-five", "a-ten", "c-new"]);
    house
        .run(&["build", "b", "--each"])
        .ends(0)
        .says("0003-c-new.patch");
}

#[test]
fn a_build_that_leaves_a_touched_file_out_is_no_pass() {
    let house = house("mkdir -p {build}/src; touch {build}/src/d.o", "");
    house
        .run(&["build", "b"])
        .ends(1)
        .says("the build went through, but src/c.o was not compiled");
    let path = house.path().join("branches.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let admitted = text.replacen("no-boot", "not-built = [\"src/c.c\"]\nno-boot", 1);
    let admitted = admitted.replacen("product = \"src/c.o\"\n", "", 1);
    std::fs::write(&path, admitted).unwrap();
    house
        .run(&["build", "b"])
        .ends(0)
        .says("1 file that NO build compiles");
}

#[test]
fn what_is_missing_is_named() {
    let there = Command::new("dpkg-query").arg("--version").output().is_ok();
    let lacking = house(COMPILER, "packages = [\"no-such-package\"]");
    if there {
        lacking
            .run(&["build", "b"])
            .ends(5)
            .says("hint: apt-get install no-such-package");
    }
    let house = House::fetched();
    house.run(&["build", "b"]).ends(2).says("declares no build");
}

#[test]
fn a_signal_ends_the_build_and_all_that_it_started() {
    let name = format!("61.{}", std::process::id());
    let house = house(&format!("echo ready; sleep {name}"), "");
    let child = house.start(&["build", "b"]);
    let started = Instant::now();
    while !runs(&name) {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "it did not start"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(128 + 15));
    assert!(String::from_utf8_lossy(&output.stderr).contains("stopped"));
    let told = Instant::now();
    while runs(&name) {
        assert!(told.elapsed() < Duration::from_secs(2), "a process is left");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Does a process with this argument run?
fn runs(argument: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| {
            line.split(|&byte| byte == 0)
                .any(|word| word == argument.as_bytes())
        })
    })
}

#[test]
fn a_branch_that_can_not_boot_is_skipped_with_its_reason() {
    let house = house(COMPILER, "");
    house
        .run(&["boot", "b"])
        .ends(0)
        .says("SKIPPED  b: it is no kernel");
    let said = house.run(&["boot", "b", "--json"]).ends(0);
    let report: serde_json::Value = serde_json::from_str(&said.output).unwrap();
    assert_eq!(report["verdict"], "SKIPPED");
}

#[test]
fn a_build_to_boot_is_asked_for_by_a_name_that_there_is() {
    let house = house(COMPILER, "");
    let path = house.path().join("branches.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("no-boot = \"it is no kernel\"\n", "")).unwrap();
    house
        .run(&["boot", "b", "--build", "debug"])
        .ends(2)
        .says("p has no build `debug`")
        .says("it has: all");
    house
        .run(&["boot", "b", "--build", "all"])
        .ends(2)
        .says("no build of b makes a kernel");
}

#[test]
fn a_stack_says_what_is_built_from_what() {
    let house = house(COMPILER, "");
    let path = house.path().join("branches.toml");
    let text = std::fs::read_to_string(&path).unwrap()
        + "[stack.one]\ndescription = \"all\"\npart = [\n\
           { name = \"kernel\", branch = \"b\" },\n\
           { name = \"image\", command = [\"cp\", \"src/in\", \"out\"], product = \"out\", sources = [\"src\"] },\n\
           { name = \"firmware\", none = \"not yet\" },\n]\n";
    std::fs::write(&path, text).unwrap();
    let source = house.path().join("src/in");
    std::fs::create_dir(house.path().join("src")).unwrap();
    std::fs::write(&source, "image").unwrap();
    let (status, said) = stack(&house, &["status"]);
    assert_eq!(status, Some(3), "{said}");
    assert_eq!(said.matches("not built").count(), 2, "{said}");
    assert!(
        said.contains("none used") && said.contains("not yet"),
        "{said}"
    );
    for word in ["build", "status"] {
        let (_, help) = stack(&house, &[word, "--help"]);
        let (_, examples) = help.split_once("\nExamples:\n").unwrap();
        let line = format!("cargo xtask stack {word}");
        assert!(examples.contains(&line), "{help}");
    }
    let (status, said) = stack(&house, &["status", "--json"]);
    assert_eq!(status, Some(3), "{said}");
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report[0]["parts"][0]["state"], "not built", "{said}");
    let (status, said) = stack(&house, &["build", "--platform", "one"]);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(
        std::fs::read_to_string(house.path().join("out")).unwrap(),
        "image"
    );
    // A younger source and another tip are seen.
    touch(&source);
    order(&house, &["a-five", "a-ten", "c-new"]);
    let (status, said) = stack(&house, &["status"]);
    assert_eq!(status, Some(3), "{said}");
    assert_eq!(said.matches("STALE").count(), 2, "{said}");
    let (status, said) = stack(&house, &["status", "--platform", "two"]);
    assert_eq!(status, Some(2), "{said}");
}

fn touch(path: &Path) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::SystemTime::now() + Duration::from_secs(1))
        .unwrap();
}
