// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the patch files will be.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use git2::{Oid, Repository};

use super::matching::{self, Commit, Known};
use crate::apply::{Applier, How, Policy};
use crate::branch::{self, Layer, PatchFile};
use crate::failure::{Failure, Result};
use crate::format;
use crate::git;
use crate::hash;
use crate::mail::{self, Patch};
use crate::patch_id;
use crate::worktree::{Job, State};

/// What the patch files will be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The commit that the series start at.
    pub start: Oid,
    /// The commit at the branch's end.
    pub head: Oid,
    /// All files, in order.
    pub files: Vec<Planned>,
}

/// One patch file to be.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Its series.
    pub series: String,
    /// Its name.
    pub name: String,
    /// What is in it.
    pub patch: Patch,
    /// Its commit; none for a patch beyond those that were applied.
    pub commit: Option<Oid>,
    /// Does it keep its bytes?
    pub kept: bool,
}

/// One file that an export changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The file.
    pub path: PathBuf,
    /// What it will hold; none if it is to go.
    pub content: Option<Vec<u8>>,
    /// Is it new?
    pub is_new: bool,
}

impl Change {
    /// One word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match (&self.content, self.is_new) {
            (None, _) => "removed",
            (_, true) => "new",
            (_, false) => "changed",
        }
    }
}

impl Plan {
    pub(super) fn make(
        job: &Job<'_>,
        state: &State,
        head: Oid,
        series: Option<&str>,
    ) -> Result<Self> {
        let repository = job.mirror.repository()?;
        let start = job.base.start;
        let commits = commits(job, &repository, start, head)?;
        let all: Vec<(&Layer, &PatchFile)> = job
            .layers
            .iter()
            .flat_map(|layer| layer.patches.iter().map(move |file| (layer, file)))
            .collect();
        // Patches beyond `--upto` were not applied and stay as they are.
        let applied = state.upto.unwrap_or(all.len()).min(all.len());
        let known: Vec<_> = all[..applied]
            .iter()
            .map(|(_, file)| Known {
                commit: state
                    .files
                    .iter()
                    .find(|known| known.name == file.name)
                    .and_then(|known| Oid::from_str(known.commit.as_deref()?).ok()),
                subject: file.patch.subject.clone(),
                patch_id: patch_id::to_compare(&file.patch),
            })
            .collect();
        let found = matching::assign(&repository, &commits, &known)?;
        let mails = format::mails(job.mirror, start, head, commits.len())?;
        let options = mail::Options {
            keep_cr: job.project.keep_cr,
        };

        let mut names: HashSet<String> = all.iter().map(|(_, file)| file.name.clone()).collect();
        let mut current = series
            .map(str::to_owned)
            .or_else(|| own_series(job.layers).map(|layer| layer.name.clone()));
        let mut files = Vec::with_capacity(all.len());
        let mut applier = Applier::new(&repository, strict())?;
        let mut parent = start;
        for ((commit, found), mail) in commits.iter().zip(&found).zip(mails) {
            let planned = match found {
                Some(index) => {
                    let (layer, file) = all[*index];
                    if series.is_none() || layer.external {
                        current = Some(layer.name.clone());
                    }
                    let kept = is_kept(&repository, &mut applier, parent, file, commit.id)?;
                    if layer.external && !kept {
                        return Err(Failure::refused(format!(
                            "the commit \"{}\" changes {}, and the series {} is external",
                            commit.subject, file.name, layer.name
                        ))
                        .hint("put the change into a commit of our own on top of it"));
                    }
                    let patch = if kept {
                        file.patch.clone()
                    } else {
                        // No commit has what stands below the message.
                        let fresh = parse(&mail, &options, &file.name)?;
                        let notes = mail::joined(&file.patch.notes, &fresh.notes);
                        let noted = mail::with_notes(&mail, &notes);
                        parse(&noted, &options, &file.name)?
                    };
                    Planned {
                        series: layer.name.clone(),
                        name: file.name.clone(),
                        patch,
                        commit: Some(commit.id),
                        kept,
                    }
                }
                None => {
                    let name = new_name(job, commit.id, &mut names)?;
                    let patch = parse(&mail, &options, &name)?;
                    Planned {
                        series: current.clone().ok_or_else(|| {
                            Failure::refused(format!(
                                "the commit \"{}\" is new, and the branch has no series of our own",
                                commit.subject
                            ))
                        })?,
                        name,
                        patch,
                        commit: Some(commit.id),
                        kept: false,
                    }
                }
            };
            files.push(planned);
            parent = commit.id;
        }
        for (layer, file) in &all[applied..] {
            files.push(Planned {
                series: layer.name.clone(),
                name: file.name.clone(),
                patch: file.patch.clone(),
                commit: None,
                kept: true,
            });
        }
        let plan = Self { start, head, files };
        plan.require_layered(job)?;
        Ok(plan)
    }

