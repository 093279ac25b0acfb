// SPDX-License-Identifier: MIT OR Apache-2.0
//! The archive that the kernel unpacks: a static busybox, `/init`, and the test programs.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xtask_common::busybox;
use xtask_common::cpio::Archive;

use crate::cache::Cache;

const INIT: &str = include_str!("init.sh");

/// The commands of busybox that `/init` uses.
const COMMANDS: [&str; 10] = [
    "sh", "mount", "cat", "echo", "grep", "head", "tail", "timeout", "rm", "poweroff",
];

/// A test program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// Its name, with the folder: `x86/cpuid_test`.
    pub(crate) name: String,
    /// The file.
    pub(crate) path: PathBuf,
}

/// The part that is the same for every boot of these programs.
pub(crate) fn programs(programs: &[Program]) -> Result<Vec<u8>> {
    let busybox = busybox::find(&Cache::open()?, "")?;
    let busybox =
        std::fs::read(&busybox).with_context(|| format!("reading {}", busybox.display()))?;
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc", "sys", "tmp", "t"] {
        archive.directory(folder);
    }
    // What /init says before devtmpfs is mounted.
    archive.character_device("dev/console", 5, 1);
    archive.file("bin/busybox", 0o755, &busybox);
    for command in COMMANDS {
        archive.symlink(&format!("bin/{command}"), "busybox");
    }
    archive.file("init", 0o755, INIT.as_bytes());
    let mut folders = Vec::new();
    for program in programs {
        if let Some(folder) = Path::new(&program.name).parent()
            && !folder.as_os_str().is_empty()
            && !folders.contains(&folder)
        {
            archive.directory(&format!("t/{}", folder.display()));
            folders.push(folder);
        }
        let content = std::fs::read(&program.path)
            .with_context(|| format!("reading {}", program.path.display()))?;
        archive.file(&format!("t/{}", program.name), 0o755, &content);
    }
    Ok(archive.finish())
}

/// The part that says which tests this boot runs, each for at most so many seconds. Linux unpacks
/// archives that follow each other into the same place.
pub(crate) fn list<'n>(tests: impl IntoIterator<Item = &'n str>, limit: u64) -> Vec<u8> {
    let lines: String = tests
        .into_iter()
        .map(|name| format!("{limit} {name}\n"))
        .collect();
    let mut archive = Archive::default();
    archive.file("tests", 0o644, lines.as_bytes());
    archive.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_init_is_there() {
        let shell = [
            "while", "do", "done", "if", "then", "fi", "read", "exec", "cd", "status", "echo",
        ];
        for line in INIT
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with('#'))
        {
            let word = line.split([' ', '=']).next().unwrap_or_default();
            assert!(
                word.is_empty() || shell.contains(&word) || COMMANDS.contains(&word),
                "{line}"
            );
        }
    }

    #[test]
    fn the_list_has_a_line_for_each_test() {
        let text = String::from_utf8_lossy(&list(["a", "x86/b"], 9)).into_owned();
        assert!(text.contains("9 a\n9 x86/b\n"), "{text}");
    }
}
