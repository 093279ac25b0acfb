// SPDX-License-Identifier: MIT OR Apache-2.0
//! A state of a branch, built: what `build`, `boot` and `stack` have in common.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;
use git2::Oid;
use patch_stack::branch::{self, Applied};
use patch_stack::build::{Kept, Key, Purpose, Yard, objects, packages};
use patch_stack::declare::Build;
use patch_stack::mail::Patch;
use patch_stack::mirror::Mirror;
use patch_stack::watch::Watch as _;
use serde_json::json;

use crate::cache::write_whole;
use crate::failure::{Failure, Status};
use crate::house::{Place, Shown};

/// What is built: a commit, and what it has to have compiled.
pub(crate) struct Subject {
    /// For people: a branch, a base, a patch.
    pub(crate) name: String,
    /// Its commit.
    pub(crate) commit: Oid,
    /// Its tree.
    pub(crate) tree: Oid,
    /// Source files that patches touch.
    pub(crate) touched: BTreeSet<String>,
}

/// A build that is there.
pub(crate) struct Built {
    /// Was it there before?
    pub(crate) cached: bool,
    /// What was noted of it.
    pub(crate) kept: Kept,
}

impl Built {
    /// Seconds that it took when it was done.
    pub(crate) fn seconds(&self) -> f64 {
        self.kept.record["seconds"].as_f64().unwrap_or_default()
    }

    /// How many texts the list `name` of the record has.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.kept.record[name].as_array().map_or(0, Vec::len)
    }
}

impl Subject {
    /// The whole branch.
    pub(crate) fn tip(place: &Place<'_>, mirror: &Mirror, applied: &Applied) -> Result<Self> {
        let patches = branch::patches(&applied.layers).map(|file| &file.patch);
        let mut subject = Self::base(place, mirror, applied)?;
        subject.name = place.branch.name.clone();
        if let Some(step) = applied.outcome.steps.last() {
            subject.commit = step.commit;
            subject.tree = step.tree;
        }
        subject.touched = objects::touched(patches);
        Ok(subject)
    }

    /// What the branch is on.
    pub(crate) fn base(place: &Place<'_>, mirror: &Mirror, applied: &Applied) -> Result<Self> {
        let start = applied.base.start;
        Ok(Self {
            name: place.part.base.clone(),
            commit: start,
            tree: mirror.repository()?.find_commit(start)?.tree_id(),
            touched: BTreeSet::new(),
        })
    }

    /// The branch up to the patch at `index`.
    pub(crate) fn step(name: &str, applied: &Applied, index: usize, patch: &Patch) -> Self {
        let step = &applied.outcome.steps[index];
        Self {
            name: name.to_owned(),
            commit: step.commit,
            tree: step.tree,
            touched: objects::touched([patch]),
        }
    }
}

/// A branch that is ready to be built: applied, and its commits written.
pub(crate) fn ready(place: &Place<'_>, watch: &Shown) -> Result<(Mirror, Applied)> {
    let mirror = place.mirror()?;
    let applied = {
        let _guard = mirror.lock(watch)?;
        let applied = place.applied()?;
        applied.require_applied()?;
        branch::keep(&mirror, &applied)?;
        applied
    };
    Ok((mirror, applied))
}

/// The builds of a branch.
pub(crate) fn builds<'p>(place: &Place<'p>) -> Result<Vec<&'p Build>> {
    if place.part.builds.is_empty() {
        return Err(Failure::usage(format!(
            "branches.toml declares no build of {}",
            place.title()
        ))
        .hint(format!(
            "`build = [\"NAME\"]` in [branch.{}.{}] names one of [project.{}.build]",
            place.branch.name, place.project.name, place.project.name
        ))
        .into());
    }
    Ok(place
        .part
        .builds
        .iter()
        .map(|name| &place.project.builds[name])
        .collect())
}

/// The build whose kernel is booted: the branch's own, or the project's of this name.
pub(crate) fn kernel<'p>(place: &Place<'p>, name: Option<&str>) -> Result<&'p Build> {
    let project = place.project;
    let build = match name {
        None => builds(place)?
            .into_iter()
            .find(|build| build.product.is_some()),
        Some(name) => {
            let build = project.builds.get(name).ok_or_else(|| {
                let known: Vec<_> = project.builds.keys().map(String::as_str).collect();
                Failure::usage(format!("{} has no build `{name}`", project.name))
                    .hint(format!("it has: {}", known.join(", ")))
            })?;
            build.product.is_some().then_some(build)
        }
    };
    build.filter(|_| project.name == "linux").ok_or_else(|| {
        Failure::usage(format!("no build of {} makes a kernel", place.title()))
            .hint("`branch boot` is for Linux branches whose build has a `product`")
            .into()
    })
}

/// The yard of a build of this branch. The packages that it needs are there.
pub(crate) fn yard<'y>(
    place: &Place<'y>,
    build: &'y Build,
    mirror: &'y Mirror,
    watch: &'y Shown,
) -> Result<Yard<'y>> {
    packages::require(&build.packages)?;
    Ok(Yard::enter(
        mirror,
        place.project,
        build,
        &place.part.base,
        &place.house.folder,
        watch,
    )?)
}

