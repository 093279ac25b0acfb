// SPDX-License-Identifier: MIT OR Apache-2.0
//! Three-way merges of trees: what happened from a base to *theirs* is done to *ours*.
//!
//! Only the paths that theirs has changed are looked at. When ours lacks one, the file may have
//! been renamed there, and only then the rest of ours is read.

use std::collections::{BTreeSet, HashSet};

use git2::{MergeFileInput, ObjectType, Oid, merge_file};

use super::files::Edits;
use super::similar::{Candidate, Renames, is_binary, renames};
use super::store::Store;
use super::text;
use super::tree::{At, Change, FileEntry, Tree};
use super::{Error, Failure, How, Reason};
use crate::diff::Mode;

/// Lists the files that ours lacks and those that it has more than the base.
pub(super) type Differences<'d> = &'d mut dyn FnMut(&mut Store) -> Result<Vec<Change>, Error>;

/// How the lines of a file are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    /// As in `git am -3` (before git 2.50).
    Myers,
    /// As in `git rebase`.
    Histogram,
}

/// Merges `changes` into `ours`, which is only read. `differences` gives the changes from the
/// base to ours, and is asked at most once. With the edits comes whether ours has each of the
/// files as the base has it, so that nothing had to be merged.
pub(super) fn merge(
    store: &mut Store,
    changes: &[Change],
    ours: &mut Tree,
    lines: Lines,
    differences: Differences<'_>,
) -> Result<(Edits, How), Failure> {
    let theirs = renames_among(store, changes, None)?;
    let targets: BTreeSet<Vec<u8>> = theirs.values().map(|(path, _)| path.clone()).collect();
    let mut merge = Merge {
        store,
        changes,
        ours,
        lines,
        differences,
        ours_renames: None,
        edits: Vec::new(),
        conflicts: BTreeSet::new(),
        how: How::Exact,
    };
    for change in changes {
        match (change.old, change.new) {
            (Some(base), None) => match theirs.get(&change.path) {
                Some((path, file)) => merge.renamed(&change.path, base, path, *file)?,
                None => merge.deleted(&change.path, base)?,
            },
            (Some(base), Some(file)) => merge.modified(&change.path, base, file)?,
            (None, Some(file)) if !targets.contains(&change.path) => {
                merge.added(&change.path, file)?
            }
            _ => {}
        }
    }
    if merge.conflicts.is_empty() {
        merge.edits.sort_by(|a, b| a.0.cmp(&b.0));
        return Ok((merge.edits, merge.how));
    }
    Err(Failure::Patch(Reason::Conflict {
        paths: merge.conflicts.into_iter().collect(),
    }))
}

/// The renames that a list of changes amounts to; with `asked`, those of other files only as far
/// as they cost nothing.
fn renames_among(
    store: &mut Store,
    changes: &[Change],
    asked: Option<&HashSet<&[u8]>>,
) -> Result<Renames, Error> {
    let list = |side: fn(&Change) -> (Option<FileEntry>, Option<FileEntry>)| -> Vec<Candidate> {
        let sides = changes.iter().map(|change| (change, side(change)));
        sides
            .filter_map(|(change, sides)| match sides {
                (Some(file), None) => Some((change.path.clone(), file)),
                _ => None,
            })
            .collect()
    };
    let gone = list(|change| (change.old, change.new));
    let new = list(|change| (change.new, change.old));
    if gone.is_empty() || new.is_empty() {
        Ok(Renames::new())
    } else {
        renames(store, &gone, &new, asked)
    }
}

struct Merge<'m> {
    store: &'m mut Store,
    changes: &'m [Change],
    ours: &'m mut Tree,
    lines: Lines,
    differences: Differences<'m>,
    ours_renames: Option<Renames>,
    edits: Edits,
    conflicts: BTreeSet<Vec<u8>>,
    how: How,
}

