// SPDX-License-Identifier: MIT OR Apache-2.0
//! Folders of patches.

mod common;

use std::path::Path;

use common::Repo;
use patch_stack::mail::Options;
use patch_stack::series::{Error, Series};

fn folder(series: &str, patches: &[&str]) -> tempfile::TempDir {
    let repo = Repo::new();
    repo.write("f", "a\n");
    let base = repo.commit("base");
    repo.write("f", "b\n");
    repo.commit("change");
    let patch = repo.format_patch(&base.to_string(), &[]).remove(0);
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::write(folder.path().join("series"), series).unwrap();
    for name in patches {
        std::fs::write(folder.path().join(name), &patch).unwrap();
    }
    folder
}

fn read(folder: &Path) -> Result<Series, Error> {
    Series::read(folder, &Options::default())
}

#[test]
fn the_series_file_gives_the_order() {
    let folder = folder(
        "# first\nb.patch # a remark\n\na.patch\n",
        &["a.patch", "b.patch"],
    );
    let series = read(folder.path()).unwrap();
    let names: Vec<&str> = series
        .patches
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["b.patch", "a.patch"]);
    assert_eq!(series.patches().count(), 2);
    assert_eq!(
        series.name,
        folder.path().file_name().unwrap().to_str().unwrap()
    );
}

#[test]
fn what_is_odd_is_refused_with_its_place() {
    let message = |series: &str| {
        read(folder(series, &["a.patch"]).path())
            .unwrap_err()
            .to_string()
    };
    assert!(message("a.patch -p0\n").contains("series:1: one file name a line"));
    assert!(
        message("a.patch\n\na.patch\n").contains("series:3: this patch is named a second time")
    );
    assert!(message("../a.patch\n").contains("series:1: "));
    assert!(message("b.patch\na.patch\n").contains("b.patch: No such file"));
    assert!(message("# none\n").contains("a.patch: no `series` file names it"));
}

#[test]
fn a_patch_that_is_none_is_named() {
    let folder = folder("a.patch\n", &["a.patch"]);
    std::fs::write(folder.path().join("a.patch"), "nothing\n").unwrap();
    assert!(
        read(folder.path())
            .unwrap_err()
            .to_string()
            .contains("a.patch: there is no diff")
    );
}
