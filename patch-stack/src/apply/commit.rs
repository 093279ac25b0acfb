// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits, as bytes: libgit2's signatures take no names that are not UTF-8.

use git2::{ObjectType, Oid, Time};

use super::Error;
use super::store::Store;
use crate::mail::{Person, latin1_where_invalid};

/// A commit with one parent.
pub(super) struct Commit<'c> {
    pub(super) tree: Oid,
    pub(super) parent: Oid,
    pub(super) author: &'c Person,
    pub(super) date: Time,
    pub(super) committer: &'c Person,
    pub(super) message: &'c str,
}

/// Makes a commit as git-commit-tree(1) does. Its committer's date is its author's.
pub(super) fn make(store: &mut Store, commit: &Commit<'_>) -> Result<Oid, Error> {
    let date = date(commit.date);
    let header = format!(
        "tree {}\nparent {}\nauthor {} {date}\ncommitter {} {date}\n\n",
        commit.tree,
        commit.parent,
        latin1_where_invalid(&commit.author.ident()),
        latin1_where_invalid(&commit.committer.ident()),
    );
    store.put(ObjectType::Commit, (header + commit.message).into_bytes())
}

/// Seconds since 1970 and the zone: `1772535600 +0100`.
fn date(time: Time) -> String {
    let offset = time.offset_minutes();
    let sign = if offset < 0 { '-' } else { '+' };
    let offset = offset.unsigned_abs();
    format!(
        "{} {sign}{:02}{:02}",
        time.seconds(),
        offset / 60,
        offset % 60
    )
}

/// A commit, read.
pub(crate) struct Read {
    pub(crate) tree: Oid,
    pub(crate) parents: Vec<Oid>,
    /// The `author` line behind its first word.
    pub(crate) author: Vec<u8>,
    /// Header lines that a rewritten commit keeps: its encoding.
    pub(crate) encoding: Vec<u8>,
    pub(crate) message: Vec<u8>,
}

/// Reads a commit.
pub(crate) fn read(store: &Store, id: Oid) -> Result<Read, Error> {
    let content = store.object(id, ObjectType::Commit)?;
    parse(&content).ok_or(Error::Damaged { id })
}

fn parse(content: &[u8]) -> Option<Read> {
    let end = content.windows(2).position(|window| window == b"\n\n")?;
    let mut read = Read {
        tree: Oid::ZERO_SHA1,
        parents: Vec::new(),
        author: Vec::new(),
        encoding: Vec::new(),
        message: content[end + 2..].to_vec(),
    };
    let id = |text: &[u8]| {
        std::str::from_utf8(text)
            .ok()
            .and_then(|text| Oid::from_str(text).ok())
    };
    for line in content[..end].split(|byte| *byte == b'\n') {
        if let Some(text) = line.strip_prefix(b"tree ") {
            read.tree = id(text)?;
        } else if let Some(text) = line.strip_prefix(b"parent ") {
            read.parents.push(id(text)?);
        } else if let Some(text) = line.strip_prefix(b"author ") {
            read.author = text.to_vec();
        } else if line.starts_with(b"encoding ") {
            read.encoding = line.to_vec();
        }
    }
    (!read.tree.is_zero() && !read.author.is_empty()).then_some(read)
}

/// Makes the commit that `git rebase --committer-date-is-author-date` makes of another.
pub(crate) fn remake(
    store: &mut Store,
    original: &Read,
    tree: Oid,
    parent: Oid,
    committer: &Person,
) -> Result<Oid, Error> {
    // `Name <address> seconds zone`: the last two words are the date.
    let date = original
        .author
        .iter()
        .rposition(|byte| *byte == b'>')
        .map_or(0, |end| end + 1);
    let mut content = format!("tree {tree}\nparent {parent}\nauthor ").into_bytes();
    content.extend_from_slice(&original.author);
    content.extend_from_slice(b"\ncommitter ");
    content.extend_from_slice(latin1_where_invalid(&committer.ident()).as_bytes());
    content.extend_from_slice(&original.author[date..]);
    content.push(b'\n');
    if !original.encoding.is_empty() {
        content.extend_from_slice(&original.encoding);
        content.push(b'\n');
    }
    content.push(b'\n');
    content.extend_from_slice(&original.message);
    store.put(ObjectType::Commit, content)
}
