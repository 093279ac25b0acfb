// SPDX-License-Identifier: MIT OR Apache-2.0
//! The name of a build.

use std::path::Path;
use std::process::{Command, Stdio};

use git2::Oid;

use crate::declare::Build;
use crate::failure::{At as _, Result};
use crate::hash;

/// Counted up when the same inputs come to be built otherwise than before.
const ENGINE: &[u8] = b"build 1";

/// What a build is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// All of it, with its product.
    Whole,
    /// To see that one patch builds.
    Patch,
}

impl Purpose {
    /// The commands of `build` for this purpose.
    #[must_use]
    pub fn commands(self, build: &Build) -> &[Vec<String>] {
        match self {
            Self::Patch if !build.each.is_empty() => &build.each,
            Self::Whole | Self::Patch => &build.make,
        }
    }
}

/// Names all that a build depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// The key of a build of `tree`. `tools` is from [`versions`].
    ///
    /// # Errors
    /// A file that the declaration names can't be read.
    pub fn of(
        tree: Oid,
        build: &Build,
        purpose: Purpose,
        folder: &Path,
        tools: &str,
    ) -> Result<Self> {
        let setup = setup(build, folder, tools)?;
        let commands = lines(purpose.commands(build));
        let require = build.require.join("\n");
        let product = build.product.clone().unwrap_or_default();
        let product = if purpose == Purpose::Whole {
            product.as_str()
        } else {
            ""
        };
        Ok(Self(hash::of_parts([
            ENGINE,
            tree.to_string().as_bytes(),
            setup.as_bytes(),
            commands.as_bytes(),
            require.as_bytes(),
            product.as_bytes(),
        ])))
    }

    /// A key of something that is made out of other things.
    #[must_use]
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self(hash::of_parts(std::iter::once(ENGINE).chain(parts)))
    }

    /// In hexadecimal.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// Names what a build folder was set up with.
pub(super) fn setup(build: &Build, folder: &Path, tools: &str) -> Result<String> {
    let mut parts = vec![
        lines(&build.configure).into_bytes(),
        tools.as_bytes().to_vec(),
    ];
    for word in build.configure.iter().chain(&build.make).flatten() {
        if let Some(path) = word.strip_prefix("{folder}/") {
            let path = folder.join(path);
            parts.push(std::fs::read(&path).at("reading", &path)?);
        }
    }
    Ok(hash::of_parts(parts.iter().map(Vec::as_slice)))
}

/// The versions of the tools that `build` runs, one a line; informative, and part of keys.
#[must_use]
pub fn versions(build: &Build) -> String {
    let mut names: Vec<&str> = build
        .configure
        .iter()
        .chain(&build.make)
        .filter_map(|command| command.first())
        .map(String::as_str)
        .filter(|name| !name.contains('/') && !name.contains('{'))
        .chain(["cc", "ld"])
        .collect();
    names.sort_unstable();
    names.dedup();
    names
        .iter()
        .map(|name| format!("{name}: {}\n", version(name)))
        .collect()
}

/// The first line that `program --version` writes; empty if there is none.
fn version(program: &str) -> String {
    Command::new(program)
        .arg("--version")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .and_then(|output| {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.lines().next().map(str::to_owned)
        })
        .unwrap_or_default()
}

fn lines(commands: &[Vec<String>]) -> String {
    commands
        .iter()
        .map(|words| words.join("\0") + "\n")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declare::Objects;

    fn build() -> Build {
        let command = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        Build {
            name: "kernel".to_owned(),
            configure: vec![command("cat {folder}/fragment")],
            make: vec![command("make all")],
            each: vec![command("make some")],
            objects: Objects::SamePath,
            require: vec!["a.o".to_owned()],
            elsewhere: Vec::new(),
            packages: Vec::new(),
            product: Some("image".to_owned()),
        }
    }

    #[test]
    fn a_key_changes_with_all_that_matters_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let fragment = folder.path().join("fragment");
        std::fs::write(&fragment, "A=y\n").unwrap();
        let one = Oid::from_str(&"1".repeat(40)).unwrap();
        let key = |tree, build: &Build, purpose, tools: &str| {
            Key::of(tree, build, purpose, folder.path(), tools).unwrap()
        };
        let first = key(one, &build(), Purpose::Whole, "cc 12");
        assert_eq!(first, key(one, &build(), Purpose::Whole, "cc 12"));
        let two = Oid::from_str(&"2".repeat(40)).unwrap();
        assert_ne!(first, key(two, &build(), Purpose::Whole, "cc 12"));
        assert_ne!(first, key(one, &build(), Purpose::Patch, "cc 12"));
        assert_ne!(first, key(one, &build(), Purpose::Whole, "cc 13"));
        let mut other = build();
        other.make[0].push("W=1".to_owned());
        assert_ne!(first, key(one, &other, Purpose::Whole, "cc 12"));
        // Where the objects of other folders are made says nothing about this build.
        let mut same = build();
        same.elsewhere.push("tools/".to_owned());
        assert_eq!(first, key(one, &same, Purpose::Whole, "cc 12"));
        std::fs::write(&fragment, "A=n\n").unwrap();
        assert_ne!(first, key(one, &build(), Purpose::Whole, "cc 12"));
        std::fs::remove_file(&fragment).unwrap();
        assert!(Key::of(one, &build(), Purpose::Whole, folder.path(), "").is_err());
    }

    #[test]
    fn a_patch_is_built_by_its_own_commands_where_there_are_some() {
        let mut build = build();
        assert_eq!(Purpose::Patch.commands(&build)[0][1], "some");
        assert_eq!(Purpose::Whole.commands(&build)[0][1], "all");
        build.each.clear();
        assert_eq!(Purpose::Patch.commands(&build)[0][1], "all");
    }

    #[test]
    fn tools_tell_their_versions() {
        let text = versions(&build());
        assert!(text.contains("cat: cat (GNU coreutils)"), "{text}");
        assert!(text.contains("ld: "), "{text}");
    }
}
