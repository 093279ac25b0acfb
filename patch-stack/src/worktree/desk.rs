// SPDX-License-Identifier: MIT OR Apache-2.0
//! The worktree of a branch: sparse, made in half a second, handled by the git command line alone
//! (libgit2 can't read a sparse index, and its worktrees are full checkouts).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use git2::Oid;

use crate::branch::{self, Layer};
use crate::declare::Project;
use crate::failure::{At as _, Failure, Result};
use crate::git::Git;
use crate::mirror::Mirror;

/// Where a person works on a branch.
#[derive(Debug, Clone)]
pub struct Desk {
    mirror: Mirror,
    branch: String,
    folder: PathBuf,
}

/// Which folders a worktree has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// All of the tree.
    Full,
    /// These folders, and the files in the folders above them.
    Folders(BTreeSet<String>),
}

impl Extent {
    /// The project's folders, and those that the patches of `layers` touch.
    #[must_use]
    pub fn of(project: &Project, layers: &[Layer]) -> Self {
        let mut folders: BTreeSet<_> = project.sparse.iter().cloned().collect();
        for file in branch::patches(layers).flat_map(|file| &file.patch.diff.files) {
            let paths = [&file.old_path, &file.new_path];
            for path in paths.into_iter().flatten() {
                let path = String::from_utf8_lossy(path);
                if let Some((folder, _)) = path.rsplit_once('/') {
                    folders.insert(folder.to_owned());
                }
            }
        }
        Self::Folders(folders)
    }

    fn to_text(&self) -> String {
        match self {
            Self::Full => "full\n".to_owned(),
            Self::Folders(folders) => folders.iter().map(|folder| format!("{folder}\n")).collect(),
        }
    }
}

