// SPDX-License-Identifier: MIT OR Apache-2.0
//! What went wrong, in one sentence, with what to do about it. Which status a tool ends with is its
//! own affair.

use std::fmt;

/// What kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file, a program or a download failed.
    Failed,
    /// An option or a variable is wrong.
    Usage,
    /// The machine lacks something.
    Missing,
}

/// An error that a user can act upon.
#[derive(Debug)]
pub struct Failure {
    /// Its kind.
    pub kind: Kind,
    message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// Trouble of the kind `kind`, told in one sentence.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The tool was told to stop by this signal, and has cleaned up.
#[derive(Debug)]
pub struct Interrupted(pub i32);

impl Interrupted {
    /// The status that a shell gives a program which the signal ended.
    #[must_use]
    pub fn status(&self) -> u8 {
        128 + u8::try_from(self.0).unwrap_or(0)
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped by signal {}", self.0)
    }
}

impl std::error::Error for Interrupted {}
