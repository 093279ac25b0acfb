// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which file that is gone has become which file that is new, as git finds out in a merge
//! (git-diff(1), `--find-renames`; at least half of a file has to be the same).
//!
//! A merge that follows a rename gives another tree than one that does not, so the measure is
//! git's, in its units: the pieces of two files, lines or 64 bytes, are compared by hashes.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use git2::Oid;

use super::Error;
use super::store::Store;
use super::tree::FileEntry;
use crate::diff::Mode;

/// Of this many parts, so many are the same.
const SCORE_MAX: u64 = 60_000;
/// A rename has at least this score.
const SCORE_RENAME: u64 = SCORE_MAX / 2;
/// When only one gone and one new file have a name, this score settles it.
const SCORE_BASENAME: u64 = SCORE_MAX / 4 * 3;

/// Bytes of pieces that are held on to.
const KNOWN_SIZE: usize = 16 << 20;

/// A path with its file.
pub(super) type Candidate = (Vec<u8>, FileEntry);

/// The renames, from path to path with the new file.
pub(super) type Renames = HashMap<Vec<u8>, Candidate>;

/// Finds what became of the files `gone` among the files `new`, both in the order of a tree. With
/// `asked`, contents are compared for those only: git leaves out what a merge does not need, and
/// what takes part decides who gets a file that several resemble.
pub(super) fn renames(
    store: &mut Store,
    gone: &[Candidate],
    new: &[Candidate],
    asked: Option<&HashSet<&[u8]>>,
) -> Result<Renames, Error> {
    let mut search = Search {
        store,
        gone,
        new,
        asked,
        found: HashMap::new(),
        used: vec![false; new.len()],
    };
    search.exact()?;
    search.by_basename()?;
    search.by_content()?;
    let pairs = search.found;
    Ok(pairs
        .into_iter()
        .map(|(gone_at, new_at)| (gone[gone_at].0.clone(), new[new_at].clone()))
        .collect())
}

struct Search<'s> {
    store: &'s mut Store,
    gone: &'s [Candidate],
    new: &'s [Candidate],
    asked: Option<&'s HashSet<&'s [u8]>>,
    /// Index of the gone file to that of the new one.
    found: HashMap<usize, usize>,
    used: Vec<bool>,
}

impl Search<'_> {
    /// Files that are the same: each new one takes one of its name, or else the first.
    fn exact(&mut self) -> Result<(), Error> {
        let mut by_content: HashMap<Oid, Vec<usize>> = HashMap::new();
        for (gone_at, (_, file)) in self.gone.iter().enumerate() {
            by_content.entry(file.id).or_default().push(gone_at);
        }
        for (new_at, (path, file)) in self.new.iter().enumerate() {
            let Some(same) = by_content.get(&file.id) else {
                continue;
            };
            if self.is_empty(file)? {
                continue;
            }
            let free = || {
                same.iter().copied().filter(|gone_at| {
                    !self.found.contains_key(gone_at)
                        && is_link(&self.gone[*gone_at].1) == is_link(file)
                })
            };
            let named = free().find(|gone_at| basename(&self.gone[*gone_at].0) == basename(path));
            if let Some(gone_at) = named.or_else(|| free().next()) {
                self.take(gone_at, new_at);
            }
        }
        Ok(())
    }

    /// Whether a gone file's content is to be looked for.
    fn is_asked(&self, gone_at: usize) -> bool {
        let path = &self.gone[gone_at].0[..];
        !self.found.contains_key(&gone_at) && self.asked.is_none_or(|asked| asked.contains(path))
    }

    /// Files whose name only one gone and one new file have.
    fn by_basename(&mut self) -> Result<(), Error> {
        let by_name = |files: &[Candidate], free: &dyn Fn(usize) -> bool| {
            let mut names: HashMap<Vec<u8>, Option<usize>> = HashMap::new();
            for (at, (path, _)) in files.iter().enumerate().filter(|(at, _)| free(*at)) {
                names
                    .entry(basename(path).to_vec())
                    .and_modify(|at| *at = None)
                    .or_insert(Some(at));
            }
            names
        };
        let gone = by_name(self.gone, &|at| !self.found.contains_key(&at));
        if gone.is_empty() {
            return Ok(());
        }
        let new = by_name(self.new, &|at| !self.used[at]);
        for (name, gone_at) in gone {
            if let (Some(gone_at), Some(Some(new_at))) = (gone_at, new.get(&name))
                && self.is_asked(gone_at)
                && self.score(gone_at, *new_at, SCORE_BASENAME)? >= SCORE_BASENAME
            {
                self.take(gone_at, *new_at);
            }
        }
        Ok(())
    }

    /// The rest: the best pairs first.
    fn by_content(&mut self) -> Result<(), Error> {
        let mut pairs = Vec::new();
        for gone_at in 0..self.gone.len() {
            if !self.is_asked(gone_at) {
                continue;
            }
            for new_at in 0..self.new.len() {
                if !self.used[new_at] {
                    let score = self.score(gone_at, new_at, SCORE_RENAME)?;
                    if score >= SCORE_RENAME {
                        let same_name =
                            basename(&self.gone[gone_at].0) == basename(&self.new[new_at].0);
                        pairs.push((score, same_name, gone_at, new_at));
                    }
                }
            }
        }
        pairs.sort_by(|a, b| {
            (b.0, b.1)
                .cmp(&(a.0, a.1))
                .then((a.3, a.2).cmp(&(b.3, b.2)))
        });
        for (_, _, gone_at, new_at) in pairs {
            if !self.found.contains_key(&gone_at) && !self.used[new_at] {
                self.take(gone_at, new_at);
            }
        }
        Ok(())
    }

    fn take(&mut self, gone_at: usize, new_at: usize) {
        self.found.insert(gone_at, new_at);
        self.used[new_at] = true;
    }

    /// How much of the larger file is copied from the smaller one or the other way round; 0 when
    /// their sizes alone say that it is less than `least`.
    fn score(&mut self, gone_at: usize, new_at: usize, least: u64) -> Result<u64, Error> {
        let (gone, new) = (self.gone[gone_at].1, self.new[new_at].1);
        let regular = |file: &FileEntry| Mode::from_bits(file.mode).is_some() && !is_link(file);
        if !regular(&gone) || !regular(&new) {
            return Ok(0);
        }
        let sizes = [self.size(gone.id)?, self.size(new.id)?];
        let (small, large) = (sizes[0].min(sizes[1]), sizes[0].max(sizes[1]));
        if small == 0 || large * (SCORE_MAX - least) < (large - small) * SCORE_MAX {
            return Ok(0);
        }
        let (gone, new) = (self.chunks(gone.id)?, self.chunks(new.id)?);
        Ok(gone.common(&new) * SCORE_MAX / large)
    }

    fn size(&mut self, id: Oid) -> Result<u64, Error> {
        if let Some(size) = self.store.known.sizes.get(&id) {
            return Ok(*size);
        }
        let size = self.store.blob_size(id)? as u64;
        self.store.known.sizes.insert(id, size);
        Ok(size)
    }

    fn chunks(&mut self, id: Oid) -> Result<Rc<Chunks>, Error> {
        if let Some(chunks) = self.store.known.chunks.get(&id) {
            return Ok(Rc::clone(chunks));
        }
        let chunks = Rc::new(Chunks::of(&self.store.blob(id)?));
        let size = chunks.0.len() * size_of::<(u32, u32)>();
        let known = &mut self.store.known;
        if known.held + size <= KNOWN_SIZE {
            known.held += size;
            known.chunks.insert(id, Rc::clone(&chunks));
        }
        Ok(chunks)
    }

    fn is_empty(&mut self, file: &FileEntry) -> Result<bool, Error> {
        Ok(Mode::from_bits(file.mode).is_some() && self.store.blob_size(file.id)? == 0)
    }
}

