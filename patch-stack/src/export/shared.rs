// SPDX-License-Identifier: MIT OR Apache-2.0
//! The other branches of a series that an export changes. A series is one text for all of its
//! bases but those with a variant, so what is right for one branch may stop another one. They are
//! rehearsed before anything is written.

use std::fmt;
use std::path::Path;

use super::{Change, Ground};
use crate::branch::{self, Applied, Layer, Standing};
use crate::declare::{Branch, Part};
use crate::failure::{At as _, Failure, Result};
use crate::mirror::BaseState;
use crate::worktree::Job;

/// Another branch with a series that an export changes. `Display` says it in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// The branch.
    pub branch: String,
    /// Its base.
    pub base: String,
    /// How it will stand; none if its base is not in the mirror.
    pub standing: Option<Standing>,
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { branch, base, .. } = self;
        match &self.standing {
            None => write!(
                f,
                "{branch} has changed as well; {base} is not in the mirror, so nobody knows whether it applies"
            ),
            Some(Standing::Clean) => write!(
                f,
                "{branch} has changed as well, and applies to {base}; `branch lock` pins it"
            ),
            Some(Standing::NeedsRefresh(_)) => {
                write!(
                    f,
                    "{branch} has changed as well, and needs a refresh on {base}"
                )
            }
            Some(Standing::Conflict { reason, .. }) => write!(
                f,
                "{branch} has changed as well, and does not apply to {base}: {reason}"
            ),
        }
    }
}

/// The other branches that `changes` change.
///
/// # Errors
/// [`Kind::Refused`](crate::failure::Kind::Refused) if one of them, on another base, would stand
/// worse than before, and no variant says that the two bases differ: the two branches would undo
/// each other's exports for ever.
pub fn shared(job: &Job<'_>, ground: &Ground<'_>, changes: &[Change]) -> Result<Vec<Shared>> {
    let mut found = Vec::new();
    for branch in ground.declared.branches.values() {
        if branch.name == job.branch {
            continue;
        }
        if let Some(part) = branch.parts.get(&job.project.name)
            && is_touched(job, part, changes)
        {
            found.extend(rehearse(job, ground, branch, part, changes)?);
        }
    }
    Ok(found)
}

/// May one of the changes be a file of `part`'s?
fn is_touched(job: &Job<'_>, part: &Part, changes: &[Change]) -> bool {
    job.layers
        .iter()
        .filter(|layer| part.series.contains(&layer.name))
        .any(|layer| {
            changes
                .iter()
                .any(|change| change.path.starts_with(&layer.folder))
        })
}

fn rehearse(
    job: &Job<'_>,
    ground: &Ground<'_>,
    branch: &Branch,
    part: &Part,
    changes: &[Change],
) -> Result<Option<Shared>> {
    // What can't be read now is not this export's fault; `branch status` tells.
    let Ok(old) = branch::read_layers(ground.folder, job.project, part, &part.base) else {
        return Ok(None);
    };
    let new = changed_layers(job, ground, part, changes)
        .map_err(|error| error.context(format!("the branch {} after this export", branch.name)))?;
    let digests =
        |layers: &[Layer]| -> Vec<_> { layers.iter().map(|layer| layer.sha256.clone()).collect() };
    if digests(&old) == digests(&new) {
        return Ok(None);
    }
    let shared = |standing| Shared {
        branch: branch.name.clone(),
        base: part.base.clone(),
        standing,
    };
    let Some(base) = job.mirror.find_base(&part.base)? else {
        return Ok(Some(shared(None)));
    };
    let before = apply(job, &base, old)?.standing();
    let after = apply(job, &base, new)?;
    let standing = after.standing();
    // The first of the shared series that no variant keeps apart.
    let one_text = part.series.iter().find(|name| {
        let entry = &job.project.series[*name];
        job.layers.iter().any(|layer| layer.name == **name)
            && entry.variant(&part.base).is_none()
            && entry.variant(&job.base.name).is_none()
    });
    if let Some(series) = one_text
        && part.base != job.base.name
        && badness(&standing) > badness(&before)
    {
        let what = match &standing {
            Standing::Conflict { index, reason } => format!(
                "would no longer apply to {}: {}: {reason}",
                part.base,
                after.patch(*index).map_or("", |patch| patch.name.as_str())
            ),
            _ => format!("would need a refresh on {}", part.base),
        };
        return Err(Failure::refused(format!(
            "{} has the series {series} as well, and {what}",
            branch.name
        ))
        .hint(format!(
            "declare a variant of {series} for one of the two bases, like \
             [project.{}.series.{series}.variant.NAME] with bases = [\"{}\"], and export again",
            job.project.name, job.base.name
        )));
    }
    Ok(Some(shared(Some(standing))))
}

fn apply(job: &Job<'_>, base: &BaseState, layers: Vec<Layer>) -> Result<Applied> {
    branch::apply(job.mirror, base.clone(), layers)
}

fn badness(standing: &Standing) -> u8 {
    match standing {
        Standing::Clean => 0,
        Standing::NeedsRefresh(_) => 1,
        Standing::Conflict { .. } => 2,
    }
}

/// The layers of `part` as they will be: read from a copy of its series with the changes in it.
fn changed_layers(
    job: &Job<'_>,
    ground: &Ground<'_>,
    part: &Part,
    changes: &[Change],
) -> Result<Vec<Layer>> {
    let scratch = job
        .mirror
        .root()
        .join(format!("rehearsal-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&scratch);
    let layers = (|| {
        for series in &part.series {
            let folder = Path::new(&job.project.patches).join(series);
            copy(&ground.folder.join(&folder), &scratch.join(&folder))?;
        }
        for change in changes {
            let Ok(place) = change.path.strip_prefix(ground.folder) else {
                continue;
            };
            let path = scratch.join(place);
            match &change.content {
                Some(content) => {
                    let folder = path.parent().unwrap_or(&scratch);
                    std::fs::create_dir_all(folder).at("making", folder)?;
                    std::fs::write(&path, content).at("writing", &path)?;
                }
                None if path.exists() => {
                    std::fs::remove_file(&path).at("removing", &path)?;
                }
                None => {}
            }
        }
        branch::read_layers(&scratch, job.project, part, &part.base)
    })();
    let _ = std::fs::remove_dir_all(&scratch);
    layers
}

/// Copies a folder with its files and its variants.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).at("making", to)?;
    for entry in std::fs::read_dir(from).at("reading", from)? {
        let path = entry.at("reading", from)?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            std::fs::copy(&path, &target).at("copying", &path)?;
        }
    }
    Ok(())
}
