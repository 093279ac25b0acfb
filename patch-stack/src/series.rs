// SPDX-License-Identifier: MIT OR Apache-2.0
//! A folder with a `series` file, which gives the order, and one file a patch. quilt(1) has the
//! same layout; its options behind a file's name are refused, since every patch is for `-p1`.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::mail::{self, Patch};

/// A series read from its folder.
#[derive(Debug, Clone)]
pub struct Series {
    /// The folder's name.
    pub name: String,
    /// File name and patch, in the order of `series`.
    pub patches: Vec<(String, Patch)>,
}

/// Why a series can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file can't be read.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A patch can't be read.
    #[error("{}: {error}", .path.display())]
    Patch {
        /// The file.
        path: PathBuf,
        /// Why.
        error: mail::Error,
    },
    /// A line of the `series` file is no name of a file beside it.
    #[error("{}:{line}: {what}", .path.display())]
    Line {
        /// The `series` file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A patch that no line names: it would be forgotten.
    #[error("{}: no `series` file names it; add it there, or remove the file", .path.display())]
    Unlisted {
        /// The patch file.
        path: PathBuf,
    },
}

impl Series {
    /// Reads `folder`.
    pub fn read(folder: &Path, options: &mail::Options) -> Result<Self, Error> {
        let names = order(folder)?;
        let mut patches = Vec::with_capacity(names.len());
        for name in names {
            let path = folder.join(&name);
            let bytes = std::fs::read(&path).map_err(|error| Error::Io {
                path: path.clone(),
                error,
            })?;
            let patch =
                Patch::parse(&bytes, options).map_err(|error| Error::Patch { path, error })?;
            patches.push((name, patch));
        }
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Ok(Self { name, patches })
    }

    /// The patches without their file names.
    pub fn patches(&self) -> impl Iterator<Item = &Patch> {
        self.patches.iter().map(|(_, patch)| patch)
    }
}

/// The names in the `series` file of `folder`, in order. Empty lines, and what follows a `#` at
/// the beginning of a line or behind a blank, are remarks.
pub fn order(folder: &Path) -> Result<Vec<String>, Error> {
    let path = folder.join("series");
    let text = std::fs::read_to_string(&path).map_err(|error| Error::Io {
        path: path.clone(),
        error,
    })?;
    let mut names = Vec::new();
    let mut seen = HashSet::new();
    for (index, line) in text.lines().enumerate() {
        let name = remark_cut(line).trim();
        let refuse = |what| {
            Err(Error::Line {
                path: path.clone(),
                line: index + 1,
                what,
            })
        };
        if name.is_empty() {
            continue;
        }
        if name.contains(char::is_whitespace) {
            return refuse("one file name a line, without options; patches are always for `-p1`");
        }
        if name.contains('/') || name.starts_with('.') {
            return refuse("the name of a patch file in this folder has to stand here");
        }
        if !seen.insert(name) {
            return refuse("this patch is named a second time");
        }
        names.push(name.to_owned());
    }
    require_listed(folder, &names)?;
    Ok(names)
}

fn remark_cut(line: &str) -> &str {
    if line.starts_with('#') {
        return "";
    }
    line.find(" #")
        .or_else(|| line.find("\t#"))
        .map_or(line, |start| &line[..start])
}

/// Fails if a patch file in `folder` is not among the names in `listed`.
pub(crate) fn require_listed(folder: &Path, listed: &[String]) -> Result<(), Error> {
    let error = |error| Error::Io {
        path: folder.to_owned(),
        error,
    };
    let listed: HashSet<_> = listed.iter().map(String::as_str).collect();
    let mut strays = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(error)? {
        let name = entry.map_err(error)?.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".patch") && !listed.contains(&*name) {
            strays.push(folder.join(&*name));
        }
    }
    strays.sort();
    strays
        .into_iter()
        .next()
        .map_or(Ok(()), |path| Err(Error::Unlisted { path }))
}