    /// How many of the files are of commits.
    pub(super) fn applied_count(&self) -> usize {
        self.files
            .iter()
            .filter(|file| file.commit.is_some())
            .count()
    }

    /// Fails if commits of one layer stand among those of another, or an external one is not
    /// whole.
    fn require_layered(&self, job: &Job<'_>) -> Result<()> {
        let place = |name: &str| job.layers.iter().position(|layer| layer.name == name);
        for pair in self.files.windows(2) {
            if place(&pair[0].series) > place(&pair[1].series) {
                return Err(Failure::refused(format!(
                    "the commit \"{}\" of the series {} stands on one of the series {}",
                    pair[1].patch.subject, pair[1].series, pair[0].series
                ))
                .hint("order the commits by series: `git rebase -i` in the worktree"));
            }
        }
        for layer in job.layers.iter().filter(|layer| layer.external) {
            let names: Vec<_> = self
                .files
                .iter()
                .filter(|file| file.series == layer.name)
                .map(|file| &file.name)
                .collect();
            if !names
                .iter()
                .copied()
                .eq(layer.patches.iter().map(|file| &file.name))
            {
                return Err(Failure::refused(format!(
                    "the series {} is external, and its commits are not all there in its order",
                    layer.name
                )));
            }
        }
        Ok(())
    }

    /// Applies the plan with the engine that did not write it: exactly, to the same trees.
    pub(super) fn prove(&self, job: &Job<'_>, state: &State) -> Result<()> {
        let repository = job.mirror.repository()?;
        let mut applier = Applier::new(&repository, strict())?;
        let here = self.applied_count();
        let outcome = applier.series(
            self.start,
            self.files[..here].iter().map(|file| &file.patch),
        )?;
        if let Some(stop) = &outcome.stopped {
            return Err(Failure::failed(format!(
                "{} as it would be written does not apply: {}; nothing was written",
                self.files[stop.index].name, stop.reason
            )));
        }
        for (step, file) in outcome.steps.iter().zip(&self.files) {
            let wanted = file
                .commit
                .map(|id| repository.find_commit(id).map(|commit| commit.tree_id()))
                .transpose()?;
            if Some(step.tree) != wanted || step.how != How::Exact {
                return Err(Failure::failed(format!(
                    "{} as it would be written makes another tree than its commit; \
                     nothing was written",
                    file.name
                )));
            }
        }
        // The patches beyond `--upto` have to apply to what is below them now.
        if state.upto.is_some() {
            let tip = outcome.steps.last().map_or(self.start, |step| step.commit);
            let rest = applier.series(tip, self.files[here..].iter().map(|file| &file.patch))?;
            if let Some(stop) = rest.stopped {
                return Err(Failure::new(
                    crate::failure::Kind::Conflict,
                    format!(
                        "{}, which was not applied here, no longer applies: {}",
                        self.files[here + stop.index].name,
                        stop.reason
                    ),
                )
                .hint("`branch export` only writes series that apply; edit the whole branch"));
            }
        }
        Ok(())
    }

    /// The layers as they will be.
    pub(super) fn layers(&self, job: &Job<'_>) -> Vec<Layer> {
        job.layers
            .iter()
            .map(|layer| {
                let mut fresh = layer.clone();
                fresh.patches = self
                    .files
                    .iter()
                    .filter(|file| file.series == layer.name)
                    .map(|file| PatchFile {
                        name: file.name.clone(),
                        path: layer.folder.join(&file.name),
                        varied: false,
                        patch: file.patch.clone(),
                    })
                    .collect();
                fresh.sha256 = branch::digest(&fresh.patches);
                fresh
            })
            .collect()
    }

