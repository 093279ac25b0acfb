// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several files and refs, changed together: what is to be is written down first, and whoever
//! comes after a crash finishes it. Until the journal has its name nothing has happened; from then
//! on everything will.

use std::path::{Path, PathBuf};

use git2::Oid;
use serde::{Deserialize, Serialize};

use super::state::{make_parent, read_note};
use crate::failure::{At as _, Result};
use crate::git::RefMove;
use crate::lock::write_whole;
use crate::mirror::Mirror;
use crate::watch::Watch;

/// What is to be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Journal {
    /// The folder of the `branches.toml` that it belongs to: clones of a repository share a mirror.
    folder: PathBuf,
    /// Files by absolute path; none for one that is to go.
    files: Vec<(PathBuf, Option<Vec<u8>>)>,
    /// Refs and where they are to be.
    refs: Vec<(String, String)>,
}

impl Journal {
    /// Nothing yet, for the `branches.toml` in `folder`.
    pub(crate) fn of(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            files: Vec::new(),
            refs: Vec::new(),
        }
    }

    /// The one that a run has left which was cut short.
    fn read(mirror: &Mirror, branch: &str) -> Result<Option<Self>> {
        read_note(&place(mirror, branch), branch)
    }

    /// A file is to have this content. Files change in the order in which they are named.
    pub(crate) fn write(&mut self, path: PathBuf, content: Vec<u8>) {
        self.files.push((path, Some(content)));
    }

    /// A file is to go.
    pub(crate) fn remove(&mut self, path: PathBuf) {
        self.files.push((path, None));
    }

    /// A ref is to be there.
    pub(crate) fn set_ref(&mut self, name: &str, to: Oid) {
        self.refs.push((name.to_owned(), to.to_string()));
    }

    /// Makes it so.
    pub(crate) fn carry_out(self, mirror: &Mirror, branch: &str, watch: &dyn Watch) -> Result<()> {
        let file = place(mirror, branch);
        make_parent(&file)?;
        let bytes = serde_json::to_vec(&self).expect("paths and bytes become JSON");
        watch.check()?;
        write_whole(&file, &bytes)?;
        self.finish(mirror, &file, watch)
    }

    fn finish(self, mirror: &Mirror, journal: &Path, watch: &dyn Watch) -> Result<()> {
        for (path, content) in &self.files {
            watch.check()?;
            match content {
                Some(content) => {
                    make_parent(path)?;
                    write_whole(path, content)?;
                }
                None => match std::fs::remove_file(path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                }
                .at("removing", path)?,
            }
        }
        watch.check()?;
        let moves = self
            .refs
            .into_iter()
            .map(|(name, to)| {
                Ok(RefMove::Set {
                    name,
                    to: Oid::from_str(&to)?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        if !moves.is_empty() {
            mirror.git().move_refs(&moves)?;
        }
        watch.check()?;
        std::fs::remove_file(journal).at("removing", journal)
    }
}

/// Carries out the journal that a run left which was cut short.
pub(super) fn finish(mirror: &Mirror, branch: &str, watch: &dyn Watch) -> Result<bool> {
    let Some(journal) = Journal::read(mirror, branch)? else {
        return Ok(false);
    };
    let file = place(mirror, branch);
    journal.finish(mirror, &file, watch)?;
    Ok(true)
}

/// The folder of the `branches.toml` that the journal of `branch` belongs to, if there is one.
pub(super) fn folder(mirror: &Mirror, branch: &str) -> Result<Option<PathBuf>> {
    Ok(Journal::read(mirror, branch)?.map(|journal| journal.folder))
}

pub(super) fn place(mirror: &Mirror, branch: &str) -> PathBuf {
    mirror
        .root()
        .join("journal")
        .join(&mirror.project)
        .join(format!("{branch}.json"))
}
