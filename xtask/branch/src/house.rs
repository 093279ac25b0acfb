// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where everything is: the declaration and the lock in the repository, mirrors and worktrees in
//! the cache folder, outside the tree.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use patch_stack::begin;
use patch_stack::branch::{self, Applied, Layer};
use patch_stack::declare::{Branch, Declaration, Part, Project};
use patch_stack::export::Ground;
use patch_stack::lock::Lock;
use patch_stack::mirror::{Archive, BaseState, Guard, Mirror};
use patch_stack::watch::Watch;
use patch_stack::worktree::{self, Desk, Job, Recovered, State};

use crate::cache::Cache;
use crate::failure::{Failure, Status};
use crate::progress::Step;
use crate::signals;

/// What a command works on.
pub(crate) struct House {
    /// The folder of `branches.toml`.
    pub(crate) folder: PathBuf,
    /// The cache's folder for branches.
    pub(crate) root: PathBuf,
    /// What is declared.
    pub(crate) declared: Declaration,
    /// What is pinned.
    pub(crate) lock: Lock,
    /// Is that of interest? It is not where all of it is written anew.
    reads_lock: bool,
}

/// A branch's part in one project, with the declaration around it.
pub(crate) struct Place<'h> {
    pub(crate) house: &'h House,
    pub(crate) branch: &'h Branch,
    pub(crate) project: &'h Project,
    pub(crate) part: &'h Part,
}

impl House {
    /// Opens the house in `folder`, or in the workspace.
    pub(crate) fn open(folder: Option<&Path>) -> Result<Self> {
        Self::open_with(folder, true)
    }

    /// The same with nothing pinned: `branches.lock`, which may be damaged, is not read.
    pub(crate) fn open_without_lock(folder: Option<&Path>) -> Result<Self> {
        Self::open_with(folder, false)
    }

