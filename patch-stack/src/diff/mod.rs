// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a patch does to which file, as a checked type.
//!
//! Stricter than `git apply`, which passes over what it does not know: here every line between
//! the first `diff --git` and the mail's signature has to be accounted for, so that a patch
//! edited by hand is refused and not applied in part.

mod binary;
mod header;
mod hunk;
mod parse;
mod path;

pub use self::binary::{Binary, Encoded};
pub use self::hunk::Hunk;
pub(crate) use self::path::is_safe as is_safe_path;

/// The diff of one patch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// The text, from the line that ends the message.
    pub text: Vec<u8>,
    /// One for each `diff --git`, in order; at least one.
    pub files: Vec<File>,
}

/// What happens to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Path before, or `None` for a new file.
    pub old_path: Option<Vec<u8>>,
    /// Path after, or `None` for a deleted file.
    pub new_path: Option<Vec<u8>>,
    /// Mode before, where the diff says so.
    pub old_mode: Option<Mode>,
    /// Mode after, where the diff gives the file one. Without it the file keeps the mode that it
    /// has, which need not be the old mode: git says so too.
    pub new_mode: Option<Mode>,
    /// Whether the old path stays, when the two differ.
    pub copy: bool,
    /// The blob before, in hexadecimal and maybe shortened, from the `index` line.
    pub old_blob: Option<String>,
    /// The blob after.
    pub new_blob: Option<String>,
    /// The change of its content.
    pub content: Content,
    /// Line of the patch file at which it begins, from 1.
    pub line: usize,
}

/// A change of content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// None: the file is renamed, changes its mode, or is empty.
    Same,
    /// Of lines.
    Hunks(Vec<Hunk>),
    /// Of bytes (`GIT binary patch`).
    Binary(Binary),
}

/// The modes of files that a patch may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `100644`
    Regular,
    /// `100755`
    Executable,
    /// `120000`
    Symlink,
}

/// Why a diff can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Error {
    /// Line of the patch file, from 1.
    pub line: usize,
    /// What is wrong there, and what to do.
    pub what: String,
}

impl Mode {
    /// The mode as trees have it.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Self::Regular => 0o100_644,
            Self::Executable => 0o100_755,
            Self::Symlink => 0o120_000,
        }
    }

    /// The mode of a tree's entry, unless that is a directory or a submodule.
    #[must_use]
    pub fn from_bits(bits: u32) -> Option<Self> {
        match bits {
            // 664 is in trees that a very old git wrote.
            0o100_644 | 0o100_664 => Some(Self::Regular),
            0o100_755 => Some(Self::Executable),
            0o120_000 => Some(Self::Symlink),
            _ => None,
        }
    }

    /// Whether both are symbolic links, or neither is.
    #[must_use]
    pub fn same_type(self, other: Self) -> bool {
        (self == Self::Symlink) == (other == Self::Symlink)
    }
}

impl File {
    /// The path to name it by: the new one, or that of a deleted file.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        self.new_path
            .as_ref()
            .or(self.old_path.as_ref())
            .map_or(&[], Vec::as_slice)
    }

    /// Whether it gets another path and leaves the old one.
    #[must_use]
    pub fn is_rename(&self) -> bool {
        !self.copy
            && self.old_path.is_some()
            && self.new_path.is_some()
            && self.old_path != self.new_path
    }

    /// The diff that undoes this one.
    #[must_use]
    pub(crate) fn reversed(&self) -> Self {
        let content = match &self.content {
            Content::Same => Content::Same,
            Content::Hunks(hunks) => Content::Hunks(hunks.iter().map(Hunk::reversed).collect()),
            Content::Binary(binary) => Content::Binary(binary.reversed()),
        };
        Self {
            // What undoes a copy takes the new file away and leaves the old one alone.
            old_path: self.new_path.clone(),
            new_path: if self.copy {
                None
            } else {
                self.old_path.clone()
            },
            // A mode that does not change is that of the `index` line.
            old_mode: self.new_path.as_ref().and(self.new_mode.or(self.old_mode)),
            new_mode: self.old_mode,
            copy: false,
            old_blob: self.new_blob.clone(),
            new_blob: self.old_blob.clone(),
            content,
            line: self.line,
        }
    }
}

impl Diff {
    /// Reads the patch part of a mail, whose first line is line `line` of its file.
    pub fn parse(text: &[u8], line: usize) -> Result<Self, Error> {
        let files = parse::files(text, line)?;
        Ok(Self {
            text: text.to_vec(),
            files,
        })
    }
}
