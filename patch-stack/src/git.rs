// SPDX-License-Identifier: MIT OR Apache-2.0
//! The git command line, for what touches a network, a worktree or a person: fetches, imports,
//! conflict sessions, range-diff and format-patch.
//!
//! Every call runs in an environment of its own, so that a user's configuration changes nothing
//! (git(1), ENVIRONMENT VARIABLES; gitattributes(5) for the file that `GIT_CONFIG_GLOBAL` does not
//! switch off).

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::failure::{Failure, Result};
use crate::mail::Person;

/// The name of the committer of every commit that is made from a file.
pub const COMMITTER_NAME: &str = "patch-stack";
/// The committer's address; `.invalid` is nobody's (RFC 2606).
pub const COMMITTER_EMAIL: &str = "committer@patch-stack.invalid";
/// The date of commits that hold a tree without history, as git writes it: 1 January 2000. A
/// constant, so that the same tree is always the same commit.
pub const IMPORT_DATE: &str = "946684800 +0000";
/// The oldest git that this is tried with.
pub const FLOOR: (u32, u32) = (2, 39);

/// The committer of every commit that is made from a file.
#[must_use]
pub fn committer() -> Person {
    Person {
        name: COMMITTER_NAME.into(),
        email: COMMITTER_EMAIL.into(),
    }
}

/// git, at work on one repository.
#[derive(Debug, Clone)]
pub struct Git {
    folder: PathBuf,
    bare: bool,
    index: Option<PathBuf>,
}

impl Git {
    /// On the bare repository `folder`.
    #[must_use]
    pub fn bare(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            bare: true,
            index: None,
        }
    }

    /// In the worktree `folder`.
    #[must_use]
    pub fn worktree(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            bare: false,
            index: None,
        }
    }

    /// The same with another index file.
    #[must_use]
    pub fn with_index(&self, index: &Path) -> Self {
        Self {
            index: Some(index.to_owned()),
            ..self.clone()
        }
    }

    /// A git command with nothing of the user's in its environment.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = isolated("git");
        if self.bare {
            command.arg("--git-dir").arg(&self.folder);
            command.current_dir(&self.folder);
        } else {
            command.arg("-C").arg(&self.folder);
        }
        if let Some(index) = &self.index {
            command.env("GIT_INDEX_FILE", index);
        }
        command
    }

    /// Runs git and returns what it wrote, whether it succeeded or not.
    ///
    /// # Errors
    /// git can't be started.
    pub fn try_output<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Output> {
        self.command()
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(cannot_start)
    }

    /// Runs git and returns its output.
    ///
    /// # Errors
    /// git's own words, if it fails.
    pub fn output<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Vec<u8>> {
        let output = self.try_output(arguments)?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(said(arguments, &output))
        }
    }

    /// Runs git and returns its output as a text without the last line end.
    ///
    /// # Errors
    /// git's own words, if it fails.
    pub fn text<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String> {
        let output = self.output(arguments)?;
        Ok(String::from_utf8_lossy(&output).trim_end().to_owned())
    }

    /// Runs git with `input`.
    ///
    /// # Errors
    /// git's own words, if it fails.
    pub fn feed<S: AsRef<OsStr>>(&self, arguments: &[S], input: &[u8]) -> Result<Vec<u8>> {
        let output = self.try_feed(arguments, input)?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(said(arguments, &output))
        }
    }

    /// Runs git with `input` and returns what it wrote, whether it succeeded or not.
    ///
    /// # Errors
    /// git can't be started.
    pub fn try_feed<S: AsRef<OsStr>>(&self, arguments: &[S], input: &[u8]) -> Result<Output> {
        let mut child = self
            .command()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(cannot_start)?;
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        let input = input.to_owned();
        // A thread of its own: git may write before it has read everything. It may also end
        // early; then its own words say why.
        let writer = std::thread::spawn(move || {
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().map_err(cannot_start)?;
        let _ = writer.join();
        Ok(output)
    }

    /// Moves refs, all or none (git-update-ref(1), `--stdin`).
    ///
    /// # Errors
    /// A ref is not where it was thought to be.
    pub fn move_refs(&self, moves: &[RefMove]) -> Result<()> {
        let mut input = String::from("start\n");
        for step in moves {
            match step {
                RefMove::Set { name, to } => input.push_str(&format!("update {name} {to}\n")),
                RefMove::Delete { name } => input.push_str(&format!("delete {name}\n")),
            }
        }
        input.push_str("prepare\ncommit\n");
        self.feed(&["update-ref", "--stdin"], input.as_bytes())?;
        Ok(())
    }
}

/// One step of a transaction on refs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefMove {
    /// Makes or moves a ref.
    Set {
        /// Its full name.
        name: String,
        /// Where it points from now on.
        to: git2::Oid,
    },
    /// Removes a ref, if it is there.
    Delete {
        /// Its full name.
        name: String,
    },
}

