// SPDX-License-Identifier: MIT OR Apache-2.0
//! Patches that make a source fit to build: a layer between the base and the series. They are
//! applied by `git apply`, without fuzz, in an index of their own, and are never exported.

use git2::Oid;

use super::Mirror;
use crate::failure::{Failure, Result};
use crate::git::IMPORT_DATE;
use crate::hash;

/// A fixup: its name and its bytes.
pub(super) type Fixup = (String, Vec<u8>);

/// The SHA-256 over `fixups`, in order.
pub(super) fn digest(fixups: &[Fixup]) -> Option<String> {
    (!fixups.is_empty()).then(|| {
        hash::of_parts(
            fixups
                .iter()
                .flat_map(|(name, bytes)| [name.as_bytes(), bytes.as_slice()]),
        )
    })
}

/// The commit with `fixups` on `base`; `base` itself if there are none.
pub(super) fn apply(mirror: &Mirror, base: Oid, name: &str, fixups: &[Fixup]) -> Result<Oid> {
    if fixups.is_empty() {
        return Ok(base);
    }
    let index = mirror
        .folder()
        .join(format!("fixups-{}.index", std::process::id()));
    let git = mirror.git().with_index(&index);
    let made = (|| {
        git.output(&["read-tree", &base.to_string()])?;
        let mut message = format!("Fixups of {name}\n\n");
        for (file, bytes) in fixups {
            git.feed(
                &["apply", "--cached", "-p1", "--whitespace=nowarn", "-"],
                bytes,
            )
            .map_err(|error| error.context(format!("the fixup {file} of {name}")))?;
            message.push_str(&format!("* {file}\n"));
        }
        let tree = git.text(&["write-tree"])?;
        let output = git
            .command()
            .args([
                "commit-tree",
                &tree,
                "-p",
                &base.to_string(),
                "-m",
                &message,
            ])
            .env("GIT_AUTHOR_DATE", IMPORT_DATE)
            .env("GIT_COMMITTER_DATE", IMPORT_DATE)
            .output()
            .map_err(|error| Failure::failed(format!("git commit-tree: {error}")))?;
        if !output.status.success() {
            return Err(Failure::failed(format!(
                "git commit-tree failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        }
        Ok(Oid::from_str(
            String::from_utf8_lossy(&output.stdout).trim(),
        )?)
    })();
    let _ = std::fs::remove_file(&index);
    made
}
