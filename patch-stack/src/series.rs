// SPDX-License-Identifier: MIT OR Apache-2.0
//! A folder with a `series` file, which gives the order, and one file a patch.

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
}

impl Series {
    /// Reads `folder`.
    pub fn read(_folder: &Path, _options: &mail::Options) -> Result<Self, Error> {
        unimplemented!("the reader lands next")
    }
}
