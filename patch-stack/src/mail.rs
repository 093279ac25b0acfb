// SPDX-License-Identifier: MIT OR Apache-2.0
//! A patch as it is mailed: headers, message and diff, read the way `git am` reads them.

use crate::diff::{self, Diff};

/// A name and an address, as bytes: an author's name need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The name.
    pub name: Vec<u8>,
    /// The address, without angle brackets.
    pub email: Vec<u8>,
}

/// How a mail is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Lines keep a carriage return before their end, as with `git am --keep-cr`. Without it
    /// they lose it.
    pub keep_cr: bool,
}

/// One patch file.
#[derive(Debug, Clone)]
pub struct Patch {
    /// The file, exactly.
    pub bytes: Vec<u8>,
    /// Who wrote the patch.
    pub author: Person,
    /// When, in the author's time zone.
    pub date: git2::Time,
    /// The first paragraph of the commit message on one line, tags that are kept included.
    pub subject: String,
    /// Every leading `[...]` of the mail's subject, without brackets, in order.
    pub tags: Vec<String>,
    /// The whole commit message, subject included.
    pub message: Vec<u8>,
    /// What it changes.
    pub diff: Diff,
}

/// Why a mail is no patch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The diff is malformed.
    #[error(transparent)]
    Diff(#[from] diff::Error),
}

impl Patch {
    /// Reads one mail.
    pub fn parse(_bytes: &[u8], _options: &Options) -> Result<Self, Error> {
        unimplemented!("the parser lands next")
    }
}

/// The mails of a mailbox, in order, each without its `From ` line's successor. A file that does
/// not begin with a `From ` line is one mail.
#[must_use]
pub fn split(_mailbox: &[u8]) -> Vec<&[u8]> {
    unimplemented!("the parser lands next")
}
