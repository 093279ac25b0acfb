// SPDX-License-Identifier: MIT OR Apache-2.0
//! Was it compiled? A configuration that leaves a file out builds green; so the object of each
//! source file that a patch touches has to be there, and be no older than its source.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::declare::{Build, Objects};
use crate::failure::{At as _, Result};
use crate::mail::Patch;

/// What was found of the files that patches touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Objects that are there and fresh, relative to the build folder.
    pub made: Vec<String>,
    /// Objects that are not there.
    pub missing: Vec<String>,
    /// Objects that are older than their source.
    pub stale: Vec<String>,
    /// Touched source files that another build compiles.
    pub elsewhere: Vec<String>,
    /// Touched source files that no build compiles.
    pub nowhere: Vec<String>,
}

/// Which build compiles a source file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// This one: the object has to be there.
    Here,
    /// Another one.
    Elsewhere,
    /// None, as the branch's declaration admits: another architecture's.
    Nowhere,
}

/// Which build compiles the file `path`? `not_built` has ends of paths.
#[must_use]
pub fn compiled(build: &Build, not_built: &[String], path: &str) -> Where {
    if not_built.iter().any(|end| path.ends_with(end)) {
        Where::Nowhere
    } else if build.elsewhere.iter().any(|start| path.starts_with(start)) {
        Where::Elsewhere
    } else {
        Where::Here
    }
}

impl Findings {
    /// Is every object there?
    #[must_use]
    pub fn good(&self) -> bool {
        self.missing.is_empty() && self.stale.is_empty()
    }

    /// What is wrong, for people; empty if nothing is.
    #[must_use]
    pub fn complaint(&self) -> String {
        let mut parts = Vec::new();
        for (names, what) in [
            (&self.missing, "was not compiled"),
            (&self.stale, "is older than its source"),
        ] {
            if !names.is_empty() {
                parts.push(format!("{} {what}", names.join(", ")));
            }
        }
        parts.join("; ")
    }
}

/// The source files that `patches` leave behind, as paths in the tree: C and assembly.
pub fn touched<'p>(patches: impl IntoIterator<Item = &'p Patch>) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for patch in patches {
        for file in &patch.diff.files {
            if let (Some(old), false) = (&file.old_path, file.copy) {
                paths.remove(&*String::from_utf8_lossy(old));
            }
            if let Some(new) = &file.new_path {
                let path = String::from_utf8_lossy(new).into_owned();
                let compiled = [".c", ".S"].iter().any(|end| path.ends_with(end));
                if compiled {
                    paths.insert(path);
                }
            }
        }
    }
    paths
}

/// Looks for the objects of the `touched` files, and for those that the build requires.
///
/// # Errors
/// The build folder can't be read.
pub fn look(
    build: &Build,
    source: &Path,
    folder: &Path,
    touched: &BTreeSet<String>,
    not_built: &[String],
) -> Result<Findings> {
    let mut findings = Findings::default();
    let known = match build.objects {
        Objects::SamePath => BTreeMap::new(),
        Objects::Meson => objects_by_name(folder)?,
    };
    for path in touched {
        match compiled(build, not_built, path) {
            Where::Here => {}
            Where::Elsewhere => {
                findings.elsewhere.push(path.clone());
                continue;
            }
            Where::Nowhere => {
                findings.nowhere.push(path.clone());
                continue;
            }
        }
        let object = match build.objects {
            Objects::SamePath => {
                let own = PathBuf::from(path).with_extension("o");
                match age(&folder.join(&own)) {
                    Some(_) => own,
                    None => includer(folder, path).unwrap_or(own),
                }
            }
            Objects::Meson => {
                let name = format!("{}.o", path.replace('/', "_"));
                known.get(&name).cloned().unwrap_or_else(|| name.into())
            }
        };
        let shown = object.to_string_lossy().into_owned();
        match (age(&folder.join(&object)), age(&source.join(path))) {
            (None, _) => findings.missing.push(shown),
            (Some(object), Some(source)) if object < source => findings.stale.push(shown),
            (Some(_), _) => findings.made.push(shown),
        }
    }
    for object in &build.require {
        if findings.made.contains(object) || findings.missing.contains(object) {
            continue;
        }
        match age(&folder.join(object)) {
            None => findings.missing.push(object.clone()),
            Some(_) => findings.made.push(object.clone()),
        }
    }
    Ok(findings)
}

fn age(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

/// The object of a file beside `path` that includes it, as generated tables are included: make's list
/// of what the object depends on, which kbuild keeps beside it, has the path.
fn includer(folder: &Path, path: &str) -> Option<PathBuf> {
    let below = Path::new(path).parent()?;
    let end = format!("/{path}");
    std::fs::read_dir(folder.join(below))
        .ok()?
        .flatten()
        .find_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let object = name.strip_prefix('.')?.strip_suffix(".cmd")?;
            if !object.ends_with(".o") {
                return None;
            }
            let depends = std::fs::read_to_string(entry.path()).ok()?;
            depends
                .split_whitespace()
                .any(|word| word.ends_with(&end) || word == path)
                .then(|| below.join(object))
        })
}

