// SPDX-License-Identifier: MIT OR Apache-2.0
//! The statuses that the tool ends with, and how it says what went wrong.

use std::fmt;

use patch_stack::failure::Kind;
use xtask_common::failure as common;
use xtask_common::signals;

/// What the tool ends with. `docs/src/branches/reference.md` has the same table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    /// All is well.
    Good = 0,
    /// Something failed: a program, a file, a check.
    Failed = 1,
    /// An option, a name or a declaration is wrong.
    Usage = 2,
    /// Patches apply, but not at the lines that they name; or files and lock disagree.
    NeedsRefresh = 3,
    /// A patch does not apply.
    Conflict = 4,
    /// No source has a base.
    Unavailable = 5,
    /// A precondition does not hold, and nothing was touched.
    Refused = 6,
}

/// An error that a user can act upon.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    message: String,
    hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Status::Usage, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
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

/// The status of trouble in the library.
pub(crate) fn status_of(kind: Kind) -> Status {
    match kind {
        Kind::Failed | Kind::Interrupted => Status::Failed,
        Kind::Usage => Status::Usage,
        Kind::NeedsRefresh => Status::NeedsRefresh,
        Kind::Conflict => Status::Conflict,
        Kind::Unavailable => Status::Unavailable,
        Kind::Refused => Status::Refused,
    }
}

/// The status that `error` ends the tool with.
pub(crate) fn status_of_error(error: &anyhow::Error) -> Status {
    if let Some(failure) = error.downcast_ref::<patch_stack::failure::Failure>() {
        status_of(failure.kind)
    } else if let Some(failure) = error.downcast_ref::<Failure>() {
        failure.status
    } else {
        Status::Failed
    }
}

/// `error` with what to do next, where there is one line for it.
pub(crate) fn in_a_line(error: &anyhow::Error) -> String {
    let library = error.downcast_ref::<patch_stack::failure::Failure>();
    let hint = match error.downcast_ref::<Failure>() {
        Some(failure) => failure.hint.as_ref(),
        None => library.and_then(|failure| failure.hint.as_ref()),
    };
    match hint {
        Some(hint) => format!("{error:#}; {hint}"),
        None => format!("{error:#}"),
    }
}

/// Prints `error` for a person and returns the status to end with.
pub(crate) fn report(error: &anyhow::Error) -> u8 {
    // Whatever it failed at: a program that was told to stop with us fails, and says so.
    if let Err(interrupted) = signals::check() {
        eprintln!("stopped; nothing is lost, the next run starts over");
        return interrupted.status();
    }
    eprintln!("error: {error:#}");
    let library = error.downcast_ref::<patch_stack::failure::Failure>();
    let (hint, status) = if let Some(failure) = library {
        (&failure.hint, status_of(failure.kind))
    } else if let Some(failure) = error.downcast_ref::<Failure>() {
        (&failure.hint, failure.status)
    } else if let Some(failure) = error.downcast_ref::<common::Failure>() {
        let status = match failure.kind {
            common::Kind::Usage => Status::Usage,
            common::Kind::Failed | common::Kind::Missing => Status::Failed,
        };
        (&failure.hint, status)
    } else {
        (&None, Status::Failed)
    };
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
    status as u8
}
