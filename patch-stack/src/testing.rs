// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small project with a base, a series and a branch, for tests.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::branch::{self, Layer};
use crate::declare::Declaration;
use crate::export::{self, Exported, Ground};
use crate::failure::Result;
use crate::git::Git;
use crate::lock::Lock;
use crate::mirror::{Archive, BaseState, Fetch, Mirror, fetch};
use crate::watch::{Silent, Watch};
use crate::worktree::{self, Desk, Done, Job};

/// Twenty lines, one of which can be named.
pub(crate) fn lines(change: &[(usize, &str)]) -> String {
    (1..=20)
        .map(|number| {
            let new = change.iter().find(|(at, _)| *at == number);
            match new {
                Some((_, text)) => format!("{text}\n"),
                None => format!("line {number}\n"),
            }
        })
        .collect()
}

pub(crate) const TOML: &str = r#"# A remark that stays.
schema = 1

[project.p]
patches = "patches"
licence = "MIT"
sparse = ["src"]
[project.p.base.v1]
source = [{ git = "upstream", ref = "v1" }]
[project.p.base.v2]
source = [{ git = "upstream", ref = "v2" }]
[project.p.base.v3]
source = [{ git = "upstream", ref = "v3" }]
[project.p.series.ours]
description = "ours"
[project.p.series.ours.variant.three]
bases = ["v3"]

[branch.b]
description = "b"
[branch.b.p]
base = "v1" # where it stands
series = ["ours"]
"#;

/// A project in a folder of its own.
///
/// * `v1`: `src/a` and `src/b`, twenty lines each, and `other/c`
/// * `v2`: three lines more at the top of `src/a`, so patches of it move
/// * `v3`: line 5 of `src/a` is another, so a patch of it conflicts
///
/// The series `ours` has three patches: line 5 of `src/a`, line 15 of `src/a`, and a new file.
pub(crate) struct Small {
    folder: TempDir,
    pub(crate) mirror: Mirror,
}

impl Small {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let upstream = path.join("upstream");
        std::fs::create_dir_all(upstream.join("src")).unwrap();
        std::fs::create_dir_all(upstream.join("other")).unwrap();
        let git = Git::worktree(&upstream);
        git.output(&["init", "--quiet", "--initial-branch=main"])
            .unwrap();
        write(&upstream.join("src/a"), &lines(&[]));
        write(&upstream.join("src/b"), &lines(&[]));
        write(&upstream.join("other/c"), "c\n");
        commit(&git, "one");
        git.output(&["tag", "v1"]).unwrap();

        git.output(&["checkout", "--quiet", "-b", "work"]).unwrap();
        write(&upstream.join("src/a"), &lines(&[(5, "five")]));
        commit(&git, "a: five\n\nBecause of five.");
        write(
            &upstream.join("src/a"),
            &lines(&[(5, "five"), (15, "fifteen")]),
        );
        commit(&git, "a: fifteen\n\nBecause of fifteen.");
        write(&upstream.join("src/new"), "new\n");
        commit(&git, "[TAG] a new file\n\nBecause it is new.");
        let patches = path.join("patches/ours");
        let patches_text = patches.display().to_string();
        git.output(&[
            "format-patch",
            "--quiet",
            "--zero-commit",
            "--no-signature",
            "-N",
            "--full-index",
            "--binary",
            "-o",
            &patches_text,
            "v1",
        ])
        .unwrap();
        write(
            &patches.join("series"),
            "# The order.\n0001-a-five.patch\n0002-a-fifteen.patch\n0003-TAG-a-new-file.patch\n",
        );

        git.output(&["checkout", "--quiet", "main"]).unwrap();
        write(&upstream.join("src/a"), &format!("0\n0\n0\n{}", lines(&[])));
        commit(&git, "two");
        git.output(&["tag", "v2"]).unwrap();
        git.output(&["checkout", "--quiet", "-b", "three", "v1"])
            .unwrap();
        write(&upstream.join("src/a"), &lines(&[(5, "another five")]));
        commit(&git, "three");
        git.output(&["tag", "v3"]).unwrap();
        write(&path.join("branches.toml"), TOML);

        let mirror = Mirror::open(&path.join("cache"), "p").unwrap();
        let declared = Declaration::parse(TOML).unwrap();
        let archive = Archive {
            address: String::new(),
            keyring: None,
            suites: Vec::new(),
            folder: path.join("apt"),
        };
        let how = Fetch {
            folder: path,
            archive: &archive,
            pinned: None,
            again: false,
        };
        for base in declared.projects["p"].bases.values() {
            fetch(&mirror, base, &how, &Silent).unwrap();
        }
        Self { folder, mirror }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn patch(&self, name: &str) -> PathBuf {
        self.path().join("patches/ours").join(name)
    }

