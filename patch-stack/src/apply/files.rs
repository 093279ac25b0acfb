// SPDX-License-Identifier: MIT OR Apache-2.0
//! A diff onto a tree, file by file: all of it, or nothing.

use std::collections::{HashMap, HashSet};

use git2::{ObjectType, Oid};

use super::place::Image;
use super::store::Store;
use super::tree::{At, FileEntry, Tree};
use super::{Error, Failure, How, Reason};
use crate::diff::{Content, File, Mode};

/// What has to be done to a tree: paths with their new files, or with none.
pub(super) type Edits = Vec<(Vec<u8>, Option<FileEntry>)>;

/// Works out what `files` do to `tree`, which is only read.
pub(super) fn edits(
    store: &mut Store,
    tree: &mut Tree,
    files: &[File],
    offsets: bool,
) -> Result<(Edits, How), Failure> {
    // What a rename or a deletion takes away does not stand in the way of a new file, whatever
    // their order.
    let leaving = files
        .iter()
        .filter(|file| file.new_path.is_none() || file.is_rename());
    let leaving = leaving
        .filter_map(|file| file.old_path.as_deref())
        .collect();
    let mut work = Work {
        store,
        tree,
        offsets,
        leaving,
        results: HashMap::new(),
        farthest: 0,
        other_mode: false,
    };
    for file in files {
        work.apply(file)?;
    }
    let how = match work.farthest {
        _ if work.other_mode => How::OtherMode,
        0 => How::Exact,
        lines => How::Offset(lines),
    };
    let mut edits: Edits = work
        .results
        .into_iter()
        .map(|(path, file)| (path.to_vec(), file))
        .collect();
    edits.sort_by(|a, b| a.0.cmp(&b.0));
    for (path, file) in &edits {
        if file.is_some() {
            free_way(path, &edits, store, tree)?;
        }
    }
    Ok((edits, how))
}

/// Does to `tree` what was worked out.
pub(super) fn carry_out(store: &Store, tree: &mut Tree, edits: &Edits) -> Result<(), Error> {
    // Away with files first: one may stand where a directory has to be.
    for (path, _) in edits.iter().filter(|(_, file)| file.is_none()) {
        tree.remove(store, path)?;
    }
    for (path, file) in edits {
        if let Some(file) = file {
            tree.set(store, path, *file)?;
        }
    }
    Ok(())
}

struct Work<'w, 'd> {
    store: &'w mut Store,
    tree: &'w mut Tree,
    offsets: bool,
    /// Paths that are renamed or deleted by some file of the diff.
    leaving: HashSet<&'d [u8]>,
    /// What the files so far have made.
    results: HashMap<&'d [u8], Option<FileEntry>>,
    /// The farthest that a hunk was found from where it should be, in lines.
    farthest: u64,
    /// Did a file have another mode than the diff says?
    other_mode: bool,
}

