// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where downloads and what is made from them stay between runs: `$PARAPET_CACHE`, else
//! `$XDG_CACHE_HOME/parapet`, else `~/.cache/parapet`. All of it can be deleted at any time.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::failure::{Failure, Kind};
use crate::hex::hex;

/// The cache's folder.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens the cache, making it if there is none.
    pub fn open() -> Result<Self> {
        let root = Self::place()?;
        fs::create_dir_all(&root).map_err(|error| {
            Failure::new(
                Kind::Failed,
                format!("the cache {} cannot be made: {error}", root.display()),
            )
            .hint("set PARAPET_CACHE to a folder that you may write to")
        })?;
        Ok(Self { root })
    }

    /// Where the cache is, whether it exists or not.
    pub fn place() -> Result<PathBuf> {
        let variable = |name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let root = variable("PARAPET_CACHE")
            .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("parapet")))
            .or_else(|| Some(variable("HOME")?.join(".cache/parapet")))
            .ok_or_else(|| {
                Failure::new(
                    Kind::Usage,
                    "there is no place for the cache: HOME is not set",
                )
                .hint("set PARAPET_CACHE to a folder that you may write to")
            })?;
        Ok(std::path::absolute(root)?)
    }

    /// A folder of the cache, made if need be.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.root.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(folder)
    }

    /// A file of the cache; its folder is made.
    pub fn file(&self, folder: &str, name: &str) -> Result<PathBuf> {
        Ok(self.folder(folder)?.join(name))
    }

    /// Keeps other runs of the tool from fetching the same things at the same time.
    pub fn lock(&self) -> Result<Lock> {
        let path = self.root.join("lock");
        let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
            .with_context(|| format!("locking {}", path.display()))?;
        Ok(Lock { _file: file })
    }
}

/// The cache is ours until this is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Writes `content` to `path` so that no reader ever sees half of it.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = path.with_file_name(name);
    fs::write(&fresh, content).with_context(|| format!("writing {}", fresh.display()))?;
    fs::rename(&fresh, path).with_context(|| format!("writing {}", path.display()))
}

/// The SHA-256 of a file, in hexadecimal.
pub fn sha256_of(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut HashWriter(&mut hash))
        .with_context(|| format!("reading {}", path.display()))?;
    Ok(hex(&hash.finalize()))
}

/// The SHA-256 of bytes, in hexadecimal.
pub fn sha256_of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The SHA-256 of several byte strings, each with its length, in hexadecimal.
pub fn sha256_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_standard() {
        let path = env::temp_dir().join(format!("parapet-hash-{}", std::process::id()));
        write_whole(&path, b"abc").unwrap();
        let hash = sha256_of(&path).unwrap();
        fs::remove_file(&path).unwrap();
        // FIPS 180-4, example of SHA-256.
        assert_eq!(
            hash,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(
            sha256_parts([&b"ab"[..], b"c"]),
            sha256_parts([&b"a"[..], b"bc"])
        );
    }
}
