// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page of rules names tests: each of them has to exist, and each test of a rule has to be named.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PAGE: &str = "../docs/src/emulator/snp-rules.md";
const SOURCES: [&str; 4] = [
    "src/snp/ghcb",
    "src/snp/rmp",
    "src/snp/vmsa",
    "src/snp/hv_doorbell.rs",
];

/// Names in backquotes in the last column of a table.
fn named() -> BTreeSet<String> {
    let page = fs::read_to_string(PAGE).expect("the page of rules");
    page.lines()
        .take_while(|line| *line != "## Where it deviates")
        .filter_map(|line| line.strip_suffix(" |")?.rsplit_once("| "))
        .flat_map(|(_, cell)| cell.split('`').skip(1).step_by(2).map(str::to_owned))
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
fn every_test_that_the_page_names_exists() {
    let mut found = BTreeSet::new();
    for source in SOURCES {
        tests(Path::new(source), &mut found);
    }
    let named = named();
    assert!(named.len() > 80, "the page has {} tests", named.len());
    let missing: Vec<_> = named.difference(&found).collect();
    assert!(missing.is_empty(), "named but not there: {missing:?}");
}

#[test]
fn every_rule_that_is_tested_is_on_the_page() {
    let mut found = BTreeSet::new();
    for source in SOURCES {
        tests(Path::new(source), &mut found);
    }
    // Of helpers, not of rules.
    let helpers = [
        "a_good_vmsa_runs",
        "a_new_page_is_vmpl0s_alone",
        "permissions_of_a_vmpl_do_not_spill",
        "what_the_guest_owns_is_not_stored",
    ];
    let named = named();
    let unnamed: Vec<_> = found
        .difference(&named)
        .filter(|name| !helpers.contains(&name.as_str()))
        .collect();
    assert!(unnamed.is_empty(), "not on the page: {unnamed:?}");
}
