// SPDX-License-Identifier: MIT OR Apache-2.0
//! A branch as its files make it: a base, then layers of patch files, applied in memory.
//!
//! What was applied before, to the same base and from the same bytes, is remembered; so a look at
//! all branches costs no more than reading their files.

mod memory;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use git2::Oid;

use crate::apply::{Applier, How, Outcome, Policy};
use crate::declare::{Part, Project, SeriesEntry};
use crate::failure::{At as _, Failure, Kind, Result};
use crate::git;
use crate::hash;
use crate::mail::{self, Patch};
use crate::mirror::{BaseState, Mirror};
use crate::series;

pub use self::memory::Remembered;

/// A series of a branch, as its files are now.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The series' name.
    pub name: String,
    /// Is it taken in as it was mailed, and never written?
    pub external: bool,
    /// Its folder.
    pub folder: PathBuf,
    /// The folder of the variant for this base, if there is one.
    pub variant: Option<PathBuf>,
    /// SHA-256 over its order and its files.
    pub sha256: String,
    /// Its patches, in order.
    pub patches: Vec<PatchFile>,
}

/// A patch file.
#[derive(Debug, Clone)]
pub struct PatchFile {
    /// Its name, which is the patch's identity across variants and versions.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Is it the variant's?
    pub varied: bool,
    /// What is in it.
    pub patch: Patch,
}

/// How a branch stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Every patch applies at the lines that it names.
    Clean,
    /// Patches apply, but not all at the lines that they name: an export would mend them.
    NeedsRefresh(Vec<Moved>),
    /// A patch does not apply.
    Conflict {
        /// Index of the patch over all layers.
        index: usize,
        /// Why.
        reason: String,
    },
}

/// A patch that applies, but not at the lines that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Index of the patch over all layers.
    pub index: usize,
    /// How it was applied.
    pub how: How,
}

/// A branch, applied in memory.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The base.
    pub base: BaseState,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
    /// What became of the patches.
    pub outcome: Remembered,
}

/// Reads the layers of `part` for the base `base`. `folder` is that of `branches.toml`.
///
/// # Errors
/// A folder, an order file or a patch that can't be read; two patch files of one name, which is a
/// patch's identity in a branch.
pub fn read_layers(
    folder: &Path,
    project: &Project,
    part: &Part,
    base: &str,
) -> Result<Vec<Layer>> {
    let layers: Vec<_> = part
        .series
        .iter()
        .map(|name| Layer::read(folder, project, &project.series[name], base))
        .collect::<Result<_>>()?;
    let mut known = HashMap::new();
    for file in patches(&layers) {
        if let Some(other) = known.insert(&file.name, &file.path) {
            return Err(Failure::usage(format!(
                "{} and {} have the same name, and stand in one branch, where a patch is known by it",
                other.display(),
                file.path.display()
            ))
            .hint("rename one of them, in its `series` file as well"));
        }
    }
    Ok(layers)
}

impl Layer {
    fn read(folder: &Path, project: &Project, entry: &SeriesEntry, base: &str) -> Result<Self> {
        let options = mail::Options {
            keep_cr: project.keep_cr,
        };
        let home = folder.join(&project.patches).join(&entry.name);
        let variant = entry
            .variant(base)
            .map(|variant| home.join(variant.folder()));
        // A variant may have an order of its own; else it replaces files of the series'.
        let ordered = variant
            .as_ref()
            .filter(|folder| folder.join("series").exists());
        let order = series::order(ordered.unwrap_or(&home)).map_err(unordered)?;
        require_variants_listed(&home, entry)?;
        let mut patches: Vec<PatchFile> = Vec::with_capacity(order.len());
        for name in order {
            let varied = variant
                .as_ref()
                .map(|folder| folder.join(&name))
                .filter(|path| path.exists());
            let is_varied = varied.is_some();
            let path = varied.unwrap_or_else(|| home.join(&name));
            let bytes = std::fs::read(&path).at("reading", &path)?;
            let patch = Patch::parse(&bytes, &options)
                .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
            if mail::loses_line_ends(&bytes, &options) {
                return Err(mail::line_ends_lost(&path.display().to_string()));
            }
            patches.push(PatchFile {
                name,
                path,
                varied: is_varied,
                patch,
            });
        }
        let sha256 = digest(&patches);
        Ok(Self {
            name: entry.name.clone(),
            external: entry.message_id.is_some(),
            folder: home,
            variant,
            sha256,
            patches,
        })
    }

    /// Files beside the patches that a tool or an editor has left.
    #[must_use]
    pub fn stray_files(&self) -> Vec<PathBuf> {
        let mut strays = Vec::new();
        for folder in std::iter::once(&self.folder).chain(&self.variant) {
            let Ok(entries) = std::fs::read_dir(folder) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let by_hand = [".orig", ".rej", "~"].iter().any(|end| name.ends_with(end));
                if by_hand {
                    strays.push(entry.path());
                }
            }
        }
        strays.sort();
        strays
    }
}

fn unordered(error: series::Error) -> Failure {
    Failure::usage(error.to_string())
}