    pub(crate) fn declared(&self) -> Declaration {
        Declaration::read(&self.path().join("branches.toml")).unwrap()
    }

    pub(crate) fn desk(&self) -> Desk {
        Desk::of(&self.mirror, "b")
    }

    /// git in the worktree.
    pub(crate) fn git(&self) -> Git {
        self.desk().git()
    }

    pub(crate) fn base(&self, name: &str) -> BaseState {
        self.mirror.base(name).unwrap()
    }

    pub(crate) fn layers(&self, base: &str) -> Result<Vec<Layer>> {
        let declared = self.declared();
        let part = &declared.branches["b"].parts["p"];
        branch::read_layers(self.path(), &declared.projects["p"], part, base)
    }

    /// Does something with the branch on the base that its state names, or that is declared.
    pub(crate) fn with<T>(
        &self,
        watch: &dyn Watch,
        act: impl FnOnce(&Job<'_>, &Ground<'_>) -> Result<T>,
    ) -> Result<T> {
        let _guard = self.mirror.lock(watch)?;
        worktree::finish_interrupted(&self.mirror, "b", watch)?;
        let declared = self.declared();
        let part = &declared.branches["b"].parts["p"];
        let state = worktree::State::read(&self.mirror, "b")?;
        let name = state.map_or_else(|| part.base.clone(), |state| state.base);
        let base = self.mirror.base(&name)?;
        let layers = self.layers(&name)?;
        let lock = Lock::read(&self.path().join("branches.lock"))?;
        let job = Job {
            mirror: &self.mirror,
            branch: "b",
            project: &declared.projects["p"],
            base: &base,
            layers: &layers,
            watch,
        };
        let ground = Ground {
            folder: self.path(),
            declared: &declared,
            lock: &lock,
            series: None,
        };
        act(&job, &ground)
    }

    pub(crate) fn apply(&self) -> Result<Done> {
        self.with(&Silent, |job, _| worktree::apply(job, None, false))
    }

    pub(crate) fn export(&self) -> Result<Exported> {
        self.with(&Silent, export::export)
    }

    /// Everything that an operation may change: files, refs, HEAD.
    pub(crate) fn picture(&self) -> String {
        let mut text = String::new();
        let mut folders = vec![self.path().join("patches")];
        let mut files = vec![
            self.path().join("branches.toml"),
            self.path().join("branches.lock"),
        ];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push(path);
                }
            }
        }
        files.sort();
        for file in files {
            let content = std::fs::read_to_string(&file).unwrap_or_default();
            text.push_str(&format!("{}\n{content}\n", file.display()));
        }
        let refs = ["for-each-ref", "refs/heads", "refs/applied"];
        text.push_str(&self.mirror.git().text(&refs).unwrap());
        if self.desk().exists() {
            text.push_str(&format!("\nHEAD {}\n", self.desk().head().unwrap()));
            text.push_str(&format!("{:?}", self.desk().changes().unwrap()));
        }
        text
    }
}

pub(crate) fn write(path: &Path, content: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// Commits everything, at a fixed date, as a person would.
pub(crate) fn commit(git: &Git, message: &str) {
    git.output(&["add", "-A"]).unwrap();
    let status = git
        .command()
        .args(["commit", "--quiet", "-m", message])
        .env("GIT_AUTHOR_NAME", "A Person")
        .env("GIT_AUTHOR_EMAIL", "person@example.org")
        .env("GIT_AUTHOR_DATE", "2026-11-24T12:00:00+0100")
        .env("GIT_COMMITTER_NAME", "A Person")
        .env("GIT_COMMITTER_EMAIL", "person@example.org")
        .env("GIT_COMMITTER_DATE", "2026-11-24T12:00:00+0100")
        .status()
        .unwrap();
    assert!(status.success());
}

/// Stops at the `at`th look, as a crash would: nothing after it is run.
pub(crate) struct CrashAt {
    left: std::cell::Cell<usize>,
}

impl CrashAt {
    pub(crate) fn new(at: usize) -> Self {
        Self {
            left: std::cell::Cell::new(at),
        }
    }
}

impl Watch for CrashAt {
    fn check(&self) -> Result<()> {
        match self.left.get() {
            0 => Err(crate::failure::Failure::new(
                crate::failure::Kind::Interrupted,
                "crash",
            )),
            left => {
                self.left.set(left - 1);
                Ok(())
            }
        }
    }
}