impl<'d> Work<'_, 'd> {
    fn apply(&mut self, file: &'d File) -> Result<(), Failure> {
        match (&file.old_path, &file.new_path) {
            (None, Some(new)) => {
                self.expect_free(new)?;
                let entry = self.make(file, None, new)?;
                self.results.insert(new, Some(entry));
            }
            (Some(old), None) => {
                let entry = self.present(old, false)?;
                let made = self.make(file, Some(entry), old)?;
                if !self.store.blob(made.id)?.is_empty() {
                    return Err(does_not_apply(
                        old,
                        "it is deleted, but lines of it would be left",
                    ));
                }
                self.results.insert(old, None);
            }
            (Some(old), Some(new)) if old != new => {
                let entry = self.present(old, true)?;
                self.expect_free(new)?;
                let made = self.make(file, Some(entry), new)?;
                // A path may leave and come again, as when two files swap their names.
                if !file.copy {
                    self.results.entry(old).or_insert(None);
                }
                self.results.insert(new, Some(made));
            }
            (Some(old), Some(_)) => {
                let entry = self.present(old, false)?;
                let made = self.make(file, Some(entry), old)?;
                self.results.insert(old, Some(made));
            }
            (None, None) => {}
        }
        Ok(())
    }

    /// The file at `path`: as the files of the diff before this one have left it, or with
    /// `original` as it was.
    fn present(&mut self, path: &'d [u8], original: bool) -> Result<FileEntry, Failure> {
        if !original && let Some(result) = self.results.get(path) {
            return result
                .ok_or_else(|| does_not_apply(path, "the patch itself has taken it away before"));
        }
        match self.tree.at(self.store, path)? {
            At::File(entry) => Ok(entry),
            At::Directory => Err(does_not_apply(path, "it is a directory")),
            At::Nothing | At::UnderFile => Err(does_not_apply(path, "there is no such file")),
        }
    }

    fn expect_free(&mut self, path: &'d [u8]) -> Result<(), Failure> {
        let taken = match self.results.get(path) {
            Some(result) => result.is_some(),
            None => {
                !self.leaving.contains(path)
                    && matches!(self.tree.at(self.store, path)?, At::File(_))
            }
        };
        if taken {
            Err(does_not_apply(path, "it exists already"))
        } else {
            Ok(())
        }
    }

    /// What `file` makes of `from`, or of nothing.
    fn make(
        &mut self,
        file: &'d File,
        from: Option<FileEntry>,
        path: &[u8],
    ) -> Result<FileEntry, Failure> {
        let kept = match from {
            Some(from) => {
                let mode = Mode::from_bits(from.mode)
                    .ok_or_else(|| does_not_apply(path, "it is a submodule"))?;
                if file.old_mode.is_some_and(|old| !old.same_type(mode)) {
                    return Err(does_not_apply(
                        path,
                        "it is a symbolic link, or should be one",
                    ));
                }
                self.other_mode |= file.old_mode.is_some_and(|old| old != mode);
                from.mode
            }
            None => Mode::Regular.bits(),
        };
        let mode = file.new_mode.map_or(kept, Mode::bits);
        let from = from.map(|from| from.id);
        let id = match &file.content {
            Content::Same => match from {
                Some(from) => from,
                None => self.store.put(ObjectType::Blob, Vec::new())?,
            },
            Content::Hunks(hunks) => {
                let content = match from {
                    Some(from) => self.store.blob(from)?,
                    None => Default::default(),
                };
                let mut image = Image::new(&content);
                for (index, hunk) in hunks.iter().enumerate() {
                    let Some(distance) = image.put(hunk, self.offsets) else {
                        return Err(Failure::Patch(Reason::DoesNotApply {
                            path: path.to_vec(),
                            hunk: Some(index + 1),
                            what: if self.offsets {
                                "its lines are not there"
                            } else {
                                "its lines are not where it says"
                            },
                        }));
                    };
                    self.farthest = self.farthest.max(distance);
                }
                match from {
                    Some(from) => self
                        .store
                        .put_pieces(ObjectType::Blob, from, image.pieces())?,
                    None => self.store.put(
                        ObjectType::Blob,
                        hunks.iter().flat_map(|hunk| &hunk.new).copied().collect(),
                    )?,
                }
            }
            Content::Binary(binary) => {
                let (Some(old), Some(new)) = (full(&file.old_blob), full(&file.new_blob)) else {
                    return Err(does_not_apply(
                        path,
                        "a binary change needs the full names of its blobs",
                    ));
                };
                // All zeros stand for no blob.
                if from.unwrap_or(Oid::ZERO_SHA1) != old {
                    return Err(does_not_apply(
                        path,
                        "it is not the file that the binary change was made from",
                    ));
                }
                if new.is_zero() {
                    self.store.put(ObjectType::Blob, Vec::new())?
                } else {
                    let content = match from {
                        Some(from) => self.store.blob(from)?,
                        None => Default::default(),
                    };
                    let made = binary.forward.apply(&content);
                    let made =
                        made.ok_or_else(|| does_not_apply(path, "the binary change does not fit"))?;
                    let id = self.store.put(ObjectType::Blob, made)?;
                    if id != new {
                        return Err(does_not_apply(
                            path,
                            "the binary change makes another file than it names",
                        ));
                    }
                    id
                }
            }
        };
        Ok(FileEntry { mode, id })
    }
}

/// Whether nothing is in the way of a file at `path`: no directory there, and no file where it
/// wants a directory, unless the edits take them away.
fn free_way(path: &[u8], edits: &Edits, store: &Store, tree: &mut Tree) -> Result<(), Failure> {
    let edit = |path: &[u8]| {
        edits
            .binary_search_by(|(other, _)| other[..].cmp(path))
            .ok()
            .map(|index| edits[index].1)
    };
    let blocked = || does_not_apply(path, "a file and a directory would have the same name");
    for slash in path
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(slash, _)| slash)
    {
        let above = &path[..slash];
        let file = match edit(above) {
            Some(file) => file.is_some(),
            None => tree.file(store, above)?.is_some(),
        };
        if file {
            return Err(blocked());
        }
    }
    if tree.at(store, path)? == At::Directory {
        let below = [path, b"/"].concat();
        // The directory has to be emptied: each of its files has to be among those that leave.
        for file in tree.files_below(store, path)? {
            if !matches!(edit(&[&below[..], &file].concat()), Some(None)) {
                return Err(blocked());
            }
        }
    }
    Ok(())
}

fn full(blob: &Option<String>) -> Option<Oid> {
    let blob = blob.as_ref().filter(|blob| blob.len() == 40)?;
    Oid::from_str(blob).ok()
}

pub(super) fn does_not_apply(path: &[u8], what: &'static str) -> Failure {
    Failure::Patch(Reason::DoesNotApply {
        path: path.to_vec(),
        hunk: None,
        what,
    })
}
