// SPDX-License-Identifier: MIT OR Apache-2.0
//! Is what the mirror has whole? Nothing here mends it: git takes an object that is there for good,
//! so a base that is fetched once more does not replace a bad one.

use std::io::Write as _;
use std::process::Stdio;

use git2::Oid;

use super::Mirror;
use crate::failure::{Failure, Result};

impl Mirror {
    /// What git-fsck(1) finds wrong with the objects, the lines that name one first; empty if all are
    /// whole. It reads them all, which takes minutes for a large project.
    ///
    /// # Errors
    /// git can't be started.
    pub fn faults(&self) -> Result<Vec<String>> {
        let mut faults = self.look()?;
        if !faults.is_empty() {
            // git lists the objects first and follows the refs later: what a person committed in
            // between is "missing". A second look finds that, and real faults again.
            let again = self.look()?;
            faults.retain(|line| again.contains(line));
        }
        faults.sort_by_key(|line| !names_object(line));
        Ok(faults)
    }

    fn look(&self) -> Result<Vec<String>> {
        let output = self
            .git()
            .try_output(&["fsck", "--no-dangling", "--no-progress"])?;
        if output.status.success() {
            return Ok(Vec::new());
        }
        let said = [output.stdout, output.stderr].map(|bytes| {
            // Notices are about refs that a mirror does not have.
            String::from_utf8_lossy(&bytes)
                .lines()
                .filter(|line| !line.starts_with("notice: ") && !line.starts_with("warning "))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        });
        let mut faults = said.concat();
        if faults.is_empty() {
            faults.push(format!("git fsck ended with {}", output.status));
        }
        Ok(faults)
    }

    /// Fails if an object of the tree of `commit` can't be read.
    pub(super) fn require_readable(&self, name: &str, commit: Oid) -> Result<()> {
        let unreadable = |said: &[u8]| {
            let said = String::from_utf8_lossy(said);
            let why = said
                .lines()
                .rfind(|line| names_object(line))
                .or_else(|| said.lines().last());
            let why = why.unwrap_or("git gave no reason");
            Failure::failed(format!(
                "the mirror has {name} and can't read it: {}",
                why.trim_start_matches("fatal: ")
            ))
            .hint(self.remedy())
        };
        let tree = format!("{commit}^{{tree}}");
        let listed =
            self.git()
                .try_output(&["rev-list", "--objects", "--no-object-names", &tree])?;
        if !listed.status.success() {
            return Err(unreadable(&listed.stderr));
        }
        let mut reader = self
            .git()
            .command()
            .args(["cat-file", "--batch", "--buffer"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::failed(format!("git cannot be started: {error}")))?;
        // It ends at the first object that is bad, and its own words say why.
        let mut names = reader.stdin.take().expect("stdin is a pipe");
        let _ = names.write_all(&listed.stdout);
        drop(names);
        let read = reader
            .wait_with_output()
            .map_err(|error| Failure::failed(format!("git cat-file: {error}")))?;
        if read.status.success() {
            Ok(())
        } else {
            Err(unreadable(&read.stderr))
        }
    }

    /// What to do about a mirror that is damaged.
    #[must_use]
    pub fn remedy(&self) -> String {
        format!(
            "`branch export` what its worktrees have, `branch clean --force` them, remove {}, then \
             `branch fetch`",
            self.folder().display()
        )
    }
}

/// Has the line an object's full name? A pack's name has as many digits, within a path.
fn names_object(line: &str) -> bool {
    line.split_ascii_whitespace()
        .map(|word| word.trim_end_matches([':', ',']))
        .any(|word| word.len() == 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