/// What is known of files: the next patch of a series asks about the same new ones. The first are
/// held on to, not the last, since they are asked about in the same order again.
#[derive(Default)]
pub(super) struct Known {
    sizes: HashMap<Oid, u64>,
    chunks: HashMap<Oid, Rc<Chunks>>,
    /// Bytes of chunks.
    held: usize,
}

/// Hashes of a file's pieces in order, each with the bytes of its pieces.
struct Chunks(Vec<(u32, u32)>);

impl Chunks {
    fn of(content: &[u8]) -> Self {
        let text = !is_binary(content);
        let mut pieces = Vec::new();
        let (mut high, mut low, mut length) = (0_u32, 0_u32, 0_u32);
        let mut bytes = content.iter().peekable();
        while let Some(&byte) = bytes.next() {
            let ends_file = bytes.peek().is_none();
            // Line ends of both kinds are the same.
            let skipped = text && byte == b'\r' && bytes.peek() == Some(&&b'\n');
            if !skipped {
                (high, low) = ((high << 7) ^ (low >> 25), (low << 7) ^ (high >> 25));
                high = high.wrapping_add(u32::from(byte));
                length += 1;
            }
            if length > 0 && (length == 64 || (byte == b'\n' && !skipped) || ends_file) {
                let hash = high.wrapping_add(low.wrapping_mul(0x61)) % 107_927;
                pieces.push((hash, length));
                (high, low, length) = (0, 0, 0);
            }
        }
        pieces.sort_unstable();
        pieces.dedup_by(|piece, before| {
            let same = piece.0 == before.0;
            if same {
                before.1 = before.1.saturating_add(piece.1);
            }
            same
        });
        pieces.shrink_to_fit();
        Self(pieces)
    }

    /// Bytes that both files have.
    fn common(&self, other: &Self) -> u64 {
        let mut others = other.0.iter().peekable();
        let mut common = 0;
        for (hash, bytes) in &self.0 {
            while others.next_if(|(other, _)| other < hash).is_some() {}
            if let Some((_, theirs)) = others.next_if(|(other, _)| other == hash) {
                common += u64::from(*bytes.min(theirs));
            }
        }
        common
    }
}

/// A NUL among the first bytes makes a file binary for git.
pub(super) fn is_binary(content: &[u8]) -> bool {
    memchr::memchr(0, &content[..content.len().min(8000)]).is_some()
}

fn basename(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

fn is_link(file: &FileEntry) -> bool {
    Mode::from_bits(file.mode) == Some(Mode::Symlink)
}