/// A command in the isolated environment: nothing of git's from outside, messages in English.
#[must_use]
pub fn isolated(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"GIT_") {
            command.env_remove(name);
        }
    }
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_ATTR_NOSYSTEM", "1")
        // ~/.config/git/attributes and /ignore are read whatever GIT_CONFIG_GLOBAL says.
        .env("XDG_CONFIG_HOME", "/dev/null")
        .env("HOME", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_EDITOR", ":")
        .env("GIT_SEQUENCE_EDITOR", ":")
        .env("GIT_PAGER", "cat")
        .env("GIT_ADVICE", "0")
        .env("GIT_AUTHOR_NAME", COMMITTER_NAME)
        .env("GIT_AUTHOR_EMAIL", COMMITTER_EMAIL)
        .env("GIT_COMMITTER_NAME", COMMITTER_NAME)
        .env("GIT_COMMITTER_EMAIL", COMMITTER_EMAIL)
        .env("LC_ALL", "C")
        .env("TZ", "UTC");
    command
}

/// The version of the git in the path.
///
/// # Errors
/// There is none, or it is older than [`FLOOR`].
pub fn version() -> Result<String> {
    let output = isolated("git")
        .arg("--version")
        .output()
        .map_err(cannot_start)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text
        .trim()
        .strip_prefix("git version ")
        .unwrap_or_default()
        .to_owned();
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < FLOOR {
        return Err(Failure::failed(format!(
            "git {version} is too old; {}.{} is the oldest that this tool is tried with",
            FLOOR.0, FLOOR.1
        )));
    }
    Ok(version)
}

fn cannot_start(error: std::io::Error) -> Failure {
    Failure::failed(format!("git cannot be started: {error}")).hint("install git 2.39 or newer")
}

fn said<S: AsRef<OsStr>>(arguments: &[S], output: &Output) -> Failure {
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("hint:"))
        .collect();
    let first = arguments
        .first()
        .map(|word| word.as_ref().to_string_lossy().into_owned())
        .unwrap_or_default();
    let tail = lines[lines.len().saturating_sub(4)..].join("; ");
    Failure::failed(format!("git {first} failed: {tail}"))
}

/// Keeps libgit2 from the user's configuration, for this process.
pub(crate) fn isolate_libgit2() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        for level in [
            git2::ConfigLevel::ProgramData,
            git2::ConfigLevel::System,
            git2::ConfigLevel::XDG,
            git2::ConfigLevel::Global,
        ] {
            // SAFETY: the search path is a global of libgit2's that nothing else may read at the
            // same time; `Once` runs this before the first repository is opened, and every door
            // of this crate to a repository passes here.
            let _ = unsafe { git2::opts::set_search_path(level, "") };
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_configuration_changes_nothing() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("git")).unwrap();
        std::fs::write(home.path().join("git/config"), "[user]\nname=Me\n").unwrap();
        let repository = tempfile::tempdir().unwrap();
        let git = Git::bare(repository.path());
        git.output(&["init", "--quiet", "--bare"]).unwrap();
        let seen = git
            .command()
            .args(["config", "--list", "--show-scope"])
            .output()
            .unwrap();
        let seen = String::from_utf8(seen.stdout).unwrap();
        assert!(seen.lines().all(|line| line.starts_with("local")), "{seen}");
        assert!(version().is_ok());
    }

    #[test]
    fn refs_move_all_or_none() {
        let repository = tempfile::tempdir().unwrap();
        let git = Git::bare(repository.path());
        git.output(&["init", "--quiet", "--bare"]).unwrap();
        let tree = git.feed(&["mktree"], b"").unwrap();
        let tree = String::from_utf8(tree).unwrap();
        let commit = git
            .text(&["commit-tree", tree.trim(), "-m", "one"])
            .unwrap();
        let to = git2::Oid::from_str(&commit).unwrap();
        let set = |name: &str, to| RefMove::Set {
            name: name.to_owned(),
            to,
        };
        git.move_refs(&[set("refs/bases/a", to)]).unwrap();
        let nothing = git2::Oid::from_str(&"1".repeat(40)).unwrap();
        assert!(
            git.move_refs(&[set("refs/bases/b", to), set("refs/bases/c", nothing)])
                .is_err()
        );
        let refs = git.text(&["for-each-ref", "--format=%(refname)"]).unwrap();
        assert_eq!(refs, "refs/bases/a");
    }
}
