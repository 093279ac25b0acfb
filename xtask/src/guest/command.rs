// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the guest is asked to do, in the words of its `/init`: a few lines of shell that arrive
//! through QEMU's fw_cfg device and are read in by `.`.
#![forbid(unsafe_code)]

use crate::failure::Failure;

/// The longest request in bytes. The guest's driver reads a fw_cfg file in pieces and skips, one
/// byte at a time, what it has read before.
const LONGEST: usize = 16 << 10;

/// What the guest does once it is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Task {
    /// A shell on the console, for a terminal of that kind and size.
    Shell {
        /// The terminal's name in terminfo.
        term: String,
        /// Its rows and columns.
        size: Option<(u16, u16)>,
    },
    /// A program and its arguments.
    Command(Vec<String>),
}

impl Task {
    /// The request as the guest's `/init` reads it.
    pub(crate) fn request(&self) -> Result<String, Failure> {
        let mut text = String::from("PARAPET_PORTS=1\n");
        match self {
            Self::Shell { term, size } => {
                text.push_str(&format!("TERM={}\n", quote(term)));
                if let Some((rows, columns)) = size {
                    text.push_str(&format!("PARAPET_ROWS={rows}\nPARAPET_COLUMNS={columns}\n"));
                }
            }
            Self::Command(words) => {
                text.push_str("set --");
                for word in words {
                    text.push(' ');
                    text.push_str(&quote(word));
                }
                text.push('\n');
            }
        }
        if text.len() > LONGEST {
            return Err(Failure::usage(format!(
                "the command is {} bytes long, and the guest takes at most {LONGEST}",
                text.len()
            ))
            .hint("pass long input through standard input: `cargo xtask run -- sh < script`"));
        }
        Ok(text)
    }
}

/// `word` so that a shell takes it as it is.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_shell_gets_the_words_back() {
        let words = [
            "printf",
            "%s.",
            "a b",
            "it's",
            "$HOME",
            "",
            "*",
            "two\nlines",
            "\\",
        ];
        let task = Task::Command(words.map(str::to_owned).to_vec());
        let script = format!("{}\"$@\"", task.request().unwrap());
        let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            "a b.it's.$HOME..*.two\nlines.\\."
        );
    }

    #[test]
    fn a_shell_knows_its_terminal() {
        let task = Task::Shell {
            term: "xterm-256color".to_owned(),
            size: Some((24, 80)),
        };
        assert_eq!(
            task.request().unwrap(),
            "PARAPET_PORTS=1\nTERM='xterm-256color'\nPARAPET_ROWS=24\nPARAPET_COLUMNS=80\n"
        );
    }

    #[test]
    fn a_long_command_is_refused() {
        let task = Task::Command(vec!["x".repeat(LONGEST)]);
        assert!(
            task.request()
                .unwrap_err()
                .to_string()
                .contains("at most 16384")
        );
    }
}
