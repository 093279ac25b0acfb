// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that runs without a terminal, and what it printed.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

use crate::signals;

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// Did it end with status 0?
    pub success: bool,
    /// Its status; none if a signal ended it.
    pub status: Option<i32>,
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub errors: String,
}

impl Captured {
    /// Its standard output, then its standard error.
    #[must_use]
    pub fn text(&self) -> String {
        [self.output.as_str(), &self.errors].concat()
    }
}

/// Runs a command to its end.
///
/// # Errors
/// It can't be started, or a signal to this process has ended it early.
pub fn run(mut command: Command) -> Result<Captured> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    finish(child, || {})
}

/// Waits for a program whose streams may be pipes, with something to do meanwhile.
///
/// # Errors
/// A signal to this process has ended it early.
pub fn finish(mut child: Child, meanwhile: impl FnMut()) -> Result<Captured> {
    // Both at once: a program that fills one pipe while the other is read would stand still.
    let read = |stream: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stream) = stream {
                let _ = stream.read_to_end(&mut bytes);
            }
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let output = read(child.stdout.take().map(|stream| Box::new(stream) as _));
    let errors = read(child.stderr.take().map(|stream| Box::new(stream) as _));
    let status = signals::wait_meanwhile(&mut child, meanwhile)?;
    Ok(Captured {
        success: status.success(),
        status: status.code(),
        output: output.join().unwrap_or_default(),
        errors: errors.join().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_streams_and_the_status() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let captured = run(command).unwrap();
        assert!(!captured.success);
        assert_eq!(captured.status, Some(3));
        assert_eq!(captured.text(), "out\nerr\n");
    }
}
