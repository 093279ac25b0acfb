// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a patch does to which file, as a checked type.

/// The diff of one patch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// One for each `diff --git`, in order.
    pub files: Vec<File>,
}

/// What happens to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Path before, or `None` for a new file.
    pub old_path: Option<Vec<u8>>,
    /// Path after, or `None` for a deleted file.
    pub new_path: Option<Vec<u8>>,
}

/// Why a diff can't be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Error {
    /// Line of the patch file, from 1.
    pub line: usize,
    /// What is wrong there, and what to do.
    pub what: String,
}
