// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits as mails, by git-format-patch(1): the form of the patch files, and of what is sent.

use std::path::Path;

use git2::Oid;

use crate::failure::{At as _, Failure, Result};
use crate::mirror::Mirror;

/// What makes the output depend on the commits alone: no version of git's, no number, no name of
/// a commit that only this machine has, full blob names.
const STABLE: [&str; 10] = [
    "--zero-commit",
    "--no-signature",
    "--no-numbered",
    "--full-index",
    "--binary",
    "--find-renames",
    "--no-ext-diff",
    "--no-attach",
    "--no-thread",
    "--subject-prefix=PATCH",
];

/// The mails of the commits from `start` to `head`, which are `count`, the oldest first.
///
/// # Errors
/// git fails, or there are not as many mails as commits.
pub(crate) fn mails(mirror: &Mirror, start: Oid, head: Oid, count: usize) -> Result<Vec<Vec<u8>>> {
    if start == head {
        return Ok(Vec::new());
    }
    let range = format!("{start}..{head}");
    let folder = mirror
        .root()
        .join(format!("mails-{}-{head}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let shown = folder.display().to_string();
    let mut arguments = vec!["-c", "diff.algorithm=myers", "format-patch", "-o", &shown];
    arguments.extend(STABLE);
    arguments.push(&range);
    let written = mirror.git().text(&arguments);
    let mails = written.and_then(|names| {
        names
            .lines()
            .map(|name| std::fs::read(name).at("reading", Path::new(name)))
            .collect::<Result<Vec<_>>>()
    });
    let _ = std::fs::remove_dir_all(&folder);
    let mails = mails?;
    if mails.len() != count {
        return Err(Failure::failed(format!(
            "git format-patch wrote {} mails for {count} commits",
            mails.len()
        )));
    }
    Ok(mails)
}
