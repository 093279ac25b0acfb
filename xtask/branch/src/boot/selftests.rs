// SPDX-License-Identifier: MIT OR Apache-2.0
//! KVM's selftests of a tree: which there are, and static builds of them. A tree's tests belong to
//! its headers, so they are built anew for each tree, and kept.

use std::path::{Path, PathBuf};

use anyhow::Result;
use patch_stack::build::{Kept, Key, Yard};
use patch_stack::mirror::Mirror;
use patch_stack::watch::Watch as _;
use serde_json::json;

use super::initramfs::Program;
use crate::building::Subject;
use crate::failure::Failure;
use crate::house::{Place, Shown};

const FOLDER: &str = "tools/testing/selftests/kvm";
/// Counted up when the same tree's tests come to be built otherwise than before.
const RECIPE: &[u8] = b"selftests 1";

/// The tests that `subject`'s tree has for x86, in the order of its Makefile.
pub(crate) fn names(mirror: &Mirror, subject: &Subject) -> Result<Vec<String>> {
    let repository = mirror.repository()?;
    let tree = repository.find_tree(subject.tree)?;
    let path = format!("{FOLDER}/Makefile.kvm");
    let Ok(entry) = tree.get_path(Path::new(&path)) else {
        return Err(Failure::usage(format!(
            "{} has no {path}, so there are no selftests to boot it with",
            subject.name
        ))
        .into());
    };
    let blob = repository.find_blob(entry.id())?;
    Ok(listed(&String::from_utf8_lossy(blob.content())))
}

/// The compiled tests that a `Makefile.kvm` lists for x86.
fn listed(makefile: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for line in makefile.lines() {
        let Some((variable, value)) = line.split_once('=') else {
            continue;
        };
        let variable = variable.trim_end_matches([' ', '\t', '+', ':']);
        if !["TEST_GEN_PROGS_COMMON", "TEST_GEN_PROGS_x86"].contains(&variable) {
            continue;
        }
        for word in value.split_whitespace() {
            if !word.starts_with('$') && !names.iter().any(|name| name == word) {
                names.push(word.to_owned());
            }
        }
    }
    names
}

/// The tests that `patterns` name: whole names, names without their folder, or either with a `*`.
///
/// # Errors
/// A pattern that names none.
pub(crate) fn chosen(names: &[String], patterns: &[String]) -> Result<Vec<String>> {
    let mut chosen: Vec<String> = Vec::new();
    for pattern in patterns {
        let before = chosen.len();
        let mut known = false;
        for name in names {
            let short = name.rsplit('/').next().unwrap_or(name);
            if matches(pattern, name) || matches(pattern, short) {
                known = true;
                if !chosen.contains(name) {
                    chosen.push(name.clone());
                }
            }
        }
        if chosen.len() == before && !known {
            return Err(Failure::usage(format!("the tree has no KVM selftest {pattern}"))
                .hint("tools/testing/selftests/kvm/Makefile.kvm lists them; `x86/plane_*` names several")
                .into());
        }
    }
    Ok(chosen)
}

/// Does `name` fit `pattern`, in which one `*` stands for any text?
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, end)) => {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
    }
}

/// Static programs of the tests `names` of `subject`'s tree.
pub(crate) fn programs(
    place: &Place<'_>,
    yard: &Yard<'_>,
    subject: &Subject,
    names: &[String],
    watch: &Shown,
) -> Result<Vec<Program>> {
    let tree = subject.tree.to_string();
    let list = names.join("\n");
    let key = Key::of_parts([
        RECIPE,
        tree.as_bytes(),
        list.as_bytes(),
        yard.tools().as_bytes(),
    ]);
    let kept = match yard.find(&key) {
        Some(kept) => kept,
        None => make(place, yard, subject, names, &key, watch)?,
    };
    Ok(names
        .iter()
        .map(|name| Program {
            name: name.clone(),
            path: kept.folder.join(name),
        })
        .collect())
}

fn make(
    place: &Place<'_>,
    yard: &Yard<'_>,
    subject: &Subject,
    names: &[String],
    key: &Key,
    watch: &Shown,
) -> Result<Kept> {
    yard.check_out(subject.commit)?;
    yard.configure()?;
    watch.step(&format!(
        "building {} selftests of {}",
        names.len(),
        subject.name
    ));
    let output = yard.home().join("selftests");
    std::fs::create_dir_all(&output)?;
    let paths: Vec<PathBuf> = names.iter().map(|name| output.join(name)).collect();
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|&word| word.to_owned())
            .collect::<Vec<_>>()
    };
    let targets = || paths.iter().map(|path| path.to_string_lossy().into_owned());
    let headers = words(&["make", "-C", "{source}", "O={build}", "headers"]);
    let mut tests = words(&[
        "make",
        "-C",
        &format!("{{source}}/{FOLDER}"),
        "-j{jobs}",
        "ARCH=x86",
        "KHDR_INCLUDES=-isystem {build}/usr/include",
        // Nothing of a C library is on the machine.
        "LDFLAGS=-static -no-pie",
    ]);
    tests.push(format!("OUTPUT={}", output.display()));
    tests.extend(targets());
    let mut strip = words(&["strip"]);
    strip.extend(targets());
    yard.commands(&[headers, tests, strip])?;
    watch.done();
    let files: Vec<_> = paths.into_iter().zip(names.iter().cloned()).collect();
    let record = json!({
        "project": place.project.name,
        "of": subject.name,
        "tree": subject.tree.to_string(),
        "selftests": names,
    });
    let root = &place.house.root;
    Ok(Kept::keep(root, &place.project.name, key, &files, record)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAKEFILE: &str = "TEST_GEN_PROGS_COMMON = demand_paging_test\n\
        TEST_GEN_PROGS_COMMON += irqfd_test\nTEST_PROGS_x86 += x86/nx_huge_pages_test.sh\n\
        TEST_GEN_PROGS_x86 = $(TEST_GEN_PROGS_COMMON)\nTEST_GEN_PROGS_x86 += x86/plane_test\n\
        TEST_GEN_PROGS_x86 += x86/plane_run_test\nTEST_GEN_PROGS_arm64 += arm64/hypercalls\n\
        TEST_GEN_PROGS_EXTENDED_x86 += x86/nx_huge_pages_test\n";

    #[test]
    fn the_makefile_says_which_there_are() {
        let names = listed(MAKEFILE);
        assert_eq!(
            names,
            [
                "demand_paging_test",
                "irqfd_test",
                "x86/plane_test",
                "x86/plane_run_test"
            ]
        );
        let pick = |patterns: &[&str]| {
            let patterns: Vec<_> = patterns.iter().map(|&text| text.to_owned()).collect();
            chosen(&names, &patterns)
        };
        assert_eq!(
            pick(&["irqfd_test", "x86/plane_*", "plane_test"]).unwrap(),
            ["irqfd_test", "x86/plane_test", "x86/plane_run_test"]
        );
        let error = pick(&["x86/no_such"]).unwrap_err().to_string();
        assert!(error.contains("x86/no_such"), "{error}");
    }
}
