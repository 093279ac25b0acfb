// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small project in a folder of its own, and the program run on it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

const TOML: &str = r#"schema = 1

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
[project.p.series.s]
description = "numbers"

[branch.b]
description = "three lines of a"
[branch.b.p]
base = "v1"
series = ["s"]
"#;

/// Twenty lines, some of which are others.
pub(crate) fn lines(change: &[(usize, &str)]) -> String {
    (1..=20)
        .map(|number| match change.iter().find(|(at, _)| *at == number) {
            Some((_, text)) => format!("{text}\n"),
            None => format!("line {number}\n"),
        })
        .collect()
}

/// The project: an upstream repository with three releases, two patches, a cache.
pub(crate) struct House {
    folder: TempDir,
}

/// What the program said.
pub(crate) struct Said {
    words: Vec<String>,
    status: Option<i32>,
    pub(crate) output: String,
    all: String,
}

impl Said {
    pub(crate) fn ends(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "{:?}:\n{}", self.words, self.all);
        self
    }

    pub(crate) fn has(&self, text: &str) -> bool {
        self.all.contains(text)
    }

    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.all.contains(text), "{:?}:\n{}", self.words, self.all);
        self
    }
}

fn write(path: &Path, content: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

impl House {
    pub(crate) fn new() -> Self {
        let house = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let upstream = house.path().join("upstream");
        let a = upstream.join("src/a");
        write(&a, &lines(&[]));
        write(&upstream.join("src/b"), &lines(&[]));
        let git = |words: &[&str]| house.git_in(&upstream, words);
        git(&["init", "--quiet", "--initial-branch=main"]);
        let commit = |message: &str| {
            git(&["add", "-A"]);
            git(&["commit", "--quiet", "-m", message]);
        };
        commit("one");
        git(&["tag", "v1"]);
        write(&a, &lines(&[(5, "five")]));
        commit("a: five\n\nBecause of the five.");
        write(&a, &lines(&[(5, "five"), (10, "ten")]));
        commit("a: ten\n\nBecause of the ten.");
        let patches = house.path().join("patches/s").display().to_string();
        git(&[
            "format-patch",
            "--quiet",
            "--zero-commit",
            "--no-signature",
            "-N",
            "--full-index",
            "-o",
            &patches,
            "v1",
        ]);
        write(
            &house.patch("series"),
            "0001-a-five.patch\n0002-a-ten.patch\n",
        );
        git(&["checkout", "--quiet", "-b", "two", "v1"]);
        write(&a, &format!("0\n0\n{}", lines(&[])));
        commit("two");
        git(&["tag", "v2"]);
        git(&["checkout", "--quiet", "-b", "three", "v1"]);
        write(&a, &lines(&[(5, "another five")]));
        commit("three");
        git(&["tag", "v3"]);
        write(&house.path().join("branches.toml"), TOML);
        house.save_patches();
        house
    }

    /// The same with the bases in the mirror.
    pub(crate) fn fetched() -> Self {
        let house = Self::new();
        house.run(&["fetch"]).ends(0);
        house
            .run(&["fetch", "--base", "v2", "--base", "v3"])
            .ends(0);
        house
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn patch(&self, name: &str) -> PathBuf {
        self.path().join("patches/s").join(name)
    }

    pub(crate) fn cache(&self, name: &str) -> PathBuf {
        self.path().join("cache/branches").join(name)
    }

    pub(crate) fn worktree(&self) -> PathBuf {
        self.cache("worktrees/p/b")
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask-branch"));
        command
            .arg("branch")
            .args(words)
            .current_dir(self.path())
            .arg("--folder")
            .arg(self.path())
            .env("PARAPET_CACHE", self.path().join("cache"))
            .env("HOME", self.path().join("home"))
            .env_remove("PARAPET_CALLED_FROM")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Said {
        Self::said(words, &self.command(words).output().unwrap())
    }

    /// The same with its output into the file `path`.
    pub(crate) fn run_to(&self, path: &str, words: &[&str]) -> Said {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        let child = self
            .command(words)
            .stdout(file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self::said(words, &child.wait_with_output().unwrap())
    }

    fn said(words: &[&str], output: &std::process::Output) -> Said {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Said {
            words: words.iter().map(|&word| word.to_owned()).collect(),
            status: output.status.code(),
            all: format!("{text}{}", String::from_utf8_lossy(&output.stderr)),
            output: text,
        }
    }

    pub(crate) fn start(&self, words: &[&str]) -> Child {
        self.command(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The same with a git that stands still when it is to fetch.
    pub(crate) fn start_with_slow_git(&self, words: &[&str]) -> Child {
        let folder = self.path().join("slow");
        let note = folder.join("process");
        let _ = std::fs::remove_file(&note);
        let git = folder.join("git");
        let path = std::env::var("PATH").unwrap();
        write(
            &git,
            &format!(
                "#!/bin/sh\nfor word; do if [ \"$word\" = fetch ]; then echo $$ > {0}.new; \
                 mv {0}.new {0}; exec sleep 1000; fi; done\nPATH={path} exec git \"$@\"\n",
                note.display()
            ),
        );
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&git, executable).unwrap();
        self.command(words)
            .env("PATH", format!("{}:{path}", folder.display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The process that stands still.
    pub(crate) fn slow_git(&self) -> String {
        let note = self.path().join("slow/process");
        let started = std::time::Instant::now();
        while !note.exists() {
            assert!(started.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(10));
        }
        std::fs::read_to_string(note).unwrap().trim().to_owned()
    }

    pub(crate) fn kill_after(&self, words: &[&str], time: Duration) {
        let mut child = self.start(words);
        std::thread::sleep(time);
        let _ = child.kill();
        let _ = child.wait();
        // A git that it had started may still run for a moment.
        std::thread::sleep(Duration::from_millis(30));
    }

    /// git in the worktree.
    pub(crate) fn git(&self, words: &[&str]) -> String {
        self.git_in(&self.worktree(), words)
    }

    pub(crate) fn git_in(&self, folder: &Path, words: &[&str]) -> String {
        let output = Command::new("git")
            .arg("-C")
            .arg(folder)
            .args(words)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_NAME", "A Person")
            .env("GIT_AUTHOR_EMAIL", "person@example.org")
            .env("GIT_AUTHOR_DATE", "2026-11-24T12:00:00+0100")
            .env("GIT_COMMITTER_NAME", "A Person")
            .env("GIT_COMMITTER_EMAIL", "person@example.org")
            .env("GIT_COMMITTER_DATE", "2026-11-24T12:00:00+0100")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "git {words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// Another content of the file that the patches are about.
    pub(crate) fn change(&self, change: &[(usize, &str)]) {
        write(&self.worktree().join("src/a"), &lines(change));
    }

    pub(crate) fn commit(&self, message: &str) {
        self.git(&["commit", "--quiet", "--all", "-m", message]);
    }

    pub(crate) fn redeclare(&self, from: &str, to: &str) {
        let file = self.path().join("branches.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from}");
        write(&file, &text.replace(from, to));
    }

    fn save_patches(&self) {
        let saved = self.path().join("saved");
        std::fs::create_dir_all(&saved).unwrap();
        for name in ["series", "0001-a-five.patch", "0002-a-ten.patch"] {
            std::fs::copy(self.patch(name), saved.join(name)).unwrap();
        }
    }

    pub(crate) fn restore_patches(&self) {
        for name in ["series", "0001-a-five.patch", "0002-a-ten.patch"] {
            std::fs::copy(self.path().join("saved").join(name), self.patch(name)).unwrap();
        }
    }

    /// A mailbox with a series of one patch.
    pub(crate) fn mailbox(&self, name: &str) {
        let upstream = self.path().join("upstream");
        self.git_in(&upstream, &["checkout", "--quiet", "-b", "list", "v1"]);
        write(&upstream.join("src/b"), &lines(&[(7, "seven")]));
        self.git_in(
            &upstream,
            &["commit", "--quiet", "-a", "-m", "b: from the list\n\nYes."],
        );
        let mail = self.git_in(
            &upstream,
            &[
                "format-patch",
                "--stdout",
                "--full-index",
                "--thread",
                "--numbered",
                "-1",
            ],
        );
        write(&self.path().join(name), &(mail + "\n"));
    }

    /// The folder becomes a repository, as the one that holds the branches is.
    pub(crate) fn repository(&self) {
        self.git_in(self.path(), &["init", "--quiet"]);
        self.commit_repository("first");
    }

    pub(crate) fn commit_repository(&self, message: &str) {
        self.git_in(self.path(), &["add", "branches.toml", "patches"]);
        self.git_in(self.path(), &["commit", "--quiet", "-m", message]);
    }

    /// All that a configuration could do to a patch.
    pub(crate) fn hostile_configuration(&self) {
        write(
            &self.path().join("home/.gitconfig"),
            "[user]\nname = Me\nemail = me@example.org\n[format]\nheaders = \"X-Me: yes\\n\"\n\
             signOff = true\nsubjectPrefix = ME\nattach = true\nnumbered = true\n\
             signature = me\nnoprefix = true\n[diff]\nnoprefix = true\nmnemonicPrefix = true\n\
             context = 1\nalgorithm = patience\nsuppressBlankEmpty = true\nrenames = copies\n\
             [core]\nabbrev = 7\nautocrlf = true\nquotePath = false\n[am]\nthreeWay = false\n\
             [apply]\nwhitespace = fix\n[commit]\ngpgSign = true\n[rerere]\nenabled = true\n",
        );
        write(
            &self.path().join("home/.config/git/attributes"),
            "* diff=broken text eol=crlf\n",
        );
    }
}