impl Desk {
    /// The worktree of `branch`, whether it is there or not.
    #[must_use]
    pub fn of(mirror: &Mirror, branch: &str) -> Self {
        Self {
            mirror: mirror.clone(),
            branch: branch.to_owned(),
            folder: mirror
                .root()
                .join("worktrees")
                .join(&mirror.project)
                .join(branch),
        }
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The branch's ref.
    #[must_use]
    pub fn head_ref(&self) -> String {
        format!("refs/heads/{}", self.branch)
    }

    /// The ref of what the files gave when they were last applied or exported.
    #[must_use]
    pub fn applied_ref(&self) -> String {
        format!("refs/applied/{}", self.branch)
    }

    /// git in it.
    #[must_use]
    pub fn git(&self) -> Git {
        Git::worktree(&self.folder)
    }

    /// Is it there, and whole?
    #[must_use]
    pub fn exists(&self) -> bool {
        self.marker().exists() && self.folder.join(".git").exists()
    }

    /// A file that says that the worktree was checked out, and how much of it.
    fn marker(&self) -> PathBuf {
        self.mirror
            .root()
            .join("worktrees")
            .join(&self.mirror.project)
            .join(format!(".{}.ready", self.branch))
    }

    /// The commit that is checked out.
    ///
    /// # Errors
    /// git fails.
    pub fn head(&self) -> Result<Oid> {
        Ok(Oid::from_str(&self.git().text(&["rev-parse", "HEAD"])?)?)
    }

    /// Where HEAD is, in words, if it is not on the branch: commits made there are not the
    /// branch's, and those of the branch are not all below it.
    ///
    /// # Errors
    /// git fails.
    pub fn stray_head(&self) -> Result<Option<String>> {
        let found = self
            .git()
            .try_output(&["symbolic-ref", "--quiet", "HEAD"])?;
        let name = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        Ok(if name == self.head_ref() {
            None
        } else if name.is_empty() {
            Some("it is detached".to_owned())
        } else {
            let short = name.strip_prefix("refs/heads/").unwrap_or(&name);
            Some(format!("it is on {short}"))
        })
    }

    /// Changes of tracked files that are not committed: the first lines of `git status`.
    ///
    /// # Errors
    /// git fails.
    pub fn changes(&self) -> Result<Vec<String>> {
        let text = self
            .git()
            .text(&["status", "--porcelain", "--untracked-files=no"])?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Files that git does not know.
    ///
    /// # Errors
    /// git fails.
    pub fn untracked(&self) -> Result<Vec<String>> {
        let text = self
            .git()
            .text(&["ls-files", "--others", "--exclude-standard"])?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Is a `git am` or another operation of git's under way in it?
    ///
    /// # Errors
    /// git fails.
    pub fn operation(&self) -> Result<Option<&'static str>> {
        let folder = PathBuf::from(self.git().text(&["rev-parse", "--absolute-git-dir"])?);
        Ok([
            ("rebase-apply", "git am"),
            ("rebase-merge", "git rebase"),
            ("MERGE_HEAD", "git merge"),
            ("CHERRY_PICK_HEAD", "git cherry-pick"),
        ]
        .into_iter()
        .find(|(name, _)| folder.join(name).exists())
        .map(|(_, what)| what))
    }

    /// The number of the mail that a `git am` under way is at, and that of its last one.
    ///
    /// # Errors
    /// git fails.
    pub(crate) fn at_mail(&self) -> Result<(usize, usize)> {
        let folder = PathBuf::from(self.git().text(&["rev-parse", "--absolute-git-dir"])?);
        let number = |name: &str| {
            std::fs::read_to_string(folder.join("rebase-apply").join(name))
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(0)
        };
        Ok((number("next"), number("last")))
    }

    /// Paths with conflicts that are not resolved.
    ///
    /// # Errors
    /// git fails.
    pub(crate) fn unmerged(&self) -> Result<Vec<String>> {
        let text = self
            .git()
            .text(&["diff", "--name-only", "--diff-filter=U"])?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Checks `commit` out, with a detached HEAD; makes the worktree if there is none.
    ///
    /// # Errors
    /// git fails; a worktree that was there is as it was.
    pub(crate) fn open_at(&self, commit: Oid, extent: &Extent) -> Result<()> {
        let commit = commit.to_string();
        if !self.exists() {
            self.remove()?;
            let parent = self.folder.parent().unwrap_or(&self.folder);
            std::fs::create_dir_all(parent).at("making", parent)?;
            let folder = self.folder.display().to_string();
            self.mirror.git().output(&[
                "worktree",
                "add",
                "--quiet",
                "--no-checkout",
                "--detach",
                "--force",
                &folder,
                &commit,
            ])?;
            self.narrow(extent)?;
            self.git()
                .output(&["checkout", "--quiet", "--detach", &commit])?;
            return std::fs::write(self.marker(), extent.to_text()).at("writing", &self.marker());
        }
        if std::fs::read_to_string(self.marker()).ok() != Some(extent.to_text()) {
            self.narrow(extent)?;
            std::fs::write(self.marker(), extent.to_text()).at("writing", &self.marker())?;
        }
        self.git()
            .output(&["checkout", "--quiet", "--detach", &commit])?;
        Ok(())
    }

    fn narrow(&self, extent: &Extent) -> Result<()> {
        match extent {
            Extent::Full => {
                self.git().output(&["sparse-checkout", "disable"])?;
            }
            Extent::Folders(folders) => {
                let mut input = String::new();
                for folder in folders {
                    input.push_str(folder);
                    input.push('\n');
                }
                self.git().feed(
                    &[
                        "sparse-checkout",
                        "set",
                        "--cone",
                        "--no-sparse-index",
                        "--stdin",
                    ],
                    input.as_bytes(),
                )?;
            }
        }
        Ok(())
    }

    /// Makes HEAD follow the branch's ref, which has to be where HEAD is.
    pub(crate) fn follow(&self) -> Result<()> {
        self.git()
            .output(&["symbolic-ref", "HEAD", &self.head_ref()])?;
        Ok(())
    }

    /// Removes the worktree. What is committed stays in the mirror.
    pub(crate) fn remove(&self) -> Result<()> {
        let _ = std::fs::remove_file(self.marker());
        if self.folder.exists() {
            std::fs::remove_dir_all(&self.folder).at("removing", &self.folder)?;
        }
        self.mirror.git().output(&["worktree", "prune"])?;
        Ok(())
    }

    /// Fails unless nothing of a person's is lost when the branch's commits are replaced: no
    /// uncommitted change, no operation under way, no commit that was not exported.
    pub(crate) fn require_replaceable(&self) -> Result<()> {
        if self.exists()
            && let Some(what) = self.operation()?
        {
            return Err(Failure::refused(format!(
                "a {what} is under way in {}",
                self.folder.display()
            ))
            // Not the tool's: what waits for `branch abort` was asked for before.
            .hint(format!("finish it there, or `{what} --abort`")));
        }
        self.require_nothing_lost()
    }

    /// The same with an operation under way: nothing of it is a person's work.
    pub(crate) fn require_nothing_lost(&self) -> Result<()> {
        let shown = self.folder.display();
        if self.exists()
            && let Some(change) = self.changes()?.first()
        {
            return Err(Failure::refused(format!(
                "the worktree {shown} has changes that are not committed: {}",
                change.trim()
            ))
            .hint("commit them, or `git checkout .` there"));
        }
        let applied = self.mirror.find_ref(&self.applied_ref())?;
        let head = self.mirror.find_ref(&self.head_ref())?;
        let unexported = |what: &str| {
            Failure::refused(format!("the branch {} has {what}", self.branch)).hint(format!(
                "`branch export {0}` writes them to patch files; `branch clean {0} --force` drops them",
                self.branch
            ))
        };
        if head != applied {
            return Err(unexported("commits that were not exported"));
        }
        if self.exists() {
            let here = self.head()?;
            let known = [head, applied].into_iter().flatten().any(|id| id == here);
            // A detached HEAD on a commit that nothing else names would be lost.
            if !known {
                let reachable = !self
                    .mirror
                    .git()
                    .text(&["for-each-ref", "--contains", &here.to_string()])?
                    .is_empty();
                if !reachable && !self.is_made_by_tool(here)? {
                    return Err(unexported(&format!(
                        "the commit {here} checked out, which is on no branch"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Commits with our committer were made from files and can be made again.
    fn is_made_by_tool(&self, commit: Oid) -> Result<bool> {
        let email =
            self.git()
                .text(&["show", "--no-patch", "--format=%ce", &commit.to_string()])?;
        Ok(email == crate::git::COMMITTER_EMAIL)
    }
}
