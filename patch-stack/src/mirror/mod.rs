// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mirror: one bare repository for each project, with the bases as commits. What is in it
//! works without a network.
//!
//! Its refs:
//!
//! * `refs/bases/NAME`: the base as it was imported or fetched
//! * `refs/fixed/NAME`: the same with the source's fixups, where the series start
//! * `refs/origins/NAME`: a blob that says where the base came from
//! * `refs/heads/BRANCH`: a branch as a person works on it
//! * `refs/applied/BRANCH`: the tip that the patch files gave when they were last applied
//!
//! Refs move last, and those that belong together in one transaction.

mod debian;
mod download;
mod fetch;
mod fixups;
mod guard;
mod health;
mod origin;
mod tarball;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use git2::{Oid, Repository};

pub use self::debian::Archive;
pub use self::fetch::{Fetch, fetch};
pub use self::guard::Guard;
pub use self::origin::Origin;

use crate::declare::Base;
use crate::failure::{At as _, Failure, Kind, Result};
use crate::git::{self, Git};
use crate::lock::BaseLock;
use crate::watch::{Silent, Watch};

/// The mirror of a project.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// The project.
    pub project: String,
    root: PathBuf,
    folder: PathBuf,
}

/// A base as the mirror has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseState {
    /// Its name.
    pub name: String,
    /// The commit that was imported or fetched.
    pub imported: Oid,
    /// The commit where series start: `imported` with the fixups.
    pub start: Oid,
    /// The tree of `imported`.
    pub tree: Oid,
    /// Where it came from.
    pub origin: Origin,
}

impl BaseState {
    /// Why it is not the base that is declared now, in words; none if it is: from a source that is
    /// still declared, with the SHA-256, the commit and the fixups that are declared for that.
    /// `folder` is that of `branches.toml`.
    #[must_use]
    pub fn differs(&self, base: &Base, folder: &Path) -> Option<String> {
        self.origin
            .differs(base, folder, &self.imported.to_string())
            .map(|why| format!("the mirror's {} {why}", self.name))
    }

    /// What `branches.lock` pins of it.
    #[must_use]
    pub fn to_lock(&self) -> BaseLock {
        BaseLock {
            kind: self.origin.kind.clone(),
            source: self.origin.source.clone(),
            sha256: self.origin.sha256.clone(),
            commit: self.imported.to_string(),
            tree: self.tree.to_string(),
            fixups: self.origin.fixups.clone(),
            start: self.start.to_string(),
        }
    }
}

impl Mirror {
    /// The mirror of `project` below the folder `root`; an empty one is made if there is none.
    ///
    /// # Errors
    /// The folder can't be made, or git fails.
    pub fn open(root: &Path, project: &str) -> Result<Self> {
        git::isolate_libgit2();
        let folder = root.join("mirror").join(format!("{project}.git"));
        let mirror = Self {
            project: project.to_owned(),
            root: root.to_owned(),
            folder,
        };
        if !mirror.folder.join("HEAD").exists() {
            mirror.make()?;
        }
        Ok(mirror)
    }

    fn make(&self) -> Result<()> {
        let parent = self.root.join("mirror");
        std::fs::create_dir_all(&parent).at("making", &parent)?;
        let _guard = self.lock(&Silent)?;
        if self.folder.join("HEAD").exists() {
            return Ok(());
        }
        let fresh = parent.join(format!(".{}.new", self.project));
        let _ = std::fs::remove_dir_all(&fresh);
        std::fs::create_dir(&fresh).at("making", &fresh)?;
        let git = Git::bare(&fresh);
        git.output(&["init", "--quiet", "--bare", "--template="])?;
        for (key, value) in [
            // Nothing that a person committed is lost while a reflog names it.
            ("core.logAllRefUpdates", "always"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            // git am expands a sparse index again and again, and libgit2 can't read one.
            ("index.sparse", "false"),
            ("core.autocrlf", "false"),
            ("extensions.worktreeConfig", "true"),
        ] {
            git.output(&["config", key, value])?;
        }
        // Worktrees have a configuration of their own, and are not bare (git-worktree(1),
        // CONFIGURATION FILE).
        git.output(&["config", "--file", "config.worktree", "core.bare", "true"])?;
        git.output(&["config", "--file", "config", "--unset", "core.bare"])?;
        // Whole or not there.
        std::fs::rename(&fresh, &self.folder).at("making", &self.folder)?;
        Ok(())
    }

    /// The bare repository's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder that holds the mirrors, the worktrees and the caches.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// git on the bare repository.
    #[must_use]
    pub fn git(&self) -> Git {
        Git::bare(&self.folder)
    }

    /// libgit2 on the bare repository.
    ///
    /// # Errors
    /// The repository can't be opened.
    pub fn repository(&self) -> Result<Repository> {
        git::isolate_libgit2();
        Ok(Repository::open_bare(&self.folder)?)
    }

    /// Keeps other runs from changing this mirror and its worktrees. Whoever writes beside
    /// `branches.toml` as well takes [`Guard::of_declaration`] first.
    ///
    /// # Errors
    /// The lock file can't be opened, or `watch` asked to stop.
    pub fn lock(&self, watch: &dyn Watch) -> Result<Guard> {
        Guard::take(&self.folder.with_extension("lock"), "mirror", watch)
    }

    /// Where the ref `name` points.
    ///
    /// # Errors
    /// The repository can't be read.
    pub fn find_ref(&self, name: &str) -> Result<Option<Oid>> {
        let repository = self.repository()?;
        match repository.refname_to_id(name) {
            Ok(id) => Ok(Some(id)),
            Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The base `name`, if the mirror has it.
    ///
    /// # Errors
    /// The repository can't be read.
    pub fn find_base(&self, name: &str) -> Result<Option<BaseState>> {
        let (Some(imported), Some(start), Some(origin)) = (
            self.find_ref(&format!("refs/bases/{name}"))?,
            self.find_ref(&format!("refs/fixed/{name}"))?,
            self.find_ref(&format!("refs/origins/{name}"))?,
        ) else {
            return Ok(None);
        };
        let repository = self.repository()?;
        Ok(Some(BaseState {
            name: name.to_owned(),
            imported,
            start,
            tree: repository.find_commit(imported)?.tree_id(),
            origin: Origin::parse(repository.find_blob(origin)?.content()),
        }))
    }

    /// The base `name`.
    ///
    /// # Errors
    /// The mirror lacks it; the hint says how to get it.
    pub fn base(&self, name: &str) -> Result<BaseState> {
        self.find_base(name)?.ok_or_else(|| {
            Failure::new(
                Kind::Unavailable,
                format!("the mirror of {} has no base {name}", self.project),
            )
            .hint("`cargo xtask branch fetch` gets it")
        })
    }
}