    fn open_with(folder: Option<&Path>, reads_lock: bool) -> Result<Self> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .expect("this crate lies two folders below the workspace");
        let folder = std::path::absolute(folder.unwrap_or(workspace))?;
        let file = folder.join("branches.toml");
        if !file.exists() {
            return Err(Failure::usage(format!("there is no {}", file.display()))
                .hint("docs/src/branches/reference.md says what it declares")
                .into());
        }
        let root = Cache::open()?.folder("branches")?;
        // Before anything that they write is read.
        for (project, branch) in noted(&root, "journal") {
            let mirror = Mirror::open(&root, &project)?;
            if worktree::is_half_written(&mirror, &branch, &folder) {
                finish_interrupted(&folder, &mirror, &branch)?;
            }
        }
        let house = Self::read(folder, root, reads_lock)?;
        for (project, branch) in noted(&house.root, "state") {
            let declared = house.declared.branches.get(&branch);
            if !declared.is_some_and(|branch| branch.parts.contains_key(&project)) {
                continue;
            }
            let mirror = house.mirror(&project)?;
            // Whatever is wrong with it is told where that branch is asked for.
            if worktree::require_ours(&mirror, &branch, &house.folder).is_ok()
                && worktree::is_interrupted(&mirror, &branch)?
            {
                finish_interrupted(&house.folder, &mirror, &branch)?;
            }
        }
        Ok(house)
    }

    fn read(folder: PathBuf, root: PathBuf, reads_lock: bool) -> Result<Self> {
        let file = folder.join("branches.toml");
        let declared = Declaration::read(&file).map_err(patch_stack::failure::Failure::from)?;
        let lock = if reads_lock {
            Lock::read(&folder.join("branches.lock"))?
        } else {
            Lock::default()
        };
        Ok(Self {
            folder,
            root,
            declared,
            lock,
            reads_lock,
        })
    }

    /// The house as it is now, while no other run writes `branches.toml` or `branches.lock`: another
    /// may have, since this one read them. Take it before the guard of a mirror.
    pub(crate) fn alone(&self, watch: &dyn Watch) -> Result<(Self, Guard)> {
        let guard = Guard::of_declaration(&self.folder, watch)?;
        let fresh = Self::read(self.folder.clone(), self.root.clone(), self.reads_lock)?;
        Ok((fresh, guard))
    }

    /// The file `branches.lock`.
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.folder.join("branches.lock")
    }

    /// The mirror of `project`.
    pub(crate) fn mirror(&self, project: &str) -> Result<Mirror> {
        Ok(Mirror::open(&self.root, project)?)
    }

    /// Begins something of `branch` in `project`, while no other run may.
    pub(crate) fn begin<T>(
        &self,
        project: &str,
        branch: &str,
        act: impl FnOnce(&begin::Ground<'_>) -> patch_stack::failure::Result<T>,
    ) -> Result<T> {
        let watch = Shown::default();
        let _files = Guard::of_declaration(&self.folder, &watch)?;
        let mirror = self.mirror(project)?;
        let _guard = mirror.lock(&watch)?;
        worktree::require_ours(&mirror, branch, &self.folder)?;
        Ok(act(&begin::Ground {
            folder: &self.folder,
            mirror: &mirror,
            branch,
            watch: &watch,
        })?)
    }

    /// Debian's archive: `$PARAPET_DEBIAN_MIRROR`, else deb.debian.org.
    pub(crate) fn archive(&self) -> Archive {
        let address = std::env::var("PARAPET_DEBIAN_MIRROR")
            .ok()
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| "http://deb.debian.org/debian".to_owned());
        let keyring = PathBuf::from("/usr/share/keyrings/debian-archive-keyring.gpg");
        Archive {
            address,
            keyring: keyring.exists().then_some(keyring),
            suites: self.declared.suites.clone(),
            folder: self.root.join("apt"),
        }
    }

    /// The part of `branch` in `project`, or in its only project.
    pub(crate) fn place(&self, branch: &str, project: Option<&str>) -> Result<Place<'_>> {
        let branch = self.declared.branch(branch).map_err(Failure::usage)?;
        let (project, part) = branch.part(project).map_err(Failure::usage)?;
        Ok(Place {
            house: self,
            branch,
            project: &self.declared.projects[project],
            part,
        })
    }

    /// Every branch's every part, or those of one branch.
    pub(crate) fn places(&self, branch: Option<&str>) -> Result<Vec<Place<'_>>> {
        if let Some(name) = branch {
            self.declared.branch(name).map_err(Failure::usage)?;
        }
        Ok(self
            .declared
            .branches
            .values()
            .filter(|found| branch.is_none_or(|name| name == found.name))
            .flat_map(|branch| {
                branch.parts.iter().map(move |(project, part)| Place {
                    house: self,
                    branch,
                    project: &self.declared.projects[project],
                    part,
                })
            })
            .collect())
    }
}

