// SPDX-License-Identifier: MIT OR Apache-2.0
//! Patches to commits, in memory.

use git2::{Oid, Repository};

use crate::mail::{Patch, Person};

/// What is allowed, and who commits.
#[derive(Debug, Clone)]
pub struct Policy {
    /// A hunk may be found at other lines than it names.
    pub offsets: bool,
    /// A patch that does not apply may be merged, from the blobs that its `index` lines name.
    pub three_way: bool,
    /// The committer of every commit. The committer's date is the author's.
    pub committer: Person,
}

/// Makes commits of patches.
#[derive(Debug)]
pub struct Applier {
    _policy: Policy,
}

/// How a patch was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Every hunk at the line that it names.
    Exact,
    /// The farthest hunk was found so many lines away.
    Offset(u64),
    /// By a three-way merge.
    ThreeWay,
    /// It changes nothing any more: no commit was made.
    AlreadyApplied,
}

/// What became of one patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The commit, or the one before where none was made.
    pub commit: Oid,
    /// Its tree.
    pub tree: Oid,
    /// How it was applied.
    pub how: How,
}

/// Where a series could not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Index of the patch in the series, from 0.
    pub index: usize,
    /// Why.
    pub reason: Reason,
}

/// Why a patch was not applied. `Display` says it in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The three-way merge left conflicts.
    #[error("merging leaves conflicts in {}", list(.paths))]
    Conflict {
        /// In these paths, sorted.
        paths: Vec<Vec<u8>>,
    },
    /// The patch does not apply, and merging is not allowed.
    #[error("{} does not apply: {what}", .path.escape_ascii())]
    DoesNotApply {
        /// The first file at fault.
        path: Vec<u8>,
        /// Its first hunk at fault, from 1, where it is a matter of hunks.
        hunk: Option<usize>,
        /// What is wrong.
        what: String,
    },
    /// It does not apply, and the blobs that a merge would start from are not there.
    #[error("{} does not apply, and the repository lacks the blob {blob} to merge from", .path.escape_ascii())]
    MissingBlob {
        /// The file.
        path: Vec<u8>,
        /// The blob, as its `index` line has it.
        blob: String,
    },
}

fn list(paths: &[Vec<u8>]) -> String {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| path.escape_ascii().to_string())
        .collect();
    paths.join(", ")
}

/// What became of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// One for each patch that was applied.
    pub steps: Vec<Step>,
    /// Set when not all were.
    pub stopped: Option<Stop>,
}

/// The repository failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An error of libgit2's.
    #[error(transparent)]
    Git(#[from] git2::Error),
}

impl Applier {
    /// An applier over the objects of `repository`, of which it opens a handle of its own.
    /// Objects that it makes stay in memory until [`keep`](Self::keep).
    pub fn new(_repository: &Repository, policy: Policy) -> Result<Self, Error> {
        Ok(Self { _policy: policy })
    }

    /// Applies `patches` in order to the commit `base`, up to the first that does not apply.
    pub fn series<'p>(
        &mut self,
        _base: Oid,
        _patches: impl IntoIterator<Item = &'p Patch>,
    ) -> Result<Outcome, Error> {
        unimplemented!("the engine lands next")
    }

    /// Writes the objects of `tip`'s history that were made since the last call into the
    /// repository. No reference is touched. Returns how many were written.
    pub fn keep(&mut self, _tip: Oid) -> Result<usize, Error> {
        unimplemented!("the engine lands next")
    }
}
