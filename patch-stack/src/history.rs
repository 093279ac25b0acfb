// SPDX-License-Identifier: MIT OR Apache-2.0
//! A branch as it was: the declaration and the series of another commit of the repository that
//! holds them, and what changed since.

use std::path::Path;

use git2::Oid;

use crate::branch::{self, Applied};
use crate::declare::Declaration;
use crate::failure::{Failure, Kind, Result};
use crate::git::Git;
use crate::mirror::Mirror;

/// A branch of one time, applied and kept in the mirror.
#[derive(Debug, Clone)]
pub struct Version {
    /// Where its series start.
    pub start: Oid,
    /// Its tip.
    pub tip: Oid,
    /// How many patches it has.
    pub patches: usize,
}

/// The branch as the commit `revision` of the repository in `folder` has it; as the files are now
/// without one.
///
/// # Errors
/// There was no such branch then, or it does not apply, or the mirror lacks its base.
pub fn version(
    folder: &Path,
    revision: Option<&str>,
    branch: &str,
    project: &str,
    mirror: &Mirror,
) -> Result<Version> {
    let Some(revision) = revision else {
        return made(folder, branch, project, mirror);
    };
    let git = Git::worktree(folder);
    let commit = git
        .text(&["rev-parse", "--verify", &format!("{revision}^{{commit}}")])
        .map_err(|_| Failure::usage(format!("{revision} is no commit of {}", folder.display())))?;
    let scratch = mirror
        .root()
        .join(format!("history-{}-{commit}", std::process::id()));
    let _ = std::fs::remove_dir_all(&scratch);
    let found = (|| {
        check_out(&git, &commit, "branches.toml", &scratch)?;
        let declared = Declaration::read(&scratch.join("branches.toml"))?;
        let Some(declared) = declared.projects.get(project) else {
            return Err(Failure::usage(format!(
                "{revision} declares no project {project}"
            )));
        };
        check_out(&git, &commit, &declared.patches, &scratch)?;
        made(&scratch, branch, project, mirror)
            .map_err(|error| error.context(format!("at {revision}")))
    })();
    let _ = std::fs::remove_dir_all(&scratch);
    found
}

/// Puts the files below `path` of `commit` into `folder`.
fn check_out(git: &Git, commit: &str, path: &str, folder: &Path) -> Result<()> {
    use crate::failure::At as _;
    let listed = git.output(&["ls-tree", "-r", "-z", "--full-tree", commit, "--", path])?;
    for entry in listed
        .split(|&byte| byte == 0)
        .filter(|entry| !entry.is_empty())
    {
        let entry = String::from_utf8_lossy(entry).into_owned();
        let Some((id, name)) = entry
            .split_once('\t')
            .and_then(|(head, name)| Some((head.rsplit(' ').next()?, name)))
        else {
            continue;
        };
        let file = folder.join(name);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent).at("making", parent)?;
        }
        let content = git.output(&["cat-file", "blob", id])?;
        std::fs::write(&file, content).at("writing", &file)?;
    }
    if folder.join(path).exists() {
        return Ok(());
    }
    Err(Failure::usage(format!("{commit} has no {path}")))
}

fn made(folder: &Path, branch: &str, project: &str, mirror: &Mirror) -> Result<Version> {
    let declared = Declaration::read(&folder.join("branches.toml"))?;
    let part = declared
        .branch(branch)
        .map_err(Failure::usage)?
        .part(Some(project))
        .map_err(Failure::usage)?
        .1
        .clone();
    let base = mirror.base(&part.base)?;
    let layers = branch::read_layers(folder, &declared.projects[project], &part, &part.base)?;
    let applied: Applied = branch::apply(mirror, base, layers)?;
    applied.require_applied()?;
    branch::keep(mirror, &applied)?;
    Ok(Version {
        start: applied.base.start,
        tip: applied.tip(),
        patches: applied.count(),
    })
}

/// git-range-diff(1) from one version to another.
///
/// # Errors
/// git fails, or a version has no patches.
pub fn range_diff(mirror: &Mirror, old: &Version, new: &Version) -> Result<String> {
    if old.start == old.tip || new.start == new.tip {
        return Err(Failure::new(
            Kind::Refused,
            "a version without patches has no range-diff",
        ));
    }
    mirror.git().text(&[
        "range-diff",
        "--no-color",
        &format!("{}..{}", old.start, old.tip),
        &format!("{}..{}", new.start, new.tip),
    ])
}