/// The key of a subject's build: it names the objects too, which are part of the answer.
pub(crate) fn key(
    place: &Place<'_>,
    build: &Build,
    subject: &Subject,
    purpose: Purpose,
    tools: &str,
) -> Result<Key> {
    let plain = Key::of(subject.tree, build, purpose, &place.house.folder, tools)?;
    let mut texts = vec![plain.text().to_owned()];
    for path in &subject.touched {
        let place = objects::compiled(build, &place.part.not_built, path);
        texts.push(format!("{place:?} {path}"));
    }
    Ok(Key::of_parts(texts.iter().map(String::as_bytes)))
}

/// Builds a subject, unless it was built before.
pub(crate) fn make(
    place: &Place<'_>,
    build: &Build,
    yard: &Yard<'_>,
    subject: &Subject,
    purpose: Purpose,
    watch: &Shown,
) -> Result<Built> {
    let key = key(place, build, subject, purpose, yard.tools())?;
    if let Some(kept) = yard.find(&key) {
        return Ok(Built { cached: true, kept });
    }
    watch.step(&format!("checking out {}", subject.name));
    yard.check_out(subject.commit)?;
    watch.done();
    yard.configure()?;
    watch.step(&format!("building {} ({})", subject.name, build.name));
    let took = yard.make(purpose)?;
    watch.done();
    let found = objects::look(
        build,
        &yard.source(),
        &yard.output(),
        &subject.touched,
        &place.part.not_built,
    )?;
    if !found.good() {
        return Err(Failure::new(
            Status::Failed,
            format!("the build went through, but {}", found.complaint()),
        )
        .hint("the configuration of the build in branches.toml leaves these files out")
        .into());
    }
    let mut files = Vec::new();
    if let (Purpose::Whole, Some(product)) = (purpose, &build.product) {
        let path = yard.output().join(product);
        files.push((path, product_name(product)));
    }
    let record = json!({
        "project": place.project.name,
        "build": build.name,
        "of": subject.name,
        "commit": subject.commit.to_string(),
        "tree": subject.tree.to_string(),
        "seconds": took.as_secs_f64(),
        "objects": found.made,
        "elsewhere": found.elsewhere,
        "nowhere": found.nowhere,
        "tools": yard.tools(),
    });
    let root = &place.house.root;
    let kept = Kept::keep(root, &place.project.name, &key, &files, record)?;
    if purpose == Purpose::Whole && subject.name == place.branch.name {
        let folder = kept.folder.to_string_lossy();
        write_whole(&last_file(place, build), folder.as_bytes())?;
    }
    Ok(Built {
        cached: false,
        kept,
    })
}

/// The product of a build that is there.
pub(crate) fn product(build: &Build, kept: &Kept) -> Option<PathBuf> {
    let product = build.product.as_deref()?;
    Some(kept.folder.join(product_name(product)))
}

/// The file that names the last whole build of a branch.
fn last_file(place: &Place<'_>, build: &Build) -> PathBuf {
    note_file(place, &build.name)
}

/// The file with what the last boot of a branch came to.
fn boot_file(place: &Place<'_>) -> PathBuf {
    note_file(place, "boot")
}

fn note_file(place: &Place<'_>, what: &str) -> PathBuf {
    let folder = place.house.root.join("built").join(&place.project.name);
    folder.join(format!("{}.{what}", place.branch.name))
}

/// What was built of the branch last, from whatever tip.
pub(crate) fn last(place: &Place<'_>, build: &Build) -> Option<Kept> {
    let folder = PathBuf::from(std::fs::read_to_string(last_file(place, build)).ok()?);
    let record = serde_json::from_slice(&std::fs::read(folder.join("record.json")).ok()?).ok()?;
    Some(Kept { folder, record })
}

fn product_name(product: &str) -> String {
    product.rsplit('/').next().unwrap_or(product).to_owned()
}

/// Notes what a boot of the tip came to.
pub(crate) fn note_boot(
    place: &Place<'_>,
    tip: &Subject,
    passed: usize,
    failed: usize,
    skipped: usize,
) -> Result<()> {
    let record = json!({
        "commit": tip.commit.to_string(),
        "tree": tip.tree.to_string(),
        "passed": passed,
        "failed": failed,
        "skipped": skipped,
    });
    write_whole(&boot_file(place), record.to_string().as_bytes())
}

/// The last build and the last boot of a branch whose tip has the tree `tree`, in words; without
/// looking at anything but what was noted. A commit that only says something else is built.
pub(crate) fn lately(place: &Place<'_>, tree: Oid) -> (Option<String>, Option<String>) {
    let tree = tree.to_string();
    let builds = place.part.builds.iter();
    let built = builds
        .filter_map(|name| last(place, &place.project.builds[name]))
        .next_back()
        .map(|kept| {
            if kept.record["tree"] == tree.as_str() {
                "built".to_owned()
            } else {
                "built before this tip".to_owned()
            }
        });
    let booted = std::fs::read(boot_file(place))
        .ok()
        .and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok())
        .map(|record| {
            if record["tree"] != tree.as_str() {
                return "booted before this tip".to_owned();
            }
            let mut words = format!("booted: {} passed", record["passed"]);
            for (name, word) in [("failed", "FAILED"), ("skipped", "skipped")] {
                if record[name] != 0 {
                    words.push_str(&format!(", {} {word}", record[name]));
                }
            }
            words
        });
    (built, booted)
}
