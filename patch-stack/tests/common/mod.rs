// SPDX-License-Identifier: MIT OR Apache-2.0
//! A repository for a test, and git itself to hold the engine against.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test uses a part of it"
)]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use git2::{Oid, Repository};
use patch_stack::apply::{Applier, Outcome, Policy};
use patch_stack::mail::{self, Patch, Person};
use tempfile::TempDir;

pub const NAME: &str = "Parapet Branches";
pub const EMAIL: &str = "branches@example.org";

/// A repository in a folder that goes away, unless `PATCH_STACK_KEEP` is set.
pub struct Repo {
    folder: TempDir,
}

impl Repo {
    pub fn new() -> Self {
        let mut folder = TempDir::new().unwrap();
        folder.disable_cleanup(std::env::var_os("PATCH_STACK_KEEP").is_some());
        let repo = Self { folder };
        repo.git(&["init", "-q", "-b", "main"]);
        repo
    }

    /// A repository that reads the objects of `other` and writes its own, for trees too large to
    /// check out.
    pub fn over(other: &Path) -> Self {
        let repo = Self::new();
        let objects = other
            .canonicalize()
            .expect("the repository exists")
            .join("objects");
        let alternates = repo.path().join(".git/objects/info/alternates");
        std::fs::write(alternates, format!("{}\n", objects.display())).unwrap();
        // Nothing here has to outlive a power cut.
        for (name, value) in [
            ("gc.auto", "0"),
            ("core.fsync", "none"),
            ("index.skipHash", "true"),
            ("index.version", "4"),
        ] {
            repo.git(&["config", name, value]);
        }
        repo
    }

