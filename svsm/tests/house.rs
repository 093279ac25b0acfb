// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the book says of the house, held against the house.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Source files below `folder`, but for tests and what is there for tests only.
fn sources(folder: &str) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = format!("{folder}/{name}");
            if entry.file_type().unwrap().is_dir() {
                if !["tests", "testing"].contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                files.push(path);
            }
        }
    }
    files
}

/// The code of a file: without comments, and without its tests.
fn code(path: &str) -> String {
    let text = read(path);
    let product = match text.find("#[cfg(test)]\nmod tests {") {
        Some(tests) => &text[..tests],
        None => &text,
    };
    let lines = product.lines().map(|line| line.split("//").next());
    lines.flatten().collect::<Vec<_>>().join("\n")
}

fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|found| found == word)
}

/// Files whose code is so.
fn files(is: impl Fn(&str) -> bool) -> BTreeSet<String> {
    ["svsm/src", "platforms/sev-snp/src"]
        .into_iter()
        .flat_map(sources)
        .filter(|path| is(&code(path)))
        .collect()
}

/// Files that the table below a heading of the architecture page names.
fn named(heading: &str) -> BTreeSet<String> {
    let page = read("docs/src/architecture.md");
    let (_, section) = page.split_once(heading).expect("the heading");
    let table = section
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    table
        .flat_map(|row| row.split('`'))
        .filter(|cell| cell.ends_with(".rs"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn unsafe_lies_where_the_book_says() {
    let found = files(|code| has_word(code, "unsafe"));
    assert!(found.len() > 10, "{found:?}");
    assert_eq!(found, named("### Where `unsafe` lies"));
}

#[test]
fn locks_are_those_that_the_book_has() {
    // A lock is a field, a static or a reference to one; its own file has neither.
    let found = files(|code| {
        code.lines()
            .any(|line| line.contains(": Lock<") || line.contains("m Lock<"))
    });
    let mut named = named("## Locks");
    // The start makes the one that the machine refers to.
    named.insert("svsm/src/run.rs".to_owned());
    assert_eq!(found, named);
}

#[test]
fn a_protocol_is_a_file_and_a_line() {
    let list = code("svsm/src/calls/mod.rs");
    let mut protocols = 0;
    for entry in fs::read_dir(root().join("svsm/src/calls")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let name = name.trim_end_matches(".rs");
        if ["mod", "tests"].contains(&name) {
            continue;
        }
        protocols += 1;
        for line in [
            format!("mod {name};"),
            format!("{name}::Handlers::PROTOCOL"),
        ] {
            assert!(list.contains(&line), "{line} is missing in calls/mod.rs");
        }
    }
    assert_eq!(list.matches("::Handlers::PROTOCOL").count(), protocols);
}
