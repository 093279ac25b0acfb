// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branches.lock`: what the bases and the branches were when they were last pinned. Whoever has
//! the repository and the same sources comes to the same commits, and `verify` says so.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use toml::de::DeTable;

use crate::declare::Error;
use crate::declare::fields::Fields;
use crate::failure::{At as _, Failure, Result};

/// The version of the format.
pub const SCHEMA: u64 = 1;

/// What a `branches.lock` pins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// The bases, by project and name.
    pub bases: BTreeMap<(String, String), BaseLock>,
    /// The branches, by name and project.
    pub branches: BTreeMap<(String, String), BranchLock>,
}

/// A pinned base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseLock {
    /// The kind of source: `debian`, `tar` or `git`.
    pub kind: String,
    /// The source in words.
    pub source: String,
    /// SHA-256 of the file; none for git.
    pub sha256: Option<String>,
    /// The commit.
    pub commit: String,
    /// Its tree.
    pub tree: String,
    /// SHA-256 over the fixups, if there are any.
    pub fixups: Option<String>,
    /// The commit where series start.
    pub start: String,
}

/// A pinned branch of one project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchLock {
    /// The base.
    pub base: String,
    /// The series, in order, each with the SHA-256 over its order and its patch files.
    pub series: Vec<(String, String)>,
    /// How many patches.
    pub patches: u64,
    /// The tree at the end.
    pub tip_tree: String,
    /// The commit at the end.
    pub tip_commit: String,
}

impl Lock {
    /// Reads the file `path`; a lock that pins nothing if there is none.
    ///
    /// # Errors
    /// It can't be read, or is no lock.
    pub fn read(path: &Path) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map_err(|error| {
                Failure::from(error.in_file(path)).hint(
                    "mend it, or `branch lock --update` writes it anew: from the files, and the bases as the mirror has them",
                )
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Failure::failed(format!(
                "reading {}: {error}",
                path.display()
            ))),
        }
    }

    /// Reads a lock.
    ///
    /// # Errors
    /// The line that is wrong.
    pub fn parse(text: &str) -> std::result::Result<Self, Error> {
        let document = DeTable::parse(text).map_err(|error| Error::syntax(text, &error))?;
        let top = Fields::top(text, &document);
        match top.optional_number("schema")? {
            Some(SCHEMA) => {}
            _ => return Err(top.wrong(format!("this tool reads `schema = {SCHEMA}`"))),
        }
        let mut lock = Self::default();
        for base in top.list("base")? {
            let key = (base.text("project")?, base.text("name")?);
            let value = BaseLock {
                kind: base.text("kind")?,
                source: base.text("source")?,
                sha256: base.optional_text("sha256")?,
                commit: base.text("commit")?,
                tree: base.text("tree")?,
                fixups: base.optional_text("fixups")?,
                start: base.text("start")?,
            };
            base.end(&[])?;
            lock.bases.insert(key, value);
        }
        for branch in top.list("branch")? {
            let key = (branch.text("name")?, branch.text("project")?);
            let mut series = Vec::new();
            for entry in branch.list("series")? {
                series.push((entry.text("name")?, entry.text("sha256")?));
                entry.end(&[])?;
            }
            let value = BranchLock {
                base: branch.text("base")?,
                series,
                patches: branch
                    .optional_number("patches")?
                    .ok_or_else(|| branch.missing("patches"))?,
                tip_tree: branch.text("tip-tree")?,
                tip_commit: branch.text("tip-commit")?,
            };
            branch.end(&[])?;
            lock.branches.insert(key, value);
        }
        top.end(&[])?;
        Ok(lock)
    }

    /// The file's text. The same lock is always the same text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "# Written by `cargo xtask branch lock`. docs/src/branches/reference.md says what it means.\n\
             schema = {SCHEMA}\n"
        );
        for ((project, name), base) in &self.bases {
            text.push_str("\n[[base]]\n");
            field(&mut text, "project", project);
            field(&mut text, "name", name);
            field(&mut text, "kind", &base.kind);
            field(&mut text, "source", &base.source);
            if let Some(sha256) = &base.sha256 {
                field(&mut text, "sha256", sha256);
            }
            field(&mut text, "commit", &base.commit);
            field(&mut text, "tree", &base.tree);
            if let Some(fixups) = &base.fixups {
                field(&mut text, "fixups", fixups);
            }
            field(&mut text, "start", &base.start);
        }
        for ((name, project), branch) in &self.branches {
            text.push_str("\n[[branch]]\n");
            field(&mut text, "name", name);
            field(&mut text, "project", project);
            field(&mut text, "base", &branch.base);
            text.push_str("series = [\n");
            for (name, sha256) in &branch.series {
                let _ = writeln!(
                    text,
                    "    {{ name = {}, sha256 = {} }},",
                    quoted(name),
                    quoted(sha256)
                );
            }
            text.push_str("]\n");
            let _ = writeln!(text, "patches = {}", branch.patches);
            field(&mut text, "tip-tree", &branch.tip_tree);
            field(&mut text, "tip-commit", &branch.tip_commit);
        }
        text
    }

    /// Writes the file `path`, all of it or nothing. Returns whether it changed.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, path: &Path) -> Result<bool> {
        let text = self.to_text();
        if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
            return Ok(false);
        }
        write_whole(path, text.as_bytes())?;
        Ok(true)
    }
}