    /// What an export changes on disk: patch files first, then order files, then files that go.
    ///
    /// # Errors
    /// An order file that can't be read.
    pub fn changes(&self, job: &Job<'_>) -> Result<Vec<Change>> {
        let mut wanted: BTreeMap<PathBuf, Option<Vec<u8>>> = BTreeMap::new();
        let mut orders = Vec::new();
        for layer in job.layers.iter().filter(|layer| !layer.external) {
            let planned: Vec<_> = self
                .files
                .iter()
                .filter(|file| file.series == layer.name)
                .collect();
            match &layer.variant {
                None => {
                    for file in &planned {
                        wanted.insert(
                            layer.folder.join(&file.name),
                            Some(file.patch.bytes.clone()),
                        );
                    }
                    for old in &layer.patches {
                        if !planned.iter().any(|file| file.name == old.name) {
                            wanted.insert(layer.folder.join(&old.name), None);
                            for variant in shared_order(job, layer) {
                                wanted.insert(variant.join(&old.name), None);
                            }
                        }
                    }
                    orders.push((layer.folder.join("series"), order(&layer.folder, &planned)));
                }
                Some(variant) => {
                    self.varied(layer, variant, &planned, &mut wanted, &mut orders)?;
                }
            }
        }
        let mut changes: Vec<_> = wanted
            .into_iter()
            .chain(orders.into_iter().map(|(path, text)| (path, Some(text))))
            .filter_map(|(path, content)| {
                let old = std::fs::read(&path).ok();
                (old != content).then_some(Change {
                    is_new: old.is_none(),
                    path,
                    content,
                })
            })
            .collect();
        changes.sort_by_key(|change| change.content.is_none());
        Ok(changes)
    }

    /// A variant holds what differs from the series, and an order of its own only if that differs.
    fn varied(
        &self,
        layer: &Layer,
        variant: &Path,
        planned: &[&Planned],
        wanted: &mut BTreeMap<PathBuf, Option<Vec<u8>>>,
        orders: &mut Vec<(PathBuf, Vec<u8>)>,
    ) -> Result<()> {
        for file in planned {
            let main = std::fs::read(layer.folder.join(&file.name)).ok();
            let same = main.as_ref().is_some_and(|main| *main == file.patch.bytes);
            wanted.insert(
                variant.join(&file.name),
                (!same).then(|| file.patch.bytes.clone()),
            );
        }
        for old in layer.patches.iter().filter(|old| old.varied) {
            if !planned.iter().any(|file| file.name == old.name) {
                wanted.insert(variant.join(&old.name), None);
            }
        }
        let main = crate::series::order(&layer.folder)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let own = variant.join("series");
        if main.iter().eq(planned.iter().map(|file| &file.name)) {
            wanted.insert(own, None);
        } else {
            orders.push((own, order(variant, planned)));
        }
        Ok(())
    }
}

/// The folders of the layer's variants that have no order of their own: what goes from the series
/// goes from them.
fn shared_order(job: &Job<'_>, layer: &Layer) -> Vec<PathBuf> {
    let Some(entry) = job.project.series.get(&layer.name) else {
        return Vec::new();
    };
    let folders = entry
        .variants
        .iter()
        .map(|variant| layer.folder.join(variant.folder()));
    folders
        .filter(|folder| !folder.join("series").exists())
        .collect()
}

/// The `series` file of `folder` with these files: remarks at its top stay.
fn order(folder: &Path, planned: &[&Planned]) -> Vec<u8> {
    let names: Vec<_> = planned.iter().map(|file| file.name.clone()).collect();
    let path = folder.join("series");
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    if crate::series::order(folder).is_ok_and(|order| order == names) {
        return old.into_bytes();
    }
    let mut text = String::new();
    for line in old.lines().take_while(|line| line.starts_with('#')) {
        text.push_str(line);
        text.push('\n');
    }
    for name in names {
        text.push_str(&name);
        text.push('\n');
    }
    text.into_bytes()
}

fn own_series(layers: &[Layer]) -> Option<&Layer> {
    layers.iter().find(|layer| !layer.external)
}

fn strict() -> Policy {
    Policy {
        offsets: false,
        three_way: false,
        committer: git::committer(),
    }
}

fn parse(bytes: &[u8], options: &mail::Options, name: &str) -> Result<Patch> {
    if mail::loses_line_ends(bytes, options) {
        return Err(mail::line_ends_lost(name));
    }
    Patch::parse(bytes, options)
        .map_err(|error| Failure::failed(format!("{name} as git writes it can't be read: {error}")))
}

