// SPDX-License-Identifier: MIT OR Apache-2.0
//! Patches to commits, in memory.
//!
//! A patch is first applied as git-apply(1) does it. When that fails it is merged, from the blobs
//! that it was made from. What comes out is a list of edits of a tree, and only when all of a
//! patch has worked out are they carried out and a commit made of them.

mod commit;
mod files;
mod histogram;
mod merge;
mod outcome;
mod place;
mod similar;
mod store;
mod text;
mod three_way;
mod tree;

use std::collections::HashSet;

use git2::{ObjectType, Oid, Repository};

use self::merge::Lines;
pub use self::outcome::{How, Outcome, Reason, Step, Stop};
use self::store::Store;
use self::tree::{Tree, changes};
use crate::diff::File;
use crate::mail::{Patch, Person};

/// What is allowed, and who commits.
#[derive(Debug, Clone)]
pub struct Policy {
    /// A hunk may be found at other lines than it names. `git am` has no way to forbid it.
    pub offsets: bool,
    /// A patch that does not apply may be merged, from the blobs that its `index` lines name.
    pub three_way: bool,
    /// The committer of every commit. The committer's date is the author's.
    pub committer: Person,
}

/// Makes commits of patches.
#[derive(Debug)]
pub struct Applier {
    store: Store,
    policy: Policy,
}

/// The repository failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An error of libgit2's.
    #[error(transparent)]
    Git(#[from] git2::Error),
    /// An object is of another kind than what names it says.
    #[error("object {id} is no {expected}")]
    Kind {
        /// The object.
        id: Oid,
        /// What it should be.
        expected: ObjectType,
    },
    /// An object that can't be read.
    #[error("object {id} is damaged")]
    Damaged {
        /// The object.
        id: Oid,
    },
    /// Commits that are no chain: one has no parent or several.
    #[error("commit {id} has {parents} parents; a stack's commit has one")]
    Parents {
        /// The commit.
        id: Oid,
        /// How many parents it has.
        parents: usize,
    },
}

/// Why a patch did not work out: its own fault, or the repository's.
#[derive(Debug)]
enum Failure {
    Patch(Reason),
    Repository(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Repository(error)
    }
}

impl Applier {
    /// An applier over the objects of `repository`, of which it opens a handle of its own.
    /// Objects that it makes stay in memory until [`keep`](Self::keep).
    pub fn new(repository: &Repository, policy: Policy) -> Result<Self, Error> {
        Ok(Self {
            store: Store::open(repository)?,
            policy,
        })
    }

