// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was built, by key: a folder with a record, and with the product where there is one.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Key;
use crate::failure::{At as _, Failure, Result};

/// A build that was done.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its folder.
    pub folder: PathBuf,
    /// What was noted when it was done.
    pub record: Value,
}

impl Kept {
    /// What was built of `project` under `key`, if it was.
    #[must_use]
    pub fn find(root: &Path, project: &str, key: &Key) -> Option<Self> {
        let folder = place(root, project, key);
        let text = std::fs::read(folder.join("record.json")).ok()?;
        let record = serde_json::from_slice(&text).ok()?;
        Some(Self { folder, record })
    }

    /// Keeps copies of `files`, under the names given, and `record`. All of it or nothing.
    ///
    /// # Errors
    /// A file can't be read or written.
    pub fn keep(
        root: &Path,
        project: &str,
        key: &Key,
        files: &[(PathBuf, String)],
        record: Value,
    ) -> Result<Self> {
        let folder = place(root, project, key);
        let fresh = folder.with_extension(format!("{}.new", std::process::id()));
        let _ = std::fs::remove_dir_all(&fresh);
        std::fs::create_dir_all(&fresh).at("making", &fresh)?;
        for (from, name) in files {
            let to = fresh.join(name);
            if let Some(parent) = to.parent() {
                std::fs::create_dir_all(parent).at("making", parent)?;
            }
            std::fs::copy(from, &to).at("copying", from)?;
        }
        let text = serde_json::to_vec_pretty(&record)
            .map_err(|error| Failure::failed(error.to_string()))?;
        let path = fresh.join("record.json");
        std::fs::write(&path, text).at("writing", &path)?;
        // A folder without a readable record is none; another run's is as good as ours.
        if Self::find(root, project, key).is_none() {
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::rename(&fresh, &folder).at("writing", &folder)?;
        } else {
            let _ = std::fs::remove_dir_all(&fresh);
        }
        Ok(Self { folder, record })
    }
}

fn place(root: &Path, project: &str, key: &Key) -> PathBuf {
    root.join("built").join(project).join(key.text())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_kept_is_found_whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let key = Key::of_parts([&b"a"[..]]);
        assert!(Kept::find(root.path(), "linux", &key).is_none());
        let product = root.path().join("bzImage");
        std::fs::write(&product, "kernel").unwrap();
        let files = [(product.clone(), "boot/bzImage".to_owned())];
        // A folder that a crash left has no record.
        std::fs::create_dir_all(place(root.path(), "linux", &key)).unwrap();
        assert!(Kept::find(root.path(), "linux", &key).is_none());
        Kept::keep(root.path(), "linux", &key, &files, json!({"seconds": 3})).unwrap();
        let kept = Kept::find(root.path(), "linux", &key).unwrap();
        assert_eq!(kept.record["seconds"], 3);
        assert_eq!(
            std::fs::read(kept.folder.join("boot/bzImage")).unwrap(),
            b"kernel"
        );
        std::fs::remove_file(&product).unwrap();
        let other = Key::of_parts([&b"b"[..]]);
        assert!(Kept::keep(root.path(), "linux", &other, &files, json!({})).is_err());
        assert!(Kept::find(root.path(), "linux", &other).is_none());
    }
}