impl Place<'_> {
    /// What people call it: the branch, with the project where it has several.
    pub(crate) fn title(&self) -> String {
        if self.branch.parts.len() == 1 {
            self.branch.name.clone()
        } else {
            format!("{} ({})", self.branch.name, self.project.name)
        }
    }

    pub(crate) fn mirror(&self) -> Result<Mirror> {
        self.house.mirror(&self.project.name)
    }

    /// The worktree, whether it is there or not.
    pub(crate) fn desk(&self) -> Result<Desk> {
        Ok(Desk::of(&self.mirror()?, &self.branch.name))
    }

    /// The layers, as the files are now.
    pub(crate) fn layers(&self) -> Result<Vec<Layer>> {
        self.layers_for(&self.part.base)
    }

    /// The layers for the base `base`.
    pub(crate) fn layers_for(&self, base: &str) -> Result<Vec<Layer>> {
        Ok(branch::read_layers(
            &self.house.folder,
            self.project,
            self.part,
            base,
        )?)
    }

    /// Does something with the branch, on the base that is declared, while no other run may. The
    /// mirror and the files beside `branches.toml` are locked meanwhile.
    pub(crate) fn declared_job<T>(
        &self,
        act: impl FnOnce(&Job<'_>, &Ground<'_>) -> Result<T>,
    ) -> Result<T> {
        self.job(None, |place, _| Ok(place.part.base.clone()), act)
    }

    /// The same on the base that its commits are on: another one after a rebase.
    pub(crate) fn current_job<T>(
        &self,
        series: Option<&str>,
        act: impl FnOnce(&Job<'_>, &Ground<'_>) -> Result<T>,
    ) -> Result<T> {
        let base = |place: &Place<'_>, mirror: &Mirror| {
            let state = State::read(mirror, &place.branch.name)?;
            Ok(state.map_or_else(|| place.part.base.clone(), |state| state.base))
        };
        self.job(series, base, act)
    }

    fn job<T>(
        &self,
        series: Option<&str>,
        base: impl FnOnce(&Place<'_>, &Mirror) -> Result<String>,
        act: impl FnOnce(&Job<'_>, &Ground<'_>) -> Result<T>,
    ) -> Result<T> {
        let watch = Shown::default();
        let (house, _files) = self.house.alone(&watch)?;
        let place = house.place(&self.branch.name, Some(&self.project.name))?;
        let mirror = place.mirror()?;
        let _guard = mirror.lock(&watch)?;
        worktree::require_ours(&mirror, &place.branch.name, &house.folder)?;
        let base = place.base(&mirror, &base(&place, &mirror)?)?;
        let layers = place.layers_for(&base.name)?;
        act(
            &Job {
                mirror: &mirror,
                branch: &place.branch.name,
                project: place.project,
                base: &base,
                layers: &layers,
                watch: &watch,
            },
            &Ground {
                folder: &house.folder,
                declared: &house.declared,
                lock: &house.lock,
                series,
            },
        )
    }

    /// The base `name` as the mirror has it, if that is what is declared.
    pub(crate) fn base(&self, mirror: &Mirror, name: &str) -> Result<BaseState> {
        let base = mirror.base(name)?;
        let declared = self.project.bases.get(name);
        let differs = declared.and_then(|declared| base.differs(declared, &self.house.folder));
        match differs {
            None => Ok(base),
            Some(why) => Err(Failure::new(Status::Unavailable, why)
                .hint("`cargo xtask branch fetch` gets the one that is declared")
                .into()),
        }
    }

    /// The branch applied in memory.
    pub(crate) fn applied(&self) -> Result<Applied> {
        let mirror = self.mirror()?;
        let base = self.base(&mirror, &self.part.base)?;
        let layers = self.layers()?;
        let watch = Shown::default();
        watch.step(&format!("applying {}", self.title()));
        let applied = branch::apply(&mirror, base, layers)?;
        watch.done();
        Ok(applied)
    }
}

/// Finishes or undoes what a run has left of `branch` that was cut short.
fn finish_interrupted(folder: &Path, mirror: &Mirror, branch: &str) -> Result<()> {
    let watch = Shown::default();
    let _files = Guard::of_declaration(folder, &watch)?;
    let _guard = mirror.lock(&watch)?;
    match worktree::finish_interrupted(mirror, branch, &watch)? {
        Some(Recovered::Finished) => {
            eprintln!("a run on {branch} that was cut short is finished now");
        }
        Some(Recovered::Undone) => {
            eprintln!("a run on {branch} that was cut short is undone now");
        }
        None => {}
    }
    Ok(())
}

/// Projects and branches that there is a note of, of the kind `state` or `journal`.
fn noted(root: &Path, kind: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let list = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    for project in list(&root.join(kind)) {
        for file in list(&project.path()) {
            let name = file.file_name().to_string_lossy().into_owned();
            if let Some(branch) = name.strip_suffix(".json") {
                let project = project.file_name().to_string_lossy().into_owned();
                found.insert((project, branch.to_owned()));
            }
        }
    }
    found
}

/// Shows steps on standard error, and stops when a signal asks to.
#[derive(Default)]
pub(crate) struct Shown {
    step: std::cell::RefCell<Option<Step>>,
}

impl Watch for Shown {
    fn step(&self, what: &str) {
        self.step.replace(Some(Step::start(what)));
    }

    fn detail(&self, text: &str) {
        if let Some(step) = &*self.step.borrow() {
            step.detail(text);
        }
    }

    fn done(&self) {
        if let Some(step) = self.step.take() {
            step.done();
        }
    }

    fn check(&self) -> patch_stack::failure::Result<()> {
        signals::check().map_err(|stop| {
            patch_stack::failure::Failure::new(
                patch_stack::failure::Kind::Interrupted,
                stop.to_string(),
            )
        })
    }
}
