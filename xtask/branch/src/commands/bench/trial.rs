// SPDX-License-Identifier: MIT OR Apache-2.0
//! A branch for a measurement: patches each of which changes one file as a further release did.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use patch_stack::declare::Checkpatch;
use patch_stack::mirror::Mirror;

use super::this_program;
use crate::failure::{Failure, Status};
use crate::house::House;

/// A folder with a declaration, a lock and the patches, which goes when this is dropped.
pub(super) struct Trial {
    folder: PathBuf,
    /// The names of the patch files, in order.
    pub(super) patches: Vec<String>,
}

impl Trial {
    /// A branch called `bench` of about `count` patches on the base `base` of Linux.
    pub(super) fn new(
        house: &House,
        mirror: &Mirror,
        base: &str,
        further: &str,
        count: usize,
    ) -> Result<Self> {
        let mut trial = Self {
            folder: house
                .root
                .join(format!("bench-{}-{count}", std::process::id())),
            patches: Vec::new(),
        };
        trial.make(house, mirror, base, further, count)?;
        if trial.patches.len() < count * 9 / 10 {
            return Err(Failure::new(
                Status::Failed,
                format!(
                    "{base} and {further} differ in too few files: {}",
                    trial.patches.len()
                ),
            )
            .into());
        }
        Ok(trial)
    }

    /// This program on the branch.
    pub(super) fn run(&self, words: &[&str]) -> Command {
        this_program(&self.folder, words)
    }

    /// Another message for the patch at `index`.
    pub(super) fn change(&self, index: usize) -> Result<()> {
        let file = self.folder.join("patches/s").join(&self.patches[index]);
        let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
        // Another time at each run, so that nobody's cache knows the answer.
        let now = std::time::UNIX_EPOCH.elapsed()?.as_nanos();
        let old = b"For a measurement.";
        let at = bytes
            .windows(old.len())
            .position(|found| found == old)
            .context("the message of a patch")?;
        let new = format!("For a measurement at {now}.");
        let changed = [&bytes[..at], new.as_bytes(), &bytes[at + old.len()..]].concat();
        std::fs::write(&file, changed).with_context(|| file.display().to_string())
    }

    fn make(
        &mut self,
        house: &House,
        mirror: &Mirror,
        base: &str,
        further: &str,
        count: usize,
    ) -> Result<()> {
        let series = self.folder.join("patches/s");
        std::fs::create_dir_all(&series)?;
        let start = mirror.base(base)?.start.to_string();
        let end = mirror.base(further)?.imported.to_string();
        let git = mirror.git();
        let list = git.output(&[
            "diff-tree",
            "-r",
            "-z",
            "--no-renames",
            "--diff-filter=M",
            &start,
            &end,
        ])?;
        let fields: Vec<_> = list
            .split(|&byte| byte == 0)
            .map(|field| String::from_utf8_lossy(field).into_owned())
            .collect();
        // Names of this run's own: nobody's cache knows the answers.
        let run = std::time::UNIX_EPOCH.elapsed()?.as_nanos();
        // ":MODE MODE BLOB BLOB M", then the path.
        let mut stream = String::new();
        let mut made = 0;
        let step = (fields.len() / 2 / count).max(1);
        for entry in fields.chunks(2).step_by(step).take(count) {
            let [head, path] = entry else { continue };
            let words: Vec<_> = head.trim_start_matches(':').split(' ').collect();
            let [mode, _, _, blob, _] = words.as_slice() else {
                continue;
            };
            if path.contains(['"', ' ', '\n']) || *mode == "120000" {
                continue;
            }
            made += 1;
            let message = format!("{path}: as it is later\n\nFor a measurement. {run}\n");
            stream.push_str(&format!(
                "commit refs/bench/trial\ncommitter B <b@bench.invalid> {} +0000\ndata {}\n{message}",
                1_700_000_000 + made,
                message.len()
            ));
            if made == 1 {
                stream.push_str(&format!("from {start}\n"));
            }
            stream.push_str(&format!("M {mode} {blob} {path}\n\n"));
        }
        git.feed(&["fast-import", "--quiet", "--force"], stream.as_bytes())?;
        let written = git.text(&[
            "format-patch",
            "--zero-commit",
            "--no-signature",
            "-N",
            "--full-index",
            "--binary",
            "-o",
            &series.display().to_string(),
            &format!("{start}..refs/bench/trial"),
        ])?;
        git.output(&["update-ref", "-d", "refs/bench/trial"])?;
        self.patches = written
            .lines()
            .filter_map(|line| Some(Path::new(line).file_name()?.to_str()?.to_owned()))
            .collect();
        std::fs::write(series.join("series"), self.patches.join("\n") + "\n")?;
        let checker = house.declared.projects["linux"].checkpatch.as_ref();
        std::fs::write(
            self.folder.join("branches.toml"),
            format!(
                "schema = 1\n[project.linux]\npatches = \"patches\"\nlicence = \"GPL-2.0-only\"\n\
                 {}[project.linux.base.\"{base}\"]\nsource = [{{ tar = \"none\" }}]\n\
                 [project.linux.series.s]\ndescription = \"s\"\n[branch.bench]\n\
                 description = \"b\"\n[branch.bench.linux]\nbase = \"{base}\"\nseries = [\"s\"]\n",
                checker.map(declaration).unwrap_or_default()
            ),
        )?;
        if !self.run(&["lock"]).status()?.success() {
            bail!("the branch of the measurement can't be locked");
        }
        Ok(())
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The checker as `branches.toml` declares it. (A list of texts is the same in TOML and in JSON.)
fn declaration(checker: &Checkpatch) -> String {
    let text = |value: &[String]| serde_json::Value::from(value.to_vec());
    format!(
        "[project.linux.checkpatch]\nscript = {}\nfiles = {}\narguments = {}\nignore = {}\n",
        serde_json::Value::from(checker.script.as_str()),
        text(&checker.files),
        text(&checker.arguments),
        text(&checker.ignore),
    )
}
