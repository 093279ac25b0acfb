// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way out when a patch does not apply (git-am(1), `--3way`): its `index` lines name the
//! blobs that it was made from. It is applied to those, and what that changes is merged.

use super::files::{Edits, carry_out, does_not_apply, edits};
use super::merge::{Lines, merge};
use super::store::Store;
use super::tree::{Change, FileEntry, Tree};
use super::{Failure, Reason};
use crate::diff::{Content, File, Mode};

/// Works out what a patch does to `tree` by way of the blobs that it was made from.
pub(super) fn three_way(
    store: &mut Store,
    tree: &mut Tree,
    files: &[File],
) -> Result<Edits, Failure> {
    let base = ancestor(store, tree, files)?;
    let mut theirs = Tree::default();
    carry_out(
        store,
        &mut theirs,
        &base
            .iter()
            .map(|(path, file)| (path.clone(), Some(*file)))
            .collect(),
    )?;
    let (made, _) = edits(store, &mut theirs, files, true).map_err(|failure| match failure {
        Failure::Patch(Reason::DoesNotApply { path, .. }) => does_not_apply(
            &path,
            "nor does it to the blob of its `index` line (edited by hand?)",
        ),
        other => other,
    })?;
    let old = |path: &[u8]| {
        base.iter()
            .find(|(other, _)| other == path)
            .map(|(_, file)| *file)
    };
    let changes: Vec<Change> = made
        .into_iter()
        .map(|(path, new)| Change {
            old: old(&path),
            path,
            new,
        })
        .filter(|change| change.old != change.new)
        .collect();

    let whole = tree.write(store)?;
    let (edits, _) = merge(store, &changes, tree, Lines::Myers, &mut |store| {
        // The base has the patch's files and no other, so all others of the tree are new to it.
        let mut all = Vec::new();
        let mut ours = Tree::read(store, whole)?;
        for (path, file) in &base {
            let new = ours.file(store, path)?;
            all.push(Change {
                path: path.clone(),
                old: Some(*file),
                new,
            });
        }
        ours.each_file(store, &mut |path, file| {
            if !base.iter().any(|(other, _)| other == path) {
                all.push(Change {
                    path: path.to_vec(),
                    old: None,
                    new: Some(file),
                });
            }
        })?;
        Ok(all)
    })?;
    Ok(edits)
}

/// The files that a patch was made from.
fn ancestor(
    store: &mut Store,
    tree: &mut Tree,
    files: &[File],
) -> Result<Vec<(Vec<u8>, FileEntry)>, Failure> {
    let mut base: Vec<(Vec<u8>, FileEntry)> = Vec::new();
    for file in files {
        let Some(path) = &file.old_path else { continue };
        let mode = file.old_mode.unwrap_or(Mode::Regular).bits();
        let named = file
            .old_blob
            .as_ref()
            .and_then(|blob| store.find_blob(blob));
        let id = match named {
            Some(id) => id,
            // Its content stays: any will do, and the one that is there merges cleanly.
            None if file.content == Content::Same => {
                let there = tree.file(store, path)?;
                there
                    .ok_or_else(|| does_not_apply(path, "there is no such file"))?
                    .id
            }
            None => {
                return Err(Failure::Patch(Reason::MissingBlob {
                    path: path.clone(),
                    blob: file.old_blob.clone(),
                }));
            }
        };
        // Of several changes of one file, the last one's blob counts, as in git.
        base.retain(|(other, _)| other != path);
        base.push((path.clone(), FileEntry { mode, id }));
    }
    Ok(base)
}
