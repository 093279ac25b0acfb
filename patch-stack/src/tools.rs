// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scripts of a project's own, like checkpatch.pl, taken out of the mirror: from the base that a
//! branch is on, so that everybody gets the same answers.

use std::path::PathBuf;

use git2::Oid;

use crate::failure::{At as _, Failure, Kind, Result};
use crate::hash;
use crate::mirror::Mirror;

/// Files of a commit, on disk.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The folder that holds them, at their paths in the tree.
    pub folder: PathBuf,
    /// A name for exactly these files: SHA-256 over their paths and blobs.
    pub version: String,
}

impl Tools {
    /// The files `paths` of `commit`.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if the commit lacks one.
    pub fn take(mirror: &Mirror, commit: Oid, paths: &[&str]) -> Result<Self> {
        let repository = mirror.repository()?;
        let tree = repository.find_commit(commit)?.tree()?;
        let mut found = Vec::new();
        for &path in paths {
            let entry = tree.get_path(path.as_ref()).map_err(|_| {
                Failure::new(
                    Kind::Unavailable,
                    format!("{commit} of {} has no {path}", mirror.project),
                )
            })?;
            found.push((path, entry.id(), entry.filemode()));
        }
        let version = hash::of_parts(
            found
                .iter()
                .flat_map(|(path, id, _)| [path.as_bytes(), id.as_bytes()]),
        );
        let folder = mirror.root().join("tools").join(&version);
        if !folder.exists() {
            let fresh = mirror
                .root()
                .join("tools")
                .join(format!(".{version}.{}", std::process::id()));
            for (path, id, mode) in &found {
                let file = fresh.join(path);
                if let Some(parent) = file.parent() {
                    std::fs::create_dir_all(parent).at("making", parent)?;
                }
                std::fs::write(&file, repository.find_blob(*id)?.content()).at("writing", &file)?;
                if mode & 0o111 != 0 {
                    use std::os::unix::fs::PermissionsExt as _;
                    let permissions = std::fs::Permissions::from_mode(0o755);
                    std::fs::set_permissions(&file, permissions).at("writing", &file)?;
                }
            }
            // Another run may have been first; its files are the same.
            if std::fs::rename(&fresh, &folder).is_err() {
                let _ = std::fs::remove_dir_all(&fresh);
            }
        }
        Ok(Self { folder, version })
    }
}
