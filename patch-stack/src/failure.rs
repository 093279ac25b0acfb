// SPDX-License-Identifier: MIT OR Apache-2.0
//! What went wrong, in one sentence, with what to do next and the kind that decides an exit
//! status.

use std::fmt;
use std::path::Path;

/// What kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something failed: a file, a program, a check.
    Failed,
    /// What was asked for makes no sense: a name, an option, a declaration.
    Usage,
    /// The files and the base no longer fit line by line; an export would mend them.
    NeedsRefresh,
    /// A patch does not apply, and a person has to look.
    Conflict,
    /// A source can't be had: the registry has dropped it, or there is no network.
    Unavailable,
    /// A precondition does not hold, and nothing was touched: a dirty worktree, commits that were
    /// not exported, an operation under way.
    Refused,
    /// A signal asked to stop.
    Interrupted,
}

/// Trouble.
#[derive(Debug)]
pub struct Failure {
    /// Its kind.
    pub kind: Kind,
    /// What happened, in one sentence.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// A result of this crate.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// Trouble of the kind `kind`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// Something failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// What was asked for makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// A precondition does not hold.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message)
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts what was being done before the message.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// An object of a mirror that can't be read: its own words don't say which mirror's.
fn unreadable(why: &str) -> Failure {
    Failure::failed(format!("an object can't be read: {why}"))
        .hint("`cargo xtask branch doctor --thorough` says which of which mirror, and what to do")
}

impl From<git2::Error> for Failure {
    fn from(error: git2::Error) -> Self {
        use git2::ErrorClass as Class;
        match error.class() {
            Class::Odb | Class::Object | Class::Zlib | Class::Tree | Class::Indexer => {
                unreadable(error.message())
            }
            _ => Self::failed(error.message()),
        }
    }
}

impl From<crate::apply::Error> for Failure {
    fn from(error: crate::apply::Error) -> Self {
        use crate::apply::Error;
        match error {
            Error::Git(error) => error.into(),
            Error::Damaged { .. } => unreadable(&error.to_string()),
            _ => Self::failed(error.to_string()),
        }
    }
}

impl From<crate::declare::Error> for Failure {
    fn from(error: crate::declare::Error) -> Self {
        Self::usage(error.to_string())
    }
}

/// Adds the path to an error of the file system.
pub(crate) trait At<T> {
    /// `doing` is a verb: "reading".
    fn at(self, doing: &str, path: &Path) -> Result<T>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, doing: &str, path: &Path) -> Result<T> {
        self.map_err(|error| Failure::failed(format!("{doing} {}: {error}", path.display())))
    }
}
