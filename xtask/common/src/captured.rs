// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that runs without a terminal, and what it printed.

use std::io::Read;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::signals;

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// Did it end with status 0?
    pub success: bool,
    /// Its standard output, then its standard error.
    pub text: String,
}

/// Runs a command to its end. A signal to this process ends it early, and is the error.
pub fn run(mut command: Command) -> Result<Captured> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
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
    let stdout = read(stdout.map(|stream| Box::new(stream) as _));
    let stderr = read(stderr.map(|stream| Box::new(stream) as _));
    let status = signals::wait(&mut child)?;
    Ok(Captured {
        success: status.success(),
        text: stdout.join().unwrap_or_default() + &stderr.join().unwrap_or_default(),
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
        assert_eq!(captured.text, "out\nerr\n");
    }
}