    /// Applies `patches` in order to the commit `base`, up to the first that does not apply.
    pub fn series<'p>(
        &mut self,
        base: Oid,
        patches: impl IntoIterator<Item = &'p Patch>,
    ) -> Result<Outcome, Error> {
        let mut before = Step {
            commit: base,
            tree: self.tree_id(base)?,
            how: How::Exact,
        };
        let mut tree = self.tree(base)?;
        let mut outcome = Outcome {
            steps: Vec::new(),
            stopped: None,
        };
        for (index, patch) in patches.into_iter().enumerate() {
            match self.patch(&mut tree, before, patch) {
                Ok(step) => {
                    outcome.steps.push(step);
                    before = step;
                }
                Err(Failure::Patch(reason)) => {
                    outcome.stopped = Some(Stop { index, reason });
                    break;
                }
                Err(Failure::Repository(error)) => return Err(error),
            }
        }
        Ok(outcome)
    }

    fn patch(&mut self, tree: &mut Tree, before: Step, patch: &Patch) -> Result<Step, Failure> {
        let how = self.files(tree, &patch.diff.files)?;
        let written = tree.write(&mut self.store)?;
        // git-am(1) makes an empty commit of a mode that the file has already; an export could not
        // write that back.
        if matches!(how, How::ThreeWay | How::OtherMode) && written == before.tree {
            return Ok(Step {
                how: How::AlreadyApplied,
                ..before
            });
        }
        let commit = commit::Commit {
            tree: written,
            parent: before.commit,
            author: &patch.author,
            date: patch.date,
            committer: &self.policy.committer,
            message: &patch.message,
        };
        Ok(Step {
            commit: commit::make(&mut self.store, &commit)?,
            tree: written,
            how,
        })
    }

    /// Does to `tree` what `files` say, or leaves it alone.
    fn files(&mut self, tree: &mut Tree, files: &[File]) -> Result<How, Failure> {
        let store = &mut self.store;
        let (edits, how) = match files::edits(store, tree, files, self.policy.offsets) {
            Err(Failure::Patch(_)) if self.policy.three_way => {
                (three_way::three_way(store, tree, files)?, How::ThreeWay)
            }
            worked => worked?,
        };
        files::carry_out(store, tree, &edits)?;
        Ok(how)
    }

    /// Whether `patch`, merged into the commit `base` by itself, changes nothing. A patch that
    /// can't be merged changes something.
    pub(crate) fn is_in(&mut self, base: Oid, patch: &Patch) -> Result<bool, Error> {
        let (mut tree, before) = (self.tree(base)?, self.tree_id(base)?);
        match three_way::three_way(&mut self.store, &mut tree, &patch.diff.files) {
            Ok(edits) => files::carry_out(&self.store, &mut tree, &edits)?,
            Err(Failure::Patch(_)) => return Ok(false),
            Err(Failure::Repository(error)) => return Err(error),
        }
        Ok(tree.write(&mut self.store)? == before)
    }

    /// Whether `files` apply to `tree` as a patch, at whatever lines, and change something. `tree`
    /// is only read.
    pub(crate) fn would_change(&mut self, tree: &mut Tree, files: &[File]) -> Result<bool, Error> {
        let edits = match files::edits(&mut self.store, tree, files, true) {
            Ok((edits, _)) => edits,
            Err(Failure::Patch(_)) => return Ok(false),
            Err(Failure::Repository(error)) => return Err(error),
        };
        for (path, new) in &edits {
            if tree.file(&self.store, path)? != *new {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Does to `tree` what undoes `files`, at whatever lines but from their own modes, or leaves
    /// it alone. Returns whether that was possible.
    pub(crate) fn undo(&mut self, tree: &mut Tree, files: &[File]) -> Result<bool, Error> {
        let reversed: Vec<File> = files.iter().rev().map(File::reversed).collect();
        match files::edits(&mut self.store, tree, &reversed, true) {
            Ok((_, How::OtherMode)) | Err(Failure::Patch(_)) => Ok(false),
            Ok((edits, _)) => {
                files::carry_out(&self.store, tree, &edits)?;
                Ok(true)
            }
            Err(Failure::Repository(error)) => Err(error),
        }
    }

    /// The tree of a commit.
    pub(crate) fn tree(&self, commit: Oid) -> Result<Tree, Error> {
        Tree::read(&self.store, self.tree_id(commit)?)
    }

    /// The name of a commit's tree.
    pub(crate) fn tree_id(&self, commit: Oid) -> Result<Oid, Error> {
        Ok(commit::read(&self.store, commit)?.tree)
    }

    /// Merges what `id` changes onto `before`.
    pub(crate) fn pick(
        &mut self,
        tree: &mut Tree,
        before: Step,
        id: Oid,
    ) -> Result<Result<Step, Reason>, Error> {
        let store = &mut self.store;
        let original = commit::read(store, id)?;
        let [parent] = original.parents[..] else {
            return Err(Error::Parents {
                id,
                parents: original.parents.len(),
            });
        };
        let base = commit::read(store, parent)?.tree;
        let theirs = changes(store, base, original.tree)?;
        let (edits, how) =
            match merge::merge(store, &theirs, tree, Lines::Histogram, &mut |store| {
                changes(store, base, before.tree)
            }) {
                Ok(merged) => merged,
                Err(Failure::Patch(reason)) => return Ok(Err(reason)),
                Err(Failure::Repository(error)) => return Err(error),
            };
        files::carry_out(store, tree, &edits)?;
        let written = tree.write(store)?;
        if written == before.tree && base != original.tree {
            return Ok(Ok(Step {
                how: How::AlreadyApplied,
                ..before
            }));
        }
        let commit = commit::remake(
            store,
            &original,
            written,
            before.commit,
            &self.policy.committer,
        )?;
        Ok(Ok(Step {
            commit,
            tree: written,
            how,
        }))
    }

    /// Writes the objects of `tip`'s history that were made here into the repository, those that
    /// others need first, so that an interruption leaves nothing that lacks a part. No reference
    /// is touched. Returns how many objects were written.
    pub fn keep(&mut self, tip: Oid) -> Result<usize, Error> {
        let mut commits = Vec::new();
        let mut at = tip;
        while self.store.is_made(at) {
            let commit = commit::read(&self.store, at)?;
            commits.push((at, commit.tree));
            let Some(parent) = commit.parents.first() else {
                break;
            };
            at = *parent;
        }
        let mut written = HashSet::new();
        for (commit, tree) in commits.into_iter().rev() {
            self.keep_tree(tree, &mut written)?;
            self.store.write(commit)?;
            written.insert(commit);
        }
        Ok(written.len())
    }

    fn keep_tree(&mut self, id: Oid, written: &mut HashSet<Oid>) -> Result<(), Error> {
        if !self.store.is_made(id) || !written.insert(id) {
            return Ok(());
        }
        for (directory, entry) in tree::entries(&self.store, id)? {
            if directory {
                self.keep_tree(entry, written)?;
            } else if self.store.is_made(entry) && written.insert(entry) {
                self.store.write(entry)?;
            }
        }
        self.store.write(id)
    }
}
