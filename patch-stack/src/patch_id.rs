// SPDX-License-Identifier: MIT OR Apache-2.0
//! The name of a change that survives a move: what `git patch-id --stable` prints.
//!
//! It hashes the lines of each file's diff without their white space and without line numbers,
//! and adds the hashes up, so that the order of files does not matter (git-patch-id(1)).

use git2::{DiffFindOptions, DiffFormat, DiffLineType, DiffOptions, Error, Oid, Repository};
use sha1::{Digest as _, Sha1};

use crate::mail::Patch;

/// The stable patch-id of a patch file.
#[must_use]
pub fn of(patch: &Patch) -> Oid {
    of_text(&patch.diff.text, Lines::Git)
}

/// A patch-id to compare with that of a commit.
pub(crate) fn to_compare(patch: &Patch) -> Oid {
    of_text(&patch.diff.text, Lines::Common)
}

/// The same of what a commit changes, or `None` for a merge and for a commit without parents.
pub(crate) fn of_commit(repository: &Repository, commit: Oid) -> Result<Option<Oid>, Error> {
    let commit = repository.find_commit(commit)?;
    if commit.parent_count() != 1 {
        return Ok(None);
    }
    let old = commit.parent(0)?.tree()?;
    let mut options = DiffOptions::new();
    options
        .indent_heuristic(true)
        .show_binary(true)
        .id_abbrev(40);
    let mut diff =
        repository.diff_tree_to_tree(Some(&old), Some(&commit.tree()?), Some(&mut options))?;
    diff.find_similar(Some(DiffFindOptions::new().renames(true)))?;
    let mut text = Vec::new();
    diff.print(DiffFormat::Patch, |_, _, line| {
        if let DiffLineType::Context | DiffLineType::Addition | DiffLineType::Deletion =
            line.origin_value()
        {
            text.extend(line.origin().to_string().bytes());
        }
        text.extend_from_slice(line.content());
        true
    })?;
    Ok(Some(of_text(&text, Lines::Common)))
}

/// Which lines of a header are hashed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    /// Those that git takes, with each of its oddities.
    Git,
    /// Those that libgit2 writes the same way: not how similar the two sides of a rename are, and
    /// not `---` and `+++`, which it writes for empty files too.
    Common,
}

/// Where in a diff a line is.
enum State {
    Before,
    Header,
    /// Behind `---`.
    Sides,
    Binary,
    /// So many lines before and after are still to come.
    Hunk {
        old: u32,
        new: u32,
    },
}

fn of_text(text: &[u8], lines: Lines) -> Oid {
    let git = lines == Lines::Git;
    let mut sum = Sum::default();
    let mut state = State::Before;
    let mut blobs = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"\\ ") && line.len() > 12 {
            continue;
        }
        let begins_file = line.starts_with(b"diff ");
        state = match state {
            State::Before if !begins_file => State::Before,
            State::Before => sum.header(line),
            State::Header if begins_file && !git => sum.next_file(line),
            State::Header if line.starts_with(b"GIT binary patch") => {
                // Of a binary change only the names of its blobs count.
                sum.add(&blobs);
                if git {
                    sum.end_of_file();
                }
                State::Binary
            }
            State::Header if line.starts_with(b"--- ") => {
                if git {
                    sum.add(line);
                }
                State::Sides
            }
            State::Header => match line.strip_prefix(b"index ") {
                Some(names) => {
                    let names = names
                        .split(|byte| matches!(byte, b' ' | b'\n'))
                        .next()
                        .unwrap_or_default();
                    blobs = names.iter().copied().filter(|byte| *byte != b'.').collect();
                    State::Header
                }
                None if !git
                    && (line.starts_with(b"similarity") || line.starts_with(b"dissimilarity")) =>
                {
                    State::Header
                }
                None if line[0].is_ascii_alphabetic() => sum.header(line),
                None => break,
            },
            State::Sides => {
                if git {
                    sum.add(line);
                }
                State::Hunk { old: 0, new: 0 }
            }
            // git leaves this line out of the hash.
            State::Binary if begins_file && git => State::Header,
            State::Binary if begins_file => sum.next_file(line),
            State::Binary => State::Binary,
            State::Hunk { old: 0, new: 0 } => match counts(line) {
                Some((old, new)) => State::Hunk { old, new },
                None if begins_file => sum.next_file(line),
                None => break,
            },
            State::Hunk { old, new } => {
                sum.add(line);
                let is_old = u32::from(matches!(line[0], b'-' | b' '));
                let is_new = u32::from(matches!(line[0], b'+' | b' '));
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
    fn header(&mut self, line: &[u8]) -> State {
        self.add(line);
        State::Header
    }

    fn add(&mut self, line: &[u8]) {
        let text: Vec<u8> = line
            .iter()
            .copied()
            .filter(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
            .collect();
        self.hash.update(&text);
    }

    fn next_file(&mut self, line: &[u8]) -> State {
        self.end_of_file();
        self.header(line)
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
