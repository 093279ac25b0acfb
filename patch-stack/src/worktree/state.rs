// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is remembered of a branch between commands: which files its commits came from, and an
//! operation that waits for a person.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::branch::{self, Layer};
use crate::failure::{At as _, Failure, Result};
use crate::hash;
use crate::lock::write_whole;
use crate::mirror::Mirror;

/// A branch between commands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The base that the commits are on.
    pub base: String,
    /// The commit where the series start.
    pub start: String,
    /// The patch files that were applied, in order.
    pub files: Vec<Applied>,
    /// How many patches were asked for, if not all.
    pub upto: Option<usize>,
    /// Files that a rebase has left out because the base has them.
    pub dropped: Vec<String>,
    /// What waits for a person.
    pub operation: Option<Operation>,
}

/// A patch file that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Its series.
    pub series: String,
    /// Its name.
    pub name: String,
    /// SHA-256 of its bytes then.
    pub sha256: String,
    /// The commit that was made of it; none if a person's hand was in it.
    pub commit: Option<String>,
}

/// An operation that stopped at a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// `apply` or `rebase`.
    pub kind: String,
    /// Where the branch was before; none if it was nowhere.
    pub before: Option<String>,
    /// The state before, for `abort`.
    pub state: Option<Box<State>>,
    /// Has git begun, and told of a conflict? Until then a run that was cut short is undone by the
    /// next one.
    #[serde(default = "yes")]
    pub begun: bool,
    /// The mail that is being skipped, by git's number: whoever comes after a crash skips no second
    /// one.
    #[serde(default)]
    pub skipping: Option<usize>,
}

fn yes() -> bool {
    true
}

impl State {
    fn file(mirror: &Mirror, branch: &str) -> PathBuf {
        mirror
            .root()
            .join("state")
            .join(&mirror.project)
            .join(format!("{branch}.json"))
    }

    /// Reads what is remembered of `branch`.
    ///
    /// # Errors
    /// The file is there and can't be understood.
    pub fn read(mirror: &Mirror, branch: &str) -> Result<Option<Self>> {
        read_note(&Self::file(mirror, branch), branch)
    }

    /// Writes it, all of it or nothing.
    pub(crate) fn write(&self, mirror: &Mirror, branch: &str) -> Result<()> {
        let file = Self::file(mirror, branch);
        make_parent(&file)?;
        write_whole(&file, &self.to_bytes())
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("texts and numbers become JSON")
    }

    /// The commit at which the operation began: that of the last patch before the conflict.
    pub(crate) fn began_at(&self) -> &str {
        let made = self.files.iter().map_while(|file| file.commit.as_ref());
        made.last().unwrap_or(&self.start)
    }

    /// Where it is written, for a journal.
    pub(crate) fn place(mirror: &Mirror, branch: &str) -> PathBuf {
        Self::file(mirror, branch)
    }

    /// Forgets the branch.
    pub(crate) fn forget(mirror: &Mirror, branch: &str) -> Result<()> {
        let file = Self::file(mirror, branch);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
        .at("removing", &file)
    }

    /// The branches of `mirror` that something is remembered of, or that a run has left something of.
    #[must_use]
    pub fn all(mirror: &Mirror) -> Vec<String> {
        let mut names: Vec<_> = ["state", "journal"]
            .iter()
            .map(|kind| mirror.root().join(kind).join(&mirror.project))
            .flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten())
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                Some(name.strip_suffix(".json")?.to_owned())
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

/// What is remembered of the files of `layers`, of which `commits` were made, one for each.
pub(crate) fn applied_files(layers: &[Layer], commits: &[Option<String>]) -> Vec<Applied> {
    layers
        .iter()
        .flat_map(|layer| layer.patches.iter().map(move |file| (layer, file)))
        .zip(commits)
        .map(|((layer, file), commit)| Applied {
            series: layer.name.clone(),
            name: file.name.clone(),
            sha256: hash::of_parts([file.patch.bytes.as_slice()]),
            commit: commit.clone(),
        })
        .collect()
}

/// Fails if a patch file is not what was applied.
pub(crate) fn require_same_files(state: &State, layers: &[Layer]) -> Result<()> {
    let all: Vec<_> = branch::patches(layers).collect();
    for known in &state.files {
        let found = all.iter().find(|file| file.name == known.name);
        let same =
            found.is_some_and(|file| hash::of_parts([file.patch.bytes.as_slice()]) == known.sha256);
        if !same {
            let what = if found.is_some() {
                "was changed by hand"
            } else {
                "is gone"
            };
            return Err(Failure::refused(format!(
                "{} {what} since the branch was applied; an export would undo that",
                found.map_or_else(
                    || known.name.clone(),
                    |file| file.path.display().to_string()
                )
            ))
            .hint("put the file back, or `branch clean` and apply again"));
        }
    }
    Ok(())
}

/// What a file of ours about `branch` says, if it is there.
pub(super) fn read_note<T: DeserializeOwned>(file: &Path, branch: &str) -> Result<Option<T>> {
    let bytes = match std::fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.at("reading", file)?,
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        Failure::failed(format!("{} is damaged: {error}", file.display())).hint(format!(
            "save what its worktree has and was not exported; then `branch clean {branch} --force` \
             moves the file aside"
        ))
    })
}

pub(crate) fn make_parent(file: &Path) -> Result<()> {
    match file.parent() {
        Some(parent) => std::fs::create_dir_all(parent).at("making", parent),
        None => Ok(()),
    }
}