    /// Takes such a repository to a commit, with a fresh worktree of the folders that `patches`
    /// touch. (Without them there git am stops for files that it has itself taken out and then
    /// takes for changed.)
    pub fn check_out_sparse(&self, commit: Oid, patches: &[Patch]) {
        let paths = patches
            .iter()
            .flat_map(|patch| &patch.diff.files)
            .flat_map(|file| [&file.old_path, &file.new_path]);
        let folders: BTreeSet<&[u8]> = paths
            .flatten()
            .filter_map(|path| {
                path.iter()
                    .rposition(|byte| *byte == b'/')
                    .map(|slash| &path[..slash])
            })
            .collect();
        let list: Vec<u8> = folders
            .into_iter()
            .flat_map(|folder| [folder, b"\n"].concat())
            .collect();
        for entry in std::fs::read_dir(self.path()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() == ".git" {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                std::fs::remove_dir_all(entry.path()).unwrap();
            } else {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        let _ = std::fs::remove_file(self.path().join(".git/index"));
        self.git_with(
            &[
                "sparse-checkout",
                "set",
                "--cone",
                "--no-sparse-index",
                "--stdin",
            ],
            &list,
        );
        self.git(&["checkout", "-q", "-f", "--detach", &commit.to_string()]);
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Git, away from the user's configuration, with the committer's name and a clock that stands.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command
            .current_dir(self.path())
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.path())
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs([
                ("GIT_AUTHOR_NAME", "A U Thor"),
                ("GIT_AUTHOR_EMAIL", "author@example.org"),
            ])
            .envs([
                ("GIT_AUTHOR_DATE", "2026-03-03 12:00:00 +0100"),
                ("GIT_COMMITTER_DATE", "2026-03-03 12:00:00 +0100"),
            ])
            .envs([("GIT_COMMITTER_NAME", NAME), ("GIT_COMMITTER_EMAIL", EMAIL)]);
        command
    }

    /// Runs git, which has to succeed. Returns what it printed.
    pub fn git(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.command(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// The same with `input`.
    pub fn git_with(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut command = self.command(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {arguments:?}");
        output.stdout
    }

    pub fn id(&self, name: &str) -> Oid {
        let printed = self.git(&["rev-parse", "--verify", name]);
        Oid::from_str(std::str::from_utf8(&printed).unwrap().trim()).unwrap()
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub fn remove(&self, path: &str) {
        std::fs::remove_file(self.path().join(path)).unwrap();
    }

    /// Commits all there is.
    pub fn commit(&self, message: &str) -> Oid {
        self.git(&["add", "-A", "-f"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.id("HEAD")
    }

    /// The patches of `range`, as files are made of them.
    pub fn format_patch(&self, range: &str, options: &[&str]) -> Vec<Vec<u8>> {
        let fixed = [
            "format-patch",
            "--stdout",
            "--zero-commit",
            "--no-signature",
            "-N",
            "--full-index",
            "--binary",
        ];
        let arguments: Vec<&str> = fixed
            .into_iter()
            .chain(options.iter().copied())
            .chain([range])
            .collect();
        let mailbox = self.git(&arguments);
        mail::split(&mailbox)
            .into_iter()
            .map(<[u8]>::to_vec)
            .collect()
    }

    /// `git am -3` of `patches` onto `base`. Returns the tip, or `None` when git stopped.
    pub fn am(&self, base: Oid, patches: &[Vec<u8>], options: &[&str]) -> Option<Oid> {
        self.git(&["checkout", "-q", "-f", "--detach", &base.to_string()]);
        self.git(&["clean", "-q", "-fdx", "-e", "mail-*"]);
        for (index, patch) in patches.iter().enumerate() {
            let path = self.mail(index);
            std::fs::write(&path, patch).unwrap();
            let fixed = [
                "am",
                "-q",
                "--keep-non-patch",
                "--committer-date-is-author-date",
            ];
            let arguments: Vec<&str> = fixed.into_iter().chain(options.iter().copied()).collect();
            let mut command = self.command(&arguments);
            let done = command
                .arg(&path)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap();
            std::fs::remove_file(&path).unwrap();
            if !done.success() {
                self.git(&["am", "--abort"]);
                return None;
            }
        }
        Some(self.id("HEAD"))
    }

    /// Beside the work tree: a patch may add any file to that.
    fn mail(&self, index: usize) -> PathBuf {
        self.path().join(format!(".git/mail-{index}"))
    }

    pub fn repository(&self) -> Repository {
        Repository::open(self.path()).unwrap()
    }

    pub fn applier(&self) -> Applier {
        Applier::new(&self.repository(), policy()).unwrap()
    }
}

/// Numbered lines, some of them replaced.
pub fn lines(range: std::ops::Range<usize>, changed: &[(usize, &str)]) -> String {
    let line = |number| match changed.iter().find(|(changed, _)| *changed == number) {
        Some((_, text)) => format!("{text}\n"),
        None => format!("line {number}\n"),
    };
    range.map(line).collect()
}

pub fn policy() -> Policy {
    Policy {
        offsets: true,
        three_way: true,
        committer: Person::new(NAME.as_bytes(), EMAIL.as_bytes()).unwrap(),
    }
}

pub fn parse(patch: &[u8]) -> Patch {
    Patch::parse(patch, &mail::Options::default())
        .unwrap_or_else(|error| panic!("{error}:\n{}", String::from_utf8_lossy(patch)))
}

/// The tip of a series that was applied to the end.
pub fn tip(outcome: &Outcome) -> Oid {
    assert_eq!(outcome.stopped, None);
    outcome.steps.last().expect("the series has patches").commit
}

/// Applies `patches` with git and in memory. Both have to make the same commit, and once its
/// objects are written git has to find nothing wrong with them.
#[track_caller]
pub fn same_as_am(repo: &Repo, base: Oid, patches: &[Vec<u8>]) -> Outcome {
    let outcome = same_or_both_stop(repo, base, patches, &["-3"]);
    assert_eq!(outcome.stopped, None);
    outcome
}

/// The same; or both have to stop.
#[track_caller]
pub fn same_or_both_stop(repo: &Repo, base: Oid, patches: &[Vec<u8>], options: &[&str]) -> Outcome {
    let parsed: Vec<Patch> = patches.iter().map(|patch| parse(patch)).collect();
    let policy = Policy {
        three_way: options.contains(&"-3"),
        ..policy()
    };
    let mut applier = Applier::new(&repo.repository(), policy).unwrap();
    let outcome = applier.series(base, &parsed).unwrap();
    let Some(theirs) = repo.am(base, patches, options) else {
        assert!(
            outcome.stopped.is_some(),
            "git am stops, the engine does not: {outcome:?}"
        );
        return outcome;
    };
    let tip = tip(&outcome);
    if tip != theirs {
        applier.keep(tip).unwrap();
        let show = |id: Oid| {
            String::from_utf8_lossy(&repo.git(&["show", "--format=raw", &id.to_string()]))
                .into_owned()
        };
        panic!(
            "git am made:\n{}\nthe engine made:\n{}",
            show(theirs),
            show(tip)
        );
    }
    outcome
}
