// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch diff` and `branch log`: the series' own history, in this repository.

use anyhow::Result;
use clap::Args;
use patch_stack::git::Git;
use patch_stack::history;
use serde_json::json;

use crate::failure::{Failure, Status};
use crate::house::{House, Shown};

pub(crate) const ABOUT_DIFF: &str =
    "Show what changed in a branch between two commits of this repository";
pub(crate) const LONG_ABOUT_DIFF: &str = "\
Show what changed in a branch between two commits of this repository, as git's range-diff of the
commits that the patch files gave then and give now. With one commit, the files as they are now are
the other side. --against compares with another branch of the project: how a variant differs.";
pub(crate) const EXAMPLES_DIFF: &str = "\
Examples:
  cargo xtask branch diff planes HEAD~3
  cargo xtask branch diff planes HEAD~9..HEAD~3
  cargo xtask branch diff planes-6.18 --against planes";
pub(crate) const ABOUT_LOG: &str = "Show the history of one patch file";
pub(crate) const EXAMPLES_LOG: &str = "\
Examples:
  cargo xtask branch log planes 0003
  cargo xtask branch log planes 0003 --patch";

/// Compares.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The branch
    #[arg(value_name = "BRANCH")]
    branch: String,

    /// REV or REV..REV, commits of this repository
    #[arg(value_name = "REV..REV", required_unless_present = "against")]
    revisions: Option<String>,

    /// Another branch of the project: what a variant of the same series does otherwise
    #[arg(long, value_name = "BRANCH", conflicts_with = "revisions")]
    against: Option<String>,

    /// The project, where the branch has parts in several
    #[arg(long, value_name = "NAME")]
    project: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Diff {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let place = house.place(&self.branch, self.project.as_deref())?;
        let mirror = place.mirror()?;
        let watch = Shown::default();
        let _guard = mirror.lock(&watch)?;
        let revisions = self.revisions.as_deref().unwrap_or_default();
        let (old, new) = match revisions.split_once("..") {
            Some((old, "")) => (old, None),
            Some((old, new)) => (old, Some(new)),
            None => (revisions, None),
        };
        let version = |branch: &str, revision| {
            let project = &place.project.name;
            history::version(&house.folder, revision, branch, project, &mirror)
        };
        let before = match &self.against {
            Some(other) => version(other, None)?,
            None => version(&self.branch, Some(old))?,
        };
        let after = version(&self.branch, new)?;
        let text = history::range_diff(&mirror, &before, &after)?;
        if self.json {
            println!(
                "{:#}",
                json!({
                    "old": { "tip_commit": before.tip.to_string(), "patches": before.patches },
                    "new": { "tip_commit": after.tip.to_string(), "patches": after.patches },
                    "range_diff": text,
                })
            );
        } else {
            println!("{text}");
        }
        Ok(Status::Good)
    }
}

/// Looks back.
#[derive(Debug, Args)]
pub(crate) struct Log {
    /// The branch
    #[arg(value_name = "BRANCH")]
    branch: String,

    /// The patch: its file's name, or the beginning of it, or its number
    #[arg(value_name = "PATCH")]
    patch: String,

    /// Show how the file changed each time
    #[arg(long = "patch", conflicts_with = "json")]
    patch_text: bool,

    /// The project, where the branch has parts in several
    #[arg(long, value_name = "NAME")]
    project: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Log {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let place = house.place(&self.branch, self.project.as_deref())?;
        let layers = place.layers()?;
        let files: Vec<_> = layers
            .iter()
            .flat_map(|layer| layer.patches.iter().map(move |file| (layer, file)))
            .collect();
        let number: Option<usize> = self.patch.parse().ok();
        let found: Vec<_> = files
            .iter()
            .enumerate()
            .filter(|(index, (_, file))| {
                number == Some(index + 1) || file.name.starts_with(&self.patch)
            })
            .map(|(_, file)| file)
            .collect();
        let (layer, file) = match found.as_slice() {
            [one] => *one,
            [] => {
                return Err(Failure::usage(patch_stack::declare::nearest_name(
                    "patch",
                    &self.patch,
                    files.iter().map(|(_, file)| file.name.as_str()),
                ))
                .into());
            }
            many => {
                return Err(Failure::usage(format!(
                    "{} patches begin with {}",
                    many.len(),
                    self.patch
                ))
                .into());
            }
        };
        let mut paths = vec![layer.folder.join(&file.name).display().to_string()];
        if let Some(variant) = &layer.variant {
            paths.push(variant.join(&file.name).display().to_string());
        }
        let form = if self.json {
            // No field of a commit has a NUL in it.
            "--format=%H%x00%an%x00%ae%x00%aI%x00%s"
        } else {
            "--format=%h %ad %an: %s"
        };
        let mut arguments = vec!["log", "--date=short", form];
        if self.patch_text {
            arguments.push("--patch");
        }
        arguments.push("--");
        arguments.extend(paths.iter().map(String::as_str));
        let text = Git::worktree(&house.folder).text(&arguments)?;
        if self.json {
            let commits: Vec<_> = text
                .lines()
                .map(|line| {
                    let mut fields = line.split('\0');
                    let mut next = || fields.next().unwrap_or_default();
                    json!({
                        "commit": next(),
                        "author": next(),
                        "mail": next(),
                        "date": next(),
                        "subject": next(),
                    })
                })
                .collect();
            println!("{:#}", json!({ "file": file.name, "commits": commits }));
        } else if text.is_empty() {
            println!("{} was never committed", file.name);
        } else {
            println!("{text}");
        }
        Ok(Status::Good)
    }
}