/// Every object below `folder` by its file name, the newest of those that share one.
fn objects_by_name(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in std::fs::read_dir(&inner).at("reading", &inner)?.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.ends_with(".o") {
                continue;
            }
            let relative = path.strip_prefix(folder).unwrap_or(&path).to_owned();
            let newer = found
                .get(&name)
                .is_none_or(|other| age(&folder.join(other)) < age(&path));
            if newer {
                found.insert(name, relative);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn build(objects: Objects) -> Build {
        Build {
            name: "kernel".to_owned(),
            configure: Vec::new(),
            make: vec![vec!["true".to_owned()]],
            each: Vec::new(),
            objects,
            require: Vec::new(),
            elsewhere: vec!["tools/".to_owned()],
            packages: Vec::new(),
            product: None,
        }
    }

    fn put(path: &Path, age_in_seconds: u64) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = std::fs::File::create(path).unwrap();
        let when = SystemTime::now() - Duration::from_secs(age_in_seconds);
        file.set_modified(when).unwrap();
    }

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn an_object_that_is_missing_or_old_is_told() {
        let top = tempfile::tempdir().unwrap();
        let (source, folder) = (top.path().join("s"), top.path().join("b"));
        let touched = names(&["kvm/fresh.c", "kvm/old.S", "kvm/none.c", "tools/test.c"]);
        for path in &touched {
            put(&source.join(path), 100);
        }
        put(&folder.join("kvm/fresh.o"), 10);
        put(&folder.join("kvm/old.o"), 200);
        let mut build = build(Objects::SamePath);
        build.require = vec!["kvm/fresh.o".to_owned(), "kvm/tdx.o".to_owned()];
        let found = look(&build, &source, &folder, &touched, &[]).unwrap();
        assert_eq!(found.made, ["kvm/fresh.o"]);
        assert_eq!(found.missing, ["kvm/none.o", "kvm/tdx.o"]);
        assert_eq!(found.stale, ["kvm/old.o"]);
        assert_eq!(found.elsewhere, ["tools/test.c"]);
        assert!(!found.good());
        assert_eq!(
            found.complaint(),
            "kvm/none.o, kvm/tdx.o was not compiled; kvm/old.o is older than its source"
        );
        let left_out = ["none.c".to_owned(), "old.S".to_owned()];
        build.require.pop();
        let found = look(&build, &source, &folder, &touched, &left_out).unwrap();
        assert!(found.good(), "{found:?}");
        assert_eq!(found.nowhere, ["kvm/none.c", "kvm/old.S"]);
    }

    #[test]
    fn a_file_that_another_includes_is_compiled_with_it() {
        let top = tempfile::tempdir().unwrap();
        let (source, folder) = (top.path().join("s"), top.path().join("b"));
        put(&source.join("tdx/metadata.c"), 100);
        put(&source.join("tdx/other.c"), 100);
        put(&folder.join("tdx/tdx.o"), 10);
        let depends = format!(
            "savedcmd_tdx/tdx.o := gcc\n\ndeps_tdx/tdx.o := \\\n  {}/tdx/metadata.c \\\n",
            source.display()
        );
        std::fs::write(folder.join("tdx/.tdx.o.cmd"), depends).unwrap();
        let touched = names(&["tdx/metadata.c", "tdx/other.c"]);
        let build = build(Objects::SamePath);
        let found = look(&build, &source, &folder, &touched, &[]).unwrap();
        assert_eq!(found.made, ["tdx/tdx.o"]);
        assert_eq!(found.missing, ["tdx/other.o"]);
        put(&folder.join("tdx/tdx.o"), 200);
        let found = look(&build, &source, &folder, &touched, &[]).unwrap();
        assert_eq!(found.stale, ["tdx/tdx.o"]);
    }

    #[test]
    fn meson_names_objects_by_the_whole_path() {
        let top = tempfile::tempdir().unwrap();
        let (source, folder) = (top.path().join("s"), top.path().join("b"));
        put(&source.join("target/i386/svm.c"), 100);
        put(&source.join("target/i386/none.c"), 100);
        put(&folder.join("lib.a.p/target_i386_svm.c.o"), 10);
        let touched = names(&["target/i386/svm.c", "target/i386/none.c"]);
        let found = look(&build(Objects::Meson), &source, &folder, &touched, &[]).unwrap();
        assert_eq!(found.made, ["lib.a.p/target_i386_svm.c.o"]);
        assert_eq!(found.missing, ["target_i386_none.c.o"]);
    }
}
