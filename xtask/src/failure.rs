// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the tool says that something went wrong: one clear sentence, a hint, and a status that no
//! ordinary command uses, so that the status of a guest's command can be told from the tool's own.
#![forbid(unsafe_code)]

use std::fmt;

pub(crate) use xtask_common::failure::Interrupted;
use xtask_common::failure::Kind;

/// The statuses with which the tool itself ends. `cargo xtask help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    /// A test failed, or a measure is over its limit.
    TestFailed = 1,
    /// The emulator failed, or met something that it does not emulate.
    Emulator = 250,
    /// The guest died: it terminated itself, panicked, or broke a rule of the machine.
    GuestDied = 251,
    /// The guest did not finish within its time limit.
    TimeLimit = 252,
    /// Something that the tool needs is missing on this machine.
    Missing = 253,
    /// An option or an input file is wrong.
    Usage = 254,
    /// Anything else: a build, a download or a file failed.
    Failed = 255,
}

impl Status {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Failed => Self::Failed,
            Kind::Usage => Self::Usage,
            Kind::Missing => Self::Missing,
        }
    }
}

/// An error that a user can act upon.
#[derive(Debug)]
pub(crate) struct Failure {
    status: Status,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure with the status `status`, told in one sentence.
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            hint: None,
        }
    }

    /// A wrong option or input file.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Status::Usage, message)
    }

    /// Something that the machine lacks.
    pub(crate) fn missing(message: impl Into<String>) -> Self {
        Self::new(Status::Missing, message)
    }

    /// Adds what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The status with which the tool ends.
    #[cfg(test)]
    pub(crate) fn status(&self) -> Status {
        self.status
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Prints `error` for a person and returns the status to end with.
pub(crate) fn report(error: &anyhow::Error) -> u8 {
    if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
        eprintln!("stopped");
        return interrupted.status();
    }
    eprintln!("error: {}", chain(error));
    let (hint, status) = if let Some(failure) = error.downcast_ref::<Failure>() {
        (&failure.hint, failure.status)
    } else if let Some(failure) = error.downcast_ref::<xtask_common::failure::Failure>() {
        (&failure.hint, Status::of(failure.kind))
    } else {
        (&None, Status::Failed)
    };
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
    status as u8
}

/// The error and its causes in one line.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !text.is_empty() && text.ends_with(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_failure_keeps_its_status_under_context() {
        let error = Err::<(), _>(Failure::usage("no such file").hint("look again"))
            .context("the kernel")
            .unwrap_err();
        assert_eq!(chain(&error), "the kernel: no such file");
        assert_eq!(report(&error), Status::Usage as u8);
    }

    #[test]
    fn trouble_with_the_cache_has_a_status_of_its_own() {
        let error = xtask_common::failure::Failure::new(Kind::Missing, "no busybox");
        assert_eq!(report(&error.into()), Status::Missing as u8);
    }

    #[test]
    fn an_interrupt_is_reported_as_a_shell_does() {
        assert_eq!(report(&Interrupted(2).into()), 130);
    }
}
