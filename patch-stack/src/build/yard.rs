// SPDX-License-Identifier: MIT OR Apache-2.0
//! A source tree and a build folder that stay between builds.
//!
//! The tree is checked out by an index of its own, so that going to another commit writes only the
//! files that differ, and make rebuilds only what depends on them. There is one yard for each base
//! and build; branches on the same base share it, as their trees differ by a few files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use git2::Oid;

use super::key::{self, Purpose};
use super::run::{last_words, run};
use super::{Kept, Key};
use crate::declare::{Build, Project};
use crate::failure::{At as _, Failure, Result};
use crate::mirror::{Guard, Mirror};
use crate::watch::Watch;

/// A place to build in; it is ours until this is dropped.
pub struct Yard<'y> {
    mirror: &'y Mirror,
    build: &'y Build,
    /// The folder of the declaration.
    folder: &'y Path,
    watch: &'y dyn Watch,
    home: PathBuf,
    jobs: usize,
    tools: String,
    _guard: Guard,
}

impl<'y> Yard<'y> {
    /// The yard for `build` on `base`; another run that has it is waited for. `folder` is that of
    /// the declaration.
    ///
    /// # Errors
    /// The folder can't be made, or `watch` asked to stop.
    pub fn enter(
        mirror: &'y Mirror,
        project: &Project,
        build: &'y Build,
        base: &str,
        folder: &'y Path,
        watch: &'y dyn Watch,
    ) -> Result<Self> {
        let home = mirror
            .root()
            .join("build")
            .join(&project.name)
            .join(format!("{base}-{}", build.name));
        std::fs::create_dir_all(home.join("source")).at("making", &home)?;
        let guard = Guard::take(&home.join("lock"), "yard", watch)?;
        Ok(Self {
            mirror,
            build,
            folder,
            watch,
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            tools: key::versions(build),
            home,
            _guard: guard,
        })
    }

    /// The source tree.
    #[must_use]
    pub fn source(&self) -> PathBuf {
        self.home.join("source")
    }

    /// The build folder.
    #[must_use]
    pub fn output(&self) -> PathBuf {
        self.home.join("build")
    }

    /// The folder of both.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The output of the programs that were run last.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    /// The versions of the tools.
    #[must_use]
    pub fn tools(&self) -> &str {
        &self.tools
    }

    /// What was built under `key`.
    #[must_use]
    pub fn find(&self, key: &Key) -> Option<Kept> {
        Kept::find(self.mirror.root(), &self.mirror.project, key)
    }

    /// Makes the source tree that of `commit`.
    ///
    /// # Errors
    /// git fails, or the watch asked to stop.
    pub fn check_out(&self, commit: Oid) -> Result<()> {
        // A git that was killed leaves its lock; nobody else is in this yard.
        let _ = std::fs::remove_file(self.home.join("index.lock"));
        let log = self.log();
        let _ = std::fs::remove_file(&log);
        let git = self.mirror.git().with_index(&self.home.join("index"));
        let mut command = git.command();
        command
            .env("GIT_WORK_TREE", self.source())
            .args(["read-tree", "--reset", "-u"])
            .arg(commit.to_string());
        let status = run(&mut command, &log, self.watch)?;
        if status.success() {
            Ok(())
        } else {
            Err(self.failed(&["git read-tree"]))
        }
    }

    /// Sets up the build folder, unless that was done with the same declaration and tools.
    ///
    /// # Errors
    /// A command fails, with its last words.
    pub fn configure(&self) -> Result<()> {
        let stamp = self.home.join("configured");
        let setup = key::setup(self.build, self.folder, &self.tools)?;
        if std::fs::read_to_string(&stamp).is_ok_and(|old| old == setup) {
            return Ok(());
        }
        let _ = std::fs::remove_file(&stamp);
        let output = self.output();
        if output.exists() {
            std::fs::remove_dir_all(&output).at("removing", &output)?;
        }
        std::fs::create_dir_all(&output).at("making", &output)?;
        self.watch.step(&format!("configuring {}", self.build.name));
        self.commands(&self.build.configure)?;
        self.watch.done();
        std::fs::write(&stamp, setup).at("writing", &stamp)
    }

    /// Builds what is checked out; returns how long that took.
    ///
    /// # Errors
    /// A command fails, with its last words.
    pub fn make(&self, purpose: Purpose) -> Result<Duration> {
        let started = Instant::now();
        self.commands(purpose.commands(self.build))?;
        Ok(started.elapsed())
    }

    /// Runs commands in the yard, one after the other.
    ///
    /// # Errors
    /// One fails, with its last words.
    pub fn commands(&self, commands: &[Vec<String>]) -> Result<()> {
        for words in commands {
            let words: Vec<_> = words.iter().map(|word| self.filled(word)).collect();
            let mut command = self.command(&words[0]);
            command.args(&words[1..]);
            let _ = std::fs::remove_file(self.log());
            if !run(&mut command, &self.log(), self.watch)?.success() {
                return Err(self.failed(&words.iter().map(String::as_str).collect::<Vec<_>>()));
            }
        }
        Ok(())
    }

    /// Fills in `{source}`, `{build}`, `{folder}` and `{jobs}`.
    fn filled(&self, word: &str) -> String {
        word.replace("{source}", &self.source().to_string_lossy())
            .replace("{build}", &self.output().to_string_lossy())
            .replace("{folder}", &self.folder.to_string_lossy())
            .replace("{jobs}", &self.jobs.to_string())
    }

    /// A program in the build folder, without what cargo, an outer make or a habit put into the
    /// environment.
    fn command(&self, program: &str) -> Command {
        const FOREIGN: [&str; 12] = [
            "MAKEFLAGS",
            "MFLAGS",
            "MAKELEVEL",
            "O",
            "ARCH",
            "SUBARCH",
            "CROSS_COMPILE",
            "CFLAGS",
            "LDFLAGS",
            "CC",
            "LLVM",
            "INSTALL_PATH",
        ];
        let mut command = Command::new(program);
        command.current_dir(self.output()).env("LC_ALL", "C");
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let foreign = FOREIGN.contains(&&*text)
                || ["CARGO", "RUST", "GIT_", "KBUILD_", "KCONFIG_"]
                    .iter()
                    .any(|start| text.starts_with(start));
            if foreign {
                command.env_remove(&name);
            }
        }
        command
    }

    fn failed(&self, words: &[&str]) -> Failure {
        let log = self.log();
        let text = std::fs::read(&log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut message = format!("{} failed:", words[..words.len().min(2)].join(" "));
        for line in last_words(&text) {
            message.push_str("\n    ");
            message.push_str(line);
        }
        Failure::failed(message).hint(format!("all of its output is in {}", log.display()))
    }
}
