// SPDX-License-Identifier: MIT OR Apache-2.0
//! What begins: a branch with an empty series, and a mailed series taken in. Files and declaration
//! change together, or not at all.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::declare::{self, Declaration};
use crate::failure::{At as _, Failure, Result};
use crate::import::Mailed;
use crate::mirror::Mirror;
use crate::watch::Watch;
use crate::worktree::{Journal, finish_interrupted};

/// Where something begins. The caller has locked the folder of `branches.toml` and the mirror.
pub struct Ground<'a> {
    /// The folder of `branches.toml`.
    pub folder: &'a Path,
    /// The mirror of the project.
    pub mirror: &'a Mirror,
    /// The branch, which a new one need not be declared yet.
    pub branch: &'a str,
    /// Who watches.
    pub watch: &'a dyn Watch,
}

impl Ground<'_> {
    /// `branches.toml` as it is now: another run may have changed it while this one waited.
    fn declared(&self) -> Result<(PathBuf, String, Declaration)> {
        finish_interrupted(self.mirror, self.branch, self.watch)?;
        let file = self.folder.join("branches.toml");
        let text = std::fs::read_to_string(&file).at("reading", &file)?;
        let declared = Declaration::parse(&text).map_err(|error| error.in_file(&file))?;
        Ok((file, text, declared))
    }

    fn series_folder(&self, declared: &Declaration, series: &str) -> Result<PathBuf> {
        let project = &self.mirror.project;
        let patches = declared.projects.get(project).map(|found| &found.patches);
        let patches = patches.ok_or_else(|| {
            Failure::usage(declare::nearest_name(
                "project",
                project,
                declared.projects.keys().map(String::as_str),
            ))
        })?;
        Ok(self.folder.join(patches).join(series))
    }

    /// The names of all files in the folders of the branch's series.
    fn names_in_branch(&self, declared: &Declaration) -> Result<HashSet<String>> {
        let part = declared
            .branches
            .get(self.branch)
            .and_then(|branch| branch.parts.get(&self.mirror.project));
        let mut names = HashSet::new();
        for series in part.into_iter().flat_map(|part| &part.series) {
            let folder = self.series_folder(declared, series)?;
            for entry in std::fs::read_dir(&folder).at("reading", &folder)? {
                let entry = entry.at("reading", &folder)?;
                names.insert(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }
}

/// Declares the branch on `base`, with an empty series of its own name. Returns the series' folder.
///
/// # Errors
/// A name that is taken or no good, or a base that is not declared. Nothing was touched then.
pub fn branch(ground: &Ground<'_>, base: &str, description: &str) -> Result<PathBuf> {
    let name = ground.branch;
    let (file, text, declared) = ground.declared()?;
    if declared.branches.contains_key(name) {
        return Err(Failure::usage(format!("there is a branch {name} already")));
    }
    let folder = ground.series_folder(&declared, name)?;
    let changed =
        declare::with_branch(&text, name, &ground.mirror.project, base, name, description)?;
    let mut journal = Journal::of(ground.folder);
    let order = folder.join("series");
    if !order.exists() {
        journal.write(order, Vec::new());
    }
    journal.write(file, changed.into_bytes());
    journal.carry_out(ground.mirror, name, ground.watch)?;
    Ok(folder)
}

/// Takes a mailed series into the branch: as an external layer with its message-id, or as a series
/// of our own if `ours` is set. Returns the series' folder.
///
/// # Errors
/// A name that is taken or no good, mails without a message-id, or mails that are there already.
/// Nothing was touched then.
pub fn series(ground: &Ground<'_>, name: &str, mailed: &Mailed, ours: bool) -> Result<PathBuf> {
    declare::check_name(name).map_err(Failure::usage)?;
    let (file, text, declared) = ground.declared()?;
    let folder = ground.series_folder(&declared, name)?;
    let known = &declared.projects[&ground.mirror.project].series;
    if known.contains_key(name) {
        return Err(Failure::usage(format!("there is a series {name} already")));
    }
    let id = match (&mailed.message_id, ours) {
        (_, true) => None,
        (Some(id), false) => Some(id.as_str()),
        (None, false) => {
            return Err(Failure::usage("the mails have no Message-ID")
                .hint("--ours takes them in as a series of our own"));
        }
    };
    let twin = known
        .values()
        .find(|series| id.is_some() && series.message_id.as_deref() == id);
    if let Some(twin) = twin {
        return Err(Failure::usage(format!(
            "the series {} is that mail already",
            twin.name
        )));
    }
    if folder.exists() {
        return Err(Failure::refused(format!(
            "there is a folder {} already",
            folder.display()
        )));
    }
    let taken = ground.names_in_branch(&declared)?;
    let project = &ground.mirror.project;
    let changed = declare::with_series(&text, ground.branch, project, name, &mailed.title, id)?;
    let mut journal = Journal::of(ground.folder);
    let mut order = String::new();
    for (mailed_name, bytes) in &mailed.patches {
        // A patch is known by its name in all of the branch.
        let name = if taken.contains(mailed_name) {
            &format!("{name}-{mailed_name}")
        } else {
            mailed_name
        };
        journal.write(folder.join(name), bytes.clone());
        order.push_str(name);
        order.push('\n');
    }
    journal.write(folder.join("series"), order.into_bytes());
    if let Some(cover) = &mailed.cover {
        journal.write(folder.join("cover.mail"), cover.clone());
    }
    journal.write(file, changed.into_bytes());
    journal.carry_out(ground.mirror, ground.branch, ground.watch)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;
    use crate::testing::{CrashAt, Small};
    use crate::watch::Silent;

    fn mailed() -> Mailed {
        Mailed {
            message_id: Some("1@example.org".to_owned()),
            cover: Some(b"Subject: [PATCH 0/2] theirs\n\nWhy.\n".to_vec()),
            title: "theirs".to_owned(),
            patches: vec![
                ("0001-a.patch".to_owned(), b"one".to_vec()),
                ("0002-b.patch".to_owned(), b"two".to_vec()),
            ],
        }
    }

    fn on<T>(
        small: &Small,
        branch: &str,
        watch: &dyn Watch,
        act: impl FnOnce(&Ground<'_>) -> Result<T>,
    ) -> Result<T> {
        let _guard = small.mirror.lock(watch)?;
        act(&Ground {
            folder: small.path(),
            mirror: &small.mirror,
            branch,
            watch,
        })
    }

    fn strip(small: &Small) -> String {
        small
            .picture()
            .replace(&small.path().display().to_string(), "")
    }

    /// Cut short at each step and repeated: the same files, whether the first run got to write down
    /// what it wants or not.
    fn cut_short_anywhere(act: fn(&Small, &dyn Watch) -> Result<PathBuf>, steps: usize) {
        let whole = Small::new();
        let before = strip(&whole);
        act(&whole, &Silent).unwrap();
        let wanted = strip(&whole);
        assert_ne!(before, wanted);
        let mut finished = 0;
        for at in 0.. {
            let small = Small::new();
            if act(&small, &CrashAt::new(at)).is_ok() {
                assert!(at >= steps, "{at}");
                break;
            }
            match act(&small, &Silent) {
                Ok(_) => {}
                Err(error) => {
                    assert!(error.message.contains("already"), "{error}");
                    finished += 1;
                }
            }
            assert_eq!(strip(&small), wanted, "cut short at step {at}");
        }
        assert!(finished >= 2, "{finished}");
    }

    #[test]
    fn a_new_branch_that_is_cut_short_anywhere_ends_the_same_when_run_again() {
        cut_short_anywhere(
            |small, watch| {
                on(small, "fresh", watch, |ground| {
                    branch(ground, "v1", "fresh")
                })
            },
            5,
        );
    }

    #[test]
    fn an_import_that_is_cut_short_anywhere_ends_the_same_when_run_again() {
        cut_short_anywhere(
            |small, watch| {
                on(small, "b", watch, |ground| {
                    series(ground, "theirs", &mailed(), false)
                })
            },
            8,
        );
    }

    #[test]
    fn a_patch_is_known_by_its_name_in_all_of_a_branch() {
        let small = Small::new();
        let same = "0001-a-five.patch";
        let theirs = Mailed {
            patches: vec![(same.to_owned(), std::fs::read(small.patch(same)).unwrap())],
            ..mailed()
        };
        let folder = on(&small, "b", &Silent, |ground| {
            series(ground, "theirs", &theirs, false)
        })
        .unwrap();
        assert!(folder.join("theirs-0001-a-five.patch").exists());
        let layers = small.layers("v1").unwrap();
        assert_eq!(layers[0].patches[0].name, "theirs-0001-a-five.patch");

        std::fs::rename(folder.join("theirs-0001-a-five.patch"), folder.join(same)).unwrap();
        std::fs::write(folder.join("series"), format!("{same}\n")).unwrap();
        let error = small.layers("v1").unwrap_err();
        assert_eq!(error.kind, Kind::Usage);
        assert!(error.message.contains("have the same name"), "{error}");
    }

    #[test]
    fn nothing_is_touched_by_what_is_refused() {
        let small = Small::new();
        let before = strip(&small);
        let begin = |name: &str, base: &str| {
            on(&small, name, &Silent, |ground| branch(ground, base, "x")).unwrap_err()
        };
        assert!(begin("b", "v1").message.contains("already"));
        assert_eq!(begin("fresh", "v9").kind, Kind::Usage);
        assert_eq!(begin("../fresh", "v1").kind, Kind::Usage);
        let take = |name: &str, mailed: &Mailed| {
            on(&small, "b", &Silent, |ground| {
                series(ground, name, mailed, false)
            })
            .unwrap_err()
        };
        assert!(take("ours", &mailed()).message.contains("already"));
        assert_eq!(take("../theirs", &mailed()).kind, Kind::Usage);
        let unnamed = Mailed {
            message_id: None,
            ..mailed()
        };
        assert!(take("theirs", &unnamed).message.contains("no Message-ID"));
        std::fs::create_dir(small.path().join("patches/theirs")).unwrap();
        assert_eq!(take("theirs", &mailed()).kind, Kind::Refused);
        std::fs::remove_dir(small.path().join("patches/theirs")).unwrap();
        assert_eq!(strip(&small), before);
    }
}