/// Fails if a variant, for whatever base, has a patch file that no order names, or is not declared:
/// it would be forgotten.
fn require_variants_listed(home: &Path, entry: &SeriesEntry) -> Result<()> {
    for found in std::fs::read_dir(home).at("reading", home)? {
        let path = found.at("reading", home)?.path();
        let name = path.file_name().unwrap_or_default();
        let declared = || entry.variants.iter().any(|known| *known.folder() == *name);
        if name.as_encoded_bytes().starts_with(b"variant-") && path.is_dir() && !declared() {
            return Err(Failure::usage(format!(
                "{} is of a variant that branches.toml does not declare",
                path.display()
            ))
            .hint("declare it, or remove the folder"));
        }
    }
    for variant in &entry.variants {
        let folder = home.join(variant.folder());
        if !folder.exists() {
            continue;
        }
        let own = folder.join("series").exists();
        let order = series::order(if own { &folder } else { home }).map_err(unordered)?;
        series::require_listed(&folder, &order).map_err(unordered)?;
    }
    Ok(())
}

/// The SHA-256 over the order and the bytes of `patches`.
pub(crate) fn digest(patches: &[PatchFile]) -> String {
    hash::of_parts(
        patches
            .iter()
            .flat_map(|file| [file.name.as_bytes(), file.patch.bytes.as_slice()]),
    )
}

/// All patches of the layers, in order.
pub fn patches(layers: &[Layer]) -> impl Iterator<Item = &PatchFile> {
    layers.iter().flat_map(|layer| &layer.patches)
}

/// The policy of a look: what applies is applied, however it has moved, and is told.
pub(crate) fn tolerant() -> Policy {
    Policy {
        offsets: true,
        three_way: true,
        committer: git::committer(),
    }
}

/// Applies the layers to the base in memory, or remembers what came of it.
///
/// # Errors
/// The mirror can't be read.
pub fn apply(mirror: &Mirror, base: BaseState, layers: Vec<Layer>) -> Result<Applied> {
    let key = memory::key(base.start, patches(&layers).map(|file| &file.patch));
    if let Some(outcome) = memory::recall(mirror, &key)? {
        return Ok(Applied {
            base,
            layers,
            outcome,
        });
    }
    let applied = apply_anew(mirror, base, layers)?;
    memory::keep(mirror, &key, &applied.outcome)?;
    Ok(applied)
}

/// Applies the layers to the base in memory, whatever is remembered.
///
/// # Errors
/// The mirror can't be read.
pub fn apply_anew(mirror: &Mirror, base: BaseState, layers: Vec<Layer>) -> Result<Applied> {
    let mut applier = Applier::new(&mirror.repository()?, tolerant())?;
    let outcome = applier.series(base.start, patches(&layers).map(|file| &file.patch))?;
    Ok(Applied {
        base,
        layers,
        outcome: Remembered::of(&outcome),
    })
}

/// Applies `patches` to the commit `start` and writes the objects, up to the first patch that does
/// not apply. No ref moves.
pub(crate) fn make_of<'p>(
    mirror: &Mirror,
    start: Oid,
    patches: impl IntoIterator<Item = &'p Patch>,
) -> Result<Outcome> {
    let mut applier = Applier::new(&mirror.repository()?, tolerant())?;
    let outcome = applier.series(start, patches)?;
    if let Some(last) = outcome.steps.last() {
        applier.keep(last.commit)?;
    }
    Ok(outcome)
}

/// Writes the commits of a branch that was applied in memory, if they are not there yet. No ref
/// moves.
///
/// # Errors
/// The mirror can't be read or written.
pub fn keep(mirror: &Mirror, applied: &Applied) -> Result<()> {
    let tip = applied.tip();
    if mirror.repository()?.find_commit(tip).is_ok() {
        return Ok(());
    }
    let upto = applied.outcome.steps.len();
    let files = patches(&applied.layers).take(upto);
    make_of(mirror, applied.base.start, files.map(|file| &file.patch))?;
    Ok(())
}

impl Applied {
    /// How the branch stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        if let Some((index, reason)) = &self.outcome.stopped {
            return Standing::Conflict {
                index: *index,
                reason: reason.clone(),
            };
        }
        let moved: Vec<_> = self
            .outcome
            .steps
            .iter()
            .enumerate()
            .filter(|(_, step)| step.how != How::Exact)
            .map(|(index, step)| Moved {
                index,
                how: step.how,
            })
            .collect();
        if moved.is_empty() {
            Standing::Clean
        } else {
            Standing::NeedsRefresh(moved)
        }
    }

    /// The commit at the end of what applies.
    #[must_use]
    pub fn tip(&self) -> Oid {
        self.outcome
            .steps
            .last()
            .map_or(self.base.start, |step| step.commit)
    }

    /// How many patches there are.
    #[must_use]
    pub fn count(&self) -> usize {
        patches(&self.layers).count()
    }

    /// The patch file at `index` over all layers.
    #[must_use]
    pub fn patch(&self, index: usize) -> Option<&PatchFile> {
        patches(&self.layers).nth(index)
    }

    /// Fails if not every patch applies.
    ///
    /// # Errors
    /// [`Kind::Conflict`] with the patch's name and the reason.
    pub fn require_applied(&self) -> Result<()> {
        match self.standing() {
            Standing::Conflict { index, reason } => Err(Failure::new(
                Kind::Conflict,
                format!(
                    "patch {} of {}, {}: {reason}",
                    index + 1,
                    self.count(),
                    self.patch(index).map_or("", |patch| patch.name.as_str())
                ),
            )),
            _ => Ok(()),
        }
    }
}
