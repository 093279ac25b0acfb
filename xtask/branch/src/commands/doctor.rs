// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch doctor`: what is there, what is missing, what is broken.

use std::process::Stdio;

use anyhow::Result;
use clap::Args;
use patch_stack::git;
use patch_stack::mirror::Mirror;
use patch_stack::worktree::{self, Desk, State};
use serde_json::json;

use crate::failure::{Status, in_a_line};
use crate::house::House;

pub(crate) const ABOUT: &str = "Say what is there, what is missing and what is broken";
pub(crate) const LONG_ABOUT: &str = "\
Look at all that the branches need: git, the programs that unpack and check, the mirrors, the
worktrees. With --thorough every object of the mirrors is read, which takes minutes.

Ends with status 1 if something is broken, with 5 if something is only missing.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask branch doctor
  cargo xtask branch doctor --thorough";

/// Looks around.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Check every object of the mirrors
    #[arg(long)]
    thorough: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One thing, and how it stands.
struct Thing {
    status: Status,
    what: String,
    text: String,
}

impl Doctor {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let mut things = programs();
        for project in house.declared.projects.values() {
            let mirror = match house.mirror(&project.name) {
                Ok(mirror) => mirror,
                Err(error) => {
                    things.push(broken(
                        format!("mirror of {}", project.name),
                        in_a_line(&error),
                    ));
                    continue;
                }
            };
            for (name, declared) in &project.bases {
                let what = format!("{} {name}", project.name);
                things.push(match mirror.find_base(name) {
                    Ok(Some(base)) => match base.differs(declared, &house.folder) {
                        None => good(what, format!("in the mirror, from {}", base.origin.source)),
                        Some(why) => missing(what, format!("{why}; `branch fetch`")),
                    },
                    Ok(None) if is_used(house, &project.name, name) => {
                        missing(what, "not in the mirror; `branch fetch`")
                    }
                    Ok(None) => good(what, "not in the mirror, and no branch is on it"),
                    Err(error) => broken(what, format!("{error}; {}", mirror.remedy())),
                });
            }
            if self.thorough {
                things.push(objects(&project.name, &mirror));
            }
            for branch in State::all(&mirror) {
                let what = format!("worktree {branch} ({})", project.name);
                let declared = house
                    .declared
                    .branches
                    .get(&branch)
                    .is_some_and(|branch| branch.parts.contains_key(&project.name));
                let desk = Desk::of(&mirror, &branch);
                let ours = worktree::require_ours(&mirror, &branch, &house.folder);
                things.push(match ours.and_then(|()| State::read(&mirror, &branch)) {
                    Err(error) => broken(what, in_a_line(&error.into())),
                    Ok(_) if !declared => missing(
                        what,
                        format!(
                            "the branch is declared no more; its worktree is {}",
                            desk.folder().display()
                        ),
                    ),
                    Ok(Some(state)) if state.operation.is_some() => good(
                        what,
                        "waits at a conflict: `branch continue | skip | abort`",
                    ),
                    Ok(_) => good(what, desk.folder().display().to_string()),
                });
            }
        }
        things.push(good("cache".to_owned(), house.root.display().to_string()));
        let worst = things
            .iter()
            .map(|thing| thing.status)
            .fold(Status::Good, |worst, status| match (worst, status) {
                (Status::Failed, _) | (_, Status::Failed) => Status::Failed,
                (Status::Good, status) => status,
                (worst, _) => worst,
            });
        if self.json {
            let all: Vec<_> = things
                .iter()
                .map(|thing| json!({"what": thing.what, "state": word(thing), "text": thing.text}))
                .collect();
            println!("{:#}", json!(all));
        } else {
            for thing in &things {
                println!("{:8} {}: {}", word(thing), thing.what, thing.text);
            }
        }
        Ok(worst)
    }
}

fn word(thing: &Thing) -> &'static str {
    match thing.status {
        Status::Good => "ok",
        Status::Failed => "BROKEN",
        _ => "missing",
    }
}

fn good(what: String, text: impl Into<String>) -> Thing {
    Thing {
        status: Status::Good,
        what,
        text: text.into(),
    }
}

fn missing(what: String, text: impl Into<String>) -> Thing {
    Thing {
        status: Status::Unavailable,
        what,
        text: text.into(),
    }
}

fn broken(what: String, text: impl Into<String>) -> Thing {
    Thing {
        status: Status::Failed,
        what,
        text: text.into(),
    }
}

fn programs() -> Vec<Thing> {
    let mut things = vec![match git::version() {
        Ok(version) => good("git".to_owned(), version),
        Err(error) => broken("git".to_owned(), error.to_string()),
    }];
    for (program, what_for) in [
        ("xz", "unpacks release tarballs"),
        ("perl", "runs checkpatch.pl and get_maintainer.pl"),
        (
            "apt-get",
            "has Debian's sources; tarballs and repositories need none",
        ),
        (
            "curl",
            "downloads tarballs from an address; other sources need none",
        ),
    ] {
        let found = git::isolated(program)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        things.push(if found {
            good(program.to_owned(), what_for)
        } else {
            missing(program.to_owned(), what_for)
        });
    }
    things
}

fn objects(project: &str, mirror: &Mirror) -> Thing {
    let what = format!("objects of {project}");
    let faults = match mirror.faults() {
        Ok(faults) => faults,
        Err(error) => return broken(what, error.to_string()),
    };
    match faults.split_first() {
        None => good(what, "all there and whole"),
        Some((first, [])) => broken(what, format!("{first}; {}", mirror.remedy())),
        Some((first, more)) => broken(
            what,
            format!("{first}, and {} more; {}", more.len(), mirror.remedy()),
        ),
    }
}

fn is_used(house: &House, project: &str, base: &str) -> bool {
    house
        .declared
        .branches
        .values()
        .filter_map(|branch| branch.parts.get(project))
        .any(|part| part.base == base)
}
