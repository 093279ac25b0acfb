// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch fetch`: bases into the mirrors.

use anyhow::Result;
use clap::Args;
use patch_stack::mirror;
use serde_json::json;

use crate::failure::{Failure, Status};
use crate::house::{House, Shown};

pub(crate) const ABOUT: &str = "Get the bases of the branches into the offline mirror";
pub(crate) const LONG_ABOUT: &str = "\
Get the bases of the branches into the offline mirror. A base that is there is left alone.

The sources of a base are tried in the order of branches.toml. What came is held against
branches.lock. A source that a registry no longer has is told plainly; what is in the mirror goes
on working. An interrupted download is taken up again; an interrupted import starts over.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask branch fetch                 the bases of all branches
  cargo xtask branch fetch planes
  cargo xtask branch fetch --base v7.1.9   to rebase to
  cargo xtask branch fetch --again planes  even if the mirror has them";

/// Fetches.
#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// The branches [default: all]
    #[arg(value_name = "BRANCH")]
    branches: Vec<String>,

    /// A base that is declared and that no branch is on yet; may be given several times
    #[arg(long, value_name = "BASE", conflicts_with = "branches")]
    base: Vec<String>,

    /// Fetch even what the mirror has
    #[arg(long)]
    again: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Fetch {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let mut wanted = Vec::new();
        for name in &self.base {
            let found = house
                .declared
                .projects
                .values()
                .filter_map(|project| Some((project, project.bases.get_key_value(name)?.0)));
            let before = wanted.len();
            wanted.extend(found);
            if wanted.len() == before {
                let all = house.declared.projects.values();
                let names: Vec<_> = all.flat_map(|project| project.bases.keys()).collect();
                return Err(Failure::usage(patch_stack::declare::nearest_name(
                    "base",
                    name,
                    names.into_iter().map(String::as_str),
                ))
                .into());
            }
        }
        let places = if !self.base.is_empty() {
            Vec::new()
        } else if self.branches.is_empty() {
            house.places(None)?
        } else {
            let mut places = Vec::new();
            for name in &self.branches {
                places.extend(house.places(Some(name))?);
            }
            places
        };
        for place in places {
            let key = (place.project, &place.part.base);
            if !wanted.contains(&key) {
                wanted.push(key);
            }
        }
        let watch = Shown::default();
        let archive = house.archive();
        let mut all = Vec::new();
        let mut failed = None;
        for (project, name) in wanted {
            let mirror = house.mirror(&project.name)?;
            let key = (project.name.clone(), name.clone());
            let how = mirror::Fetch {
                folder: &house.folder,
                archive: &archive,
                pinned: house.lock.bases.get(&key),
                again: self.again,
            };
            let fetched = (|| {
                let _guard = mirror.lock(&watch)?;
                mirror::fetch(&mirror, &project.bases[name], &how, &watch)
            })();
            match fetched {
                Ok((state, new)) => {
                    if !self.json {
                        println!(
                            "{} {name}: {}, from {}",
                            project.name,
                            if new { "fetched" } else { "is there" },
                            state.origin.source
                        );
                    }
                    all.push(json!({
                        "project": project.name,
                        "base": name,
                        "new": new,
                        "source": state.origin.source,
                        "sha256": state.origin.sha256,
                        "commit": state.imported.to_string(),
                        "tree": state.tree.to_string(),
                        "start": state.start.to_string(),
                    }));
                }
                // One base that can't be had is no reason to leave out the others.
                Err(error) if error.kind == patch_stack::failure::Kind::Unavailable => {
                    let error = anyhow::Error::from(error);
                    all.push(json!({
                        "project": project.name,
                        "base": name,
                        "error": error.to_string(),
                    }));
                    let status = crate::failure::report(&error);
                    debug_assert_eq!(status, Status::Unavailable as u8);
                    failed = Some(Status::Unavailable);
                }
                Err(error) => return Err(error.into()),
            }
        }
        if self.json {
            println!("{:#}", json!(all));
        }
        Ok(failed.unwrap_or(Status::Good))
    }
}
