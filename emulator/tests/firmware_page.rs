// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page about image, CPUID and firmware names tests: each has to exist, and none may be left out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PAGE: &str = "../docs/src/emulator/firmware.md";
const SOURCES: [&str; 4] = [
    "src/igvm",
    "src/snp/cpuid",
    "src/snp/firmware",
    "src/trace.rs",
];

/// Names in backquotes in the second column of a table of rules.
fn named() -> BTreeSet<String> {
    let page = fs::read_to_string(PAGE).expect("the page");
    page.lines()
        .take_while(|line| *line != "## Where it deviates")
        .filter_map(|line| line.strip_suffix(" |")?.rsplit_once("| "))
        .flat_map(|(_, cell)| cell.split('`').skip(1).step_by(2).map(str::to_owned))
        .filter(|name| name.contains('_') && name != "guest_message")
        .collect()
}

/// Functions with `#[test]` before them.
fn tests(path: &Path, found: &mut BTreeSet<String>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder of sources") {
            tests(&entry.expect("an entry").path(), found);
        }
        return;
    }
    let source = fs::read_to_string(path).expect("a source file");
    let mut lines = source.lines().map(str::trim);
    while lines.any(|line| line == "#[test]") {
        if let Some(name) = lines
            .next()
            .and_then(|line| line.strip_prefix("fn "))
            .and_then(|line| line.split('(').next())
        {
            found.insert(name.to_owned());
        }
    }
}

#[test]
fn the_page_and_the_tests_agree() {
    let mut found = BTreeSet::new();
    for source in SOURCES {
        tests(Path::new(source), &mut found);
    }
    let named = named();
    assert!(named.len() > 35, "the page has {} tests", named.len());
    let missing: Vec<_> = named.difference(&found).collect();
    assert!(missing.is_empty(), "named but not there: {missing:?}");
    let unnamed: Vec<_> = found.difference(&named).collect();
    assert!(unnamed.is_empty(), "not on the page: {unnamed:?}");
}