fn field(text: &mut String, key: &str, value: &str) {
    let _ = writeln!(text, "{key} = {}", quoted(value));
}

fn quoted(value: &str) -> String {
    toml::Value::String(value.to_owned()).to_string()
}

/// Writes `content` to `path` so that no reader ever sees half of it, however this process ends.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    use std::io::Write as _;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let start = format!(".{name}.");
    sweep(path.parent().unwrap_or(path), &start);
    let fresh = path.with_file_name(format!("{start}{}.new", std::process::id()));
    let mut file = std::fs::File::create(&fresh).at("writing", &fresh)?;
    file.write_all(content).at("writing", &fresh)?;
    file.sync_all().at("writing", &fresh)?;
    std::fs::rename(&fresh, path).at("writing", path)
}

/// Removes what processes that are no more have left of the file.
fn sweep(folder: &Path, start: &str) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let process = name
            .strip_prefix(start)
            .and_then(|rest| rest.strip_suffix(".new")?.parse::<u32>().ok());
        if let Some(process) = process
            && !Path::new("/proc").join(process.to_string()).exists()
        {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Lock {
        let mut lock = Lock::default();
        lock.bases.insert(
            ("linux".to_owned(), "v7.1.8".to_owned()),
            BaseLock {
                kind: "debian".to_owned(),
                source: "Debian's \"linux\" 7.1.8-2".to_owned(),
                sha256: Some("ab".to_owned()),
                commit: "1".repeat(40),
                tree: "2".repeat(40),
                fixups: None,
                start: "1".repeat(40),
            },
        );
        lock.branches.insert(
            ("planes".to_owned(), "linux".to_owned()),
            BranchLock {
                base: "v7.1.8".to_owned(),
                series: vec![("planes".to_owned(), "cd".to_owned())],
                patches: 3,
                tip_tree: "3".repeat(40),
                tip_commit: "4".repeat(40),
            },
        );
        lock
    }

    #[test]
    fn what_is_written_is_read_back() {
        let lock = example();
        let text = lock.to_text();
        assert_eq!(Lock::parse(&text).unwrap(), lock);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("branches.lock");
        assert_eq!(Lock::read(&path).unwrap(), Lock::default());
        assert!(lock.write(&path).unwrap());
        assert!(!lock.write(&path).unwrap());
        assert_eq!(Lock::read(&path).unwrap(), lock);
        // As if a process had been killed: process 0 is never one of ours.
        std::fs::write(folder.path().join(".branches.lock.0.new"), "half").unwrap();
        let mut other = lock.clone();
        other.branches.clear();
        assert!(other.write(&path).unwrap());
        assert!(lock.write(&path).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_page_that_it_names_explains_it() {
        let text = example().to_text();
        let page = text
            .split(' ')
            .find(|word| word.starts_with("docs/"))
            .unwrap();
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
        let page = std::fs::read_to_string(page).unwrap();
        for key in ["`[[base]]`", "`[[branch]]`"] {
            assert!(page.contains(key), "{key}");
        }
    }

    #[test]
    fn a_hand_made_mistake_has_its_line() {
        let text = example().to_text().replace("tip-tree", "tiptree");
        let error = Lock::parse(&text).unwrap_err().to_string();
        assert!(error.contains("did you mean `tip-tree`"), "{error}");
        let text = example().to_text() + "\n[[bases]]\n";
        let error = Lock::parse(&text).unwrap_err().to_string();
        assert!(error.contains("did you mean `base`?"), "{error}");
    }
}