impl Merge<'_> {
    fn modified(&mut self, path: &[u8], base: FileEntry, theirs: FileEntry) -> Result<(), Error> {
        let (at, ours) = match self.ours.file(self.store, path)? {
            Some(ours) => (path.to_vec(), ours),
            None => match self.renamed_in_ours(path)? {
                Some(renamed) => renamed,
                None => return self.conflict(path),
            },
        };
        match self.file(base, ours, theirs)? {
            Some(merged) if merged == ours => Ok(()),
            Some(merged) => self.edit(&at, Some(merged)),
            None => self.conflict(&at),
        }
    }

    fn renamed(
        &mut self,
        from: &[u8],
        base: FileEntry,
        to: &[u8],
        theirs: FileEntry,
    ) -> Result<(), Error> {
        let (at, ours) = match self.ours.file(self.store, from)? {
            Some(ours) => (from.to_vec(), ours),
            None => match self.renamed_in_ours(from)? {
                // Both have renamed it, to the same name.
                Some((at, ours)) if at == to => (at, ours),
                _ => return self.conflict(from),
            },
        };
        let Some(merged) = self.file(base, ours, theirs)? else {
            return self.conflict(to);
        };
        if at != to {
            match self.ours.at(self.store, to)? {
                At::Nothing => {}
                At::File(there) if there == merged => return self.edit(from, None),
                _ => return self.conflict(to),
            }
            self.edit(from, None)?;
        }
        self.edit(to, Some(merged))
    }

    fn deleted(&mut self, path: &[u8], base: FileEntry) -> Result<(), Error> {
        match self.ours.file(self.store, path)? {
            Some(ours) if ours == base => self.edit(path, None),
            Some(_) => self.conflict(path),
            None if self.renamed_in_ours(path)?.is_some() => self.conflict(path),
            None => {
                self.how = How::ThreeWay;
                Ok(())
            }
        }
    }

    fn added(&mut self, path: &[u8], theirs: FileEntry) -> Result<(), Error> {
        match self.ours.at(self.store, path)? {
            At::Nothing => self.edit(path, Some(theirs)),
            At::File(ours) if ours == theirs => {
                self.how = How::ThreeWay;
                Ok(())
            }
            _ => self.conflict(path),
        }
    }

    fn edit(&mut self, path: &[u8], file: Option<FileEntry>) -> Result<(), Error> {
        self.edits.push((path.to_vec(), file));
        Ok(())
    }

    fn conflict(&mut self, path: &[u8]) -> Result<(), Error> {
        self.conflicts.insert(path.to_vec());
        Ok(())
    }

    /// Where ours has put the file that the base has at `path`.
    fn renamed_in_ours(&mut self, path: &[u8]) -> Result<Option<Candidate>, Error> {
        if self.ours_renames.is_none() {
            let differences = (self.differences)(self.store)?;
            let changes = self.changes.iter().filter(|change| change.old.is_some());
            let asked = changes.map(|change| &change.path[..]).collect();
            self.ours_renames = Some(renames_among(self.store, &differences, Some(&asked))?);
        }
        Ok(self
            .ours_renames
            .as_ref()
            .and_then(|renames| renames.get(path))
            .cloned())
    }

    /// A file out of three, or `None` on a conflict.
    fn file(
        &mut self,
        base: FileEntry,
        ours: FileEntry,
        theirs: FileEntry,
    ) -> Result<Option<FileEntry>, Error> {
        if ours != base {
            self.how = How::ThreeWay;
        }
        let Some(mode) = pick(base.mode, ours.mode, theirs.mode) else {
            return Ok(None);
        };
        let id = match pick(base.id, ours.id, theirs.id) {
            Some(id) => id,
            None => match self.content(base, ours, theirs)? {
                Some(id) => id,
                None => return Ok(None),
            },
        };
        Ok(Some(FileEntry { mode, id }))
    }

    fn content(
        &mut self,
        base: FileEntry,
        ours: FileEntry,
        theirs: FileEntry,
    ) -> Result<Option<Oid>, Error> {
        let lines = |file: FileEntry| {
            matches!(
                Mode::from_bits(file.mode),
                Some(Mode::Regular | Mode::Executable)
            )
        };
        if ![base, ours, theirs].into_iter().all(lines) {
            return Ok(None);
        }
        let contents = [
            self.store.blob(base.id)?,
            self.store.blob(ours.id)?,
            self.store.blob(theirs.id)?,
        ];
        if contents.iter().any(|content| is_binary(content)) {
            return Ok(None);
        }
        if self.lines == Lines::Histogram {
            let [base, our, their] = &contents;
            let merged = text::merge(base, our, their)?;
            return merged
                .map(|merged| self.store.put_near(ObjectType::Blob, ours.id, &merged))
                .transpose();
        }
        let [base, our, their] = contents.each_ref().map(|content| {
            let mut input = MergeFileInput::new();
            input.content(content);
            input
        });
        let merged = merge_file(&base, &our, &their, None)?;
        if !merged.is_automergeable() {
            return Ok(None);
        }
        Ok(Some(self.store.put_near(
            ObjectType::Blob,
            ours.id,
            merged.content(),
        )?))
    }
}

/// The value that one side has changed, or both in the same way.
fn pick<T: PartialEq>(base: T, ours: T, theirs: T) -> Option<T> {
    if ours == base || ours == theirs {
        Some(theirs)
    } else if theirs == base {
        Some(ours)
    } else {
        None
    }
}
