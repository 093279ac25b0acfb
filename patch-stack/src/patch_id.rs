// SPDX-License-Identifier: MIT OR Apache-2.0
//! The name of a change that survives a move: what `git patch-id --stable` prints.
//!
//! It hashes the lines of each file's diff without their white space and without line numbers,
//! and adds the hashes up, so that the order of files does not matter (git-patch-id(1)).

use git2::{DiffOptions, Error, Oid, Repository};
use sha1::{Digest as _, Sha1};

use crate::mail::Patch;

/// The stable patch-id of a patch file.
#[must_use]
pub fn of(patch: &Patch) -> Oid {
    of_text(&patch.diff.text)
}

/// The stable patch-id of what a commit changes, or `None` for a merge and for a commit without
/// parents. Renames are looked for, as `git format-patch` does.
pub fn of_commit(repository: &Repository, commit: Oid) -> Result<Option<Oid>, Error> {
    let commit = repository.find_commit(commit)?;
    if commit.parent_count() != 1 {
        return Ok(None);
    }
    let mut options = DiffOptions::new();
    options.indent_heuristic(true);
    let old = commit.parent(0)?.tree()?;
    let mut diff =
        repository.diff_tree_to_tree(Some(&old), Some(&commit.tree()?), Some(&mut options))?;
    diff.find_similar(None)?;
    diff.patchid(None).map(Some)
}

fn of_text(text: &[u8]) -> Oid {
    let mut sum = Sum::default();
    let mut state = State::Before;
    let mut blobs: Vec<u8> = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"\\ ") && line.len() > 12 {
            continue;
        }
        state = match state {
            State::Before if !line.starts_with(b"diff ") => State::Before,
            State::Before => {
                sum.add(line);
                State::Header
            }
            State::Header => match line {
                [b'i', b'n', b'd', b'e', b'x', b' ', names @ ..] => {
                    let names = names
                        .split(|byte| matches!(byte, b' ' | b'\n'))
                        .next()
                        .unwrap_or_default();
                    blobs = names.iter().copied().filter(|byte| *byte != b'.').collect();
                    State::Header
                }
                _ if line.starts_with(b"GIT binary patch") => {
                    sum.add(&blobs);
                    sum.end_of_file();
                    State::Binary
                }
                _ if line.starts_with(b"--- ") => {
                    sum.add(line);
                    // The `+++` line counts as a line after.
                    State::Hunk { old: 0, new: 1 }
                }
                [first, ..] if first.is_ascii_alphabetic() => {
                    sum.add(line);
                    State::Header
                }
                _ => break,
            },
            State::Binary if line.starts_with(b"diff ") => {
                sum.add(line);
                State::Header
            }
            State::Binary => State::Binary,
            State::Hunk { old: 0, new: 0 } => match counts(line) {
                Some((old, new)) => State::Hunk { old, new },
                None if line.starts_with(b"diff ") => {
                    sum.end_of_file();
                    sum.add(line);
                    State::Header
                }
                None => break,
            },
            State::Hunk { old, new } => {
                sum.add(line);
                let (is_old, is_new) = match line[0] {
                    b'-' => (1, 0),
                    b'+' => (0, 1),
                    b' ' => (1, 1),
                    _ => (0, 0),
                };
                State::Hunk {
                    old: old.saturating_sub(is_old),
                    new: new.saturating_sub(is_new),
                }
            }
        };
    }
    sum.end_of_file();
    sum.id()
}

/// Where in a diff a line is.
enum State {
    Before,
    Header,
    Binary,
    /// So many lines before and after are still to come.
    Hunk {
        old: u32,
        new: u32,
    },
}

/// The numbers of lines in a hunk's header.
fn counts(line: &[u8]) -> Option<(u32, u32)> {
    let text = line.strip_prefix(b"@@ -")?;
    let end = text.windows(3).position(|window| window == b" @@")?;
    let (old, new) = std::str::from_utf8(&text[..end]).ok()?.split_once(" +")?;
    let lines = |range: &str| {
        range
            .split_once(',')
            .map_or(Some(1), |(_, lines)| lines.parse().ok())
    };
    Some((lines(old)?, lines(new)?))
}

/// The hashes of files, added up as numbers of 20 bytes, the lowest first.
#[derive(Default)]
struct Sum {
    hash: Sha1,
    total: [u8; 20],
}

impl Sum {
    fn add(&mut self, line: &[u8]) {
        let text: Vec<u8> = line
            .iter()
            .copied()
            .filter(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
            .collect();
        self.hash.update(&text);
    }

    fn end_of_file(&mut self) {
        let mut carry = 0;
        for (total, byte) in self.total.iter_mut().zip(self.hash.finalize_reset()) {
            carry += u16::from(*total) + u16::from(byte);
            *total = (carry & 0xff) as u8;
            carry >>= 8;
        }
    }

    fn id(&self) -> Oid {
        Oid::from_bytes(&self.total).unwrap_or(Oid::ZERO_SHA1)
    }
}
