// SPDX-License-Identifier: MIT OR Apache-2.0
//! Patches made of what differs between two releases: real changes of real files, several files
//! a patch, and each file in two patches, so that the later one builds on the earlier.

use std::collections::{BTreeMap, HashSet};

use git2::build::TreeUpdateBuilder;
use git2::{Delta, FileMode, ObjectType, Oid, Repository, Signature, Time};

/// A file as a release has it and as another has it.
struct Change {
    path: String,
    old: Option<Entry>,
    new: Option<Entry>,
}

/// A blob with its mode.
type Entry = (Oid, FileMode);

/// What a patch makes of a path.
type Edit = (String, Option<Entry>);

/// Which files patches are made of.
pub(crate) struct Selection<'s> {
    /// The commit whose files are changed.
    pub(crate) base: Oid,
    /// The commit whose files they change to.
    pub(crate) further: Oid,
    /// Only files that are in this commit too; those that it changes as well come first.
    pub(crate) also_in: Option<Oid>,
    /// How many patches there are at most.
    pub(crate) patches: usize,
    /// How many files each has.
    pub(crate) files: usize,
    /// Numbers of patches that are left out.
    pub(crate) without: Vec<usize>,
    /// What is changed of each file.
    pub(crate) part: Part,
    /// Distinguishes one selection's messages from another's.
    pub(crate) title: &'s str,
}

/// What is changed of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "the test and the benchmark use some each")]
pub(crate) enum Part {
    /// All, in two patches.
    All,
    /// The first half of the hunks, in one patch.
    Half,
    /// The first hunk.
    FirstHunk,
}

/// Makes the commits, one on the other, from the base on. Returns them in order.
pub(crate) fn commits(repository: &Repository, selection: &Selection<'_>) -> Vec<Oid> {
    let numbered = patches(repository, selection).into_iter().enumerate();
    let taken = numbered.filter(|(number, _)| !selection.without.contains(number));
    let mut at = selection.base;
    let mut commits = Vec::new();
    for (number, files) in taken.take(selection.patches) {
        at = commit(repository, at, &files, selection.title, number);
        commits.push(at);
    }
    commits
}

/// What the patches change, those that are left out included.
fn patches(repository: &Repository, selection: &Selection<'_>) -> Vec<Vec<Edit>> {
    let limit = selection.patches + selection.without.len();
    let (mut first, mut second) = (vec![Vec::new()], vec![Vec::new()]);
    for change in candidates(repository, selection) {
        if first.len() + second.len() > limit + 1 || first.len() > limit {
            break;
        }
        match part(repository, &change, selection.part) {
            Some(id) => {
                let mode = change.old.map_or(FileMode::Blob, |(_, mode)| mode);
                put(
                    &mut first,
                    selection.files,
                    (change.path.clone(), Some((id, mode))),
                );
                if selection.part == Part::All {
                    put(&mut second, selection.files, (change.path, change.new));
                }
            }
            None if selection.part == Part::All => {
                put(&mut first, selection.files, (change.path, change.new));
            }
            None => {}
        }
    }
    first.append(&mut second);
    first.retain(|patch| !patch.is_empty());
    first
}

/// Adds to the last patch, or to a new one when that is full.
fn put(patches: &mut Vec<Vec<Edit>>, files: usize, edit: Edit) {
    match patches.last_mut() {
        Some(patch) if patch.len() < files => patch.push(edit),
        _ => patches.push(vec![edit]),
    }
}

/// The files to choose from, in order.
fn candidates(repository: &Repository, selection: &Selection<'_>) -> Vec<Change> {
    let mut changes = changes(repository, selection.base, selection.further);
    let Some(other) = selection.also_in else {
        return changes;
    };
    let changed: HashSet<String> = self::changes(repository, selection.base, other)
        .into_iter()
        .map(|change| change.path)
        .collect();
    let tree = repository.find_commit(other).unwrap().tree().unwrap();
    changes.retain(|change| {
        change.old.is_some() && change.new.is_some() && tree.get_path(change.path.as_ref()).is_ok()
    });
    let (both, rest): (Vec<_>, Vec<_>) = changes
        .into_iter()
        .partition(|change| changed.contains(&change.path));
    // Two that both sides change to five that one side does.
    let (mut both, mut rest) = (both.into_iter().peekable(), rest.into_iter().peekable());
    let mut mixed = Vec::new();
    while both.peek().is_some() || rest.peek().is_some() {
        mixed.extend(both.by_ref().take(2));
        mixed.extend(rest.by_ref().take(5));
    }
    mixed
}

