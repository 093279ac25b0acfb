// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a base came from, as the mirror remembers it: lines of `key = value` in a blob.

use std::path::Path;

use super::fixups;
use crate::declare::{Base, Source, SourceKind};

/// Where a base came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The kind of source: `debian`, `tar` or `git`.
    pub kind: String,
    /// The source in words, like `Debian's source linux 7.1.8-2`.
    pub source: String,
    /// Its whole path, if it is a file or a repository of this machine: two clones of a repository
    /// share a mirror, and each means another one.
    pub location: Option<String>,
    /// SHA-256 of the file that was fetched, in hexadecimal; none for git.
    pub sha256: Option<String>,
    /// SHA-256 over the fixups, in hexadecimal; none if there are none.
    pub fixups: Option<String>,
    /// The names of the fixups, as declared then.
    pub fixup_names: Vec<String>,
}

impl Origin {
    pub(super) fn to_text(&self) -> String {
        let mut text = format!("kind = {}\nsource = {}\n", self.kind, self.source);
        let more = [
            ("location", &self.location),
            ("sha256", &self.sha256),
            ("fixups", &self.fixups),
        ];
        for (key, value) in more {
            if let Some(value) = value {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        for name in &self.fixup_names {
            text.push_str(&format!("fixup = {name}\n"));
        }
        text
    }

    pub(super) fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let field = |wanted: &str| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once(" = ")?;
                (key == wanted).then(|| value.to_owned())
            })
        };
        Self {
            kind: field("kind").unwrap_or_default(),
            source: field("source").unwrap_or_default(),
            location: field("location"),
            sha256: field("sha256"),
            fixups: field("fixups"),
            fixup_names: text
                .lines()
                .filter_map(|line| line.strip_prefix("fixup = "))
                .map(str::to_owned)
                .collect(),
        }
    }

    /// Why a base from here, whose commit is `commit`, is not what is declared now, in words; none
    /// if it is. `folder` is that of `branches.toml`.
    pub(super) fn differs(&self, base: &Base, folder: &Path, commit: &str) -> Option<String> {
        let mut why = format!(
            "came from {}, which branches.toml no longer declares for it",
            self.location.as_ref().unwrap_or(&self.source)
        );
        for source in &base.sources {
            if source.kind.describe() != self.source || source.location(folder) != self.location {
                continue;
            }
            let wanted = match &source.kind {
                SourceKind::Tar { sha256, .. } => sha256.as_ref(),
                _ => None,
            };
            if wanted.is_some() && wanted != self.sha256.as_ref() {
                why = "has another SHA-256 than branches.toml now says".to_owned();
            } else if self.kind == "git" && base.commit.as_ref().is_some_and(|id| id != commit) {
                why = format!("is {commit}, and branches.toml now says another commit");
            } else if source.fixups != self.fixup_names || self.has_old_fixups(source, folder) {
                why = "has other fixups than branches.toml now says".to_owned();
            } else {
                return None;
            }
        }
        Some(why)
    }

    /// Was a fixup edited since? Those of a Debian package are what they are, but where one is among
    /// them only the package could tell about the others.
    fn has_old_fixups(&self, source: &Source, folder: &Path) -> bool {
        if source.fixups.iter().any(|name| source.is_packaged(name)) {
            return false;
        }
        let now: Vec<_> = source
            .fixups
            .iter()
            .map(|name| {
                let bytes = std::fs::read(folder.join(name)).unwrap_or_default();
                (name.clone(), bytes)
            })
            .collect();
        fixups::digest(&now) != self.fixups
    }
}

impl Source {
    /// Is the fixup `name` in Debian's own part of the source package?
    pub(super) fn is_packaged(&self, name: &str) -> bool {
        matches!(self.kind, SourceKind::Debian { .. }) && name.starts_with("debian/")
    }

    /// The whole path of a tarball or a repository of this machine.
    pub(super) fn location(&self, folder: &Path) -> Option<String> {
        let path = match &self.kind {
            SourceKind::Tar { location, .. } if !is_address(location) => folder.join(location),
            // An address has no place in the file system; what git takes for a path has.
            SourceKind::Git { url, .. } if !is_address(url) && !url.contains(':') => {
                folder.join(url)
            }
            _ => return None,
        };
        Some(path.display().to_string())
    }
}

/// Is it an address, and no path?
pub(super) fn is_address(text: &str) -> bool {
    text.contains("://")
}