/// The commits from `start` to `head`, the oldest first.
fn commits(job: &Job<'_>, repository: &Repository, start: Oid, head: Oid) -> Result<Vec<Commit>> {
    if start != head && !repository.graph_descendant_of(head, start)? {
        return Err(Failure::refused(format!(
            "the branch {} does not stand on its base {}",
            job.branch, job.base.name
        ))
        .hint("`branch rebase --onto` moves a branch; a rebase by hand onto something else can't be exported"));
    }
    let mut walk = repository.revwalk()?;
    walk.set_sorting(git2::Sort::TOPOLOGICAL | git2::Sort::REVERSE)?;
    walk.push(head)?;
    walk.hide(start)?;
    let mut commits = Vec::new();
    for id in walk {
        let commit = repository.find_commit(id?)?;
        let subject = subject_of(&commit);
        if commit.parent_count() != 1 {
            return Err(Failure::refused(format!(
                "the commit \"{subject}\" is a merge, and a series has none"
            ))
            .hint("`git rebase` in the worktree makes the history straight"));
        }
        if commit.parent(0)?.tree_id() == commit.tree_id() {
            return Err(Failure::refused(format!(
                "the commit \"{subject}\" changes nothing, and a patch file can't hold that"
            ))
            .hint("drop it: `git rebase -i` in the worktree"));
        }
        if subject.is_empty() {
            return Err(Failure::refused(format!(
                "the commit {} has no message",
                commit.id()
            )));
        }
        if !is_text(&commit) {
            return Err(Failure::refused(format!(
                "the author or the message of the commit \"{subject}\" is not UTF-8, and the commit names no encoding"
            ))
            .hint("`git commit --amend` with --author or another message in the worktree"));
        }
        if matches!(
            subject.split(' ').next(),
            Some("fixup!" | "squash!" | "amend!")
        ) {
            return Err(
                Failure::refused(format!("the commit \"{subject}\" waits to be squashed"))
                    .hint("`git rebase -i --autosquash` in the worktree"),
            );
        }
        commits.push(Commit {
            id: commit.id(),
            subject,
        });
    }
    Ok(commits)
}

/// Is it known what the letters of a commit are? git writes what it has for UTF-8 then.
fn is_text(commit: &git2::Commit<'_>) -> bool {
    let author = commit.author();
    let texts = [
        author.name_bytes(),
        author.email_bytes(),
        commit.message_raw_bytes(),
    ];
    commit.message_encoding().is_ok_and(|name| name.is_some())
        || texts.iter().all(|text| std::str::from_utf8(text).is_ok())
}

/// The first paragraph of a commit's message on one line.
fn subject_of(commit: &git2::Commit<'_>) -> String {
    let message = String::from_utf8_lossy(commit.message_raw_bytes()).into_owned();
    message
        .trim_start()
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Does the file, applied exactly to `parent`, give `commit`: its tree, author, date and message?
fn is_kept(
    repository: &Repository,
    applier: &mut Applier,
    parent: Oid,
    file: &PatchFile,
    commit: Oid,
) -> Result<bool> {
    let commit = repository.find_commit(commit)?;
    let outcome = applier.series(parent, [&file.patch])?;
    let Some(step) = outcome.steps.first() else {
        return Ok(false);
    };
    if step.commit == commit.id() {
        return Ok(step.how == How::Exact);
    }
    let author = commit.author();
    let message = file.patch.message.as_bytes();
    Ok(step.how == How::Exact
        && step.tree == commit.tree_id()
        && commit.message_raw_bytes().trim_ascii_end() == message.trim_ascii_end()
        && [author.name_bytes(), b" <", author.email_bytes(), b">"].concat()
            == mail::latin1_where_invalid(&file.patch.author.ident()).as_bytes()
        && author.when() == file.patch.date)
}

/// A file name for a new commit: its subject as `git format-patch` would write it, without a
/// number, since `series` has the order.
fn new_name(job: &Job<'_>, commit: Oid, names: &mut HashSet<String>) -> Result<String> {
    let subject =
        job.mirror
            .git()
            .text(&["show", "--no-patch", "--format=%f", &commit.to_string()])?;
    let stem: String = subject.chars().take(60).collect();
    let stem = stem.trim_matches(['-', '.']).to_owned();
    let stem = if stem.is_empty() {
        hash::of_parts([commit.as_bytes()])[..12].to_owned()
    } else {
        stem
    };
    let mut name = format!("{stem}.patch");
    let mut number = 2;
    while !names.insert(name.clone()) {
        name = format!("{stem}-{number}.patch");
        number += 1;
    }
    Ok(name)
}