fn commit(repository: &Repository, parent: Oid, files: &[Edit], title: &str, number: usize) -> Oid {
    let parent = repository.find_commit(parent).unwrap();
    let mut update = TreeUpdateBuilder::new();
    for (path, file) in files {
        match file {
            Some((id, mode)) => update.upsert(path.as_str(), *id, *mode),
            None => update.remove(path.as_str()),
        };
    }
    let tree = update
        .create_updated(repository, &parent.tree().unwrap())
        .unwrap();
    let tree = repository.find_tree(tree).unwrap();
    let offset = [0, 60, -480, 330][number % 4];
    let time = Time::new(1_750_000_000 + number as i64 * 3607, offset);
    let author = Signature::new(
        ["A U Thor", "Ren\u{e9} D\u{fc}rr"][number % 2],
        "author@example.org",
        &time,
    )
    .unwrap();
    let names: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    let message = format!(
        "{title}: part {number} of what differs between two releases\n\nIt touches\n\n  {}\n\nand nothing else.\n\nAcked-by: A U Thor <author@example.org>\n",
        names.join("\n  ")
    );
    repository
        .commit(None, &author, &author, &message, &tree, &[&parent])
        .unwrap()
}

fn changes(repository: &Repository, old: Oid, new: Oid) -> Vec<Change> {
    let tree = |commit| repository.find_commit(commit).unwrap().tree().unwrap();
    let diff = repository
        .diff_tree_to_tree(Some(&tree(old)), Some(&tree(new)), None)
        .unwrap();
    let mut changes = BTreeMap::new();
    for delta in diff.deltas() {
        let side = |file: git2::DiffFile<'_>, gone: Delta| {
            (delta.status() != gone && file.mode() != FileMode::Commit)
                .then(|| (file.id(), file.mode()))
        };
        let path = delta
            .new_file()
            .path()
            .unwrap()
            .to_str()
            .expect("paths are UTF-8")
            .to_owned();
        let change = Change {
            path: path.clone(),
            old: side(delta.old_file(), Delta::Added),
            new: side(delta.new_file(), Delta::Deleted),
        };
        changes.insert(path, change);
    }
    changes.into_values().collect()
}

/// The blob with a part of the hunks, or `None` when the file has too few for one.
fn part(repository: &Repository, change: &Change, part: Part) -> Option<Oid> {
    let ((old, _), (new, _)) = (change.old?, change.new?);
    let (old, new) = (
        repository.find_blob(old).unwrap(),
        repository.find_blob(new).unwrap(),
    );
    if old.is_binary() || new.is_binary() {
        return None;
    }
    let patch = git2::Patch::from_blobs(&old, None, &new, None, None).unwrap();
    let hunks = patch.num_hunks();
    let taken = match part {
        Part::FirstHunk => 1.min(hunks),
        _ => hunks / 2,
    };
    if taken == 0 {
        return None;
    }
    let lines: Vec<&[u8]> = old
        .content()
        .split_inclusive(|byte| *byte == b'\n')
        .collect();
    let mut content = Vec::new();
    let mut next = 0;
    for hunk in 0..taken {
        let (range, count) = patch.hunk(hunk).unwrap();
        let start = (range.old_start() as usize).saturating_sub(usize::from(range.old_lines() > 0));
        content.extend(lines[next..start].concat());
        next = start + range.old_lines() as usize;
        for line in 0..count {
            let line = patch.line_in_hunk(hunk, line).unwrap();
            if matches!(line.origin(), ' ' | '+') {
                content.extend_from_slice(line.content());
            }
        }
    }
    content.extend(lines[next..].concat());
    let id = Oid::hash_object(ObjectType::Blob, &content).unwrap();
    if id == old.id() || id == new.id() {
        return None;
    }
    Some(repository.blob(&content).unwrap())
}
