// SPDX-License-Identifier: MIT OR Apache-2.0
//! `stack build` and `stack status`: what a host and its guest run, each part from its branch.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use patch_stack::branch::Applied;
use patch_stack::build::{Kept, Purpose, last_words, run, versions};
use patch_stack::declare::{PartFrom, Stack, StackPart, nearest_name};
use patch_stack::watch::Watch as _;
use serde_json::{Value, json};

use crate::building::{self, Subject};
use crate::cache::{sha256_of, write_whole};
use crate::failure::{Failure, Status};
use crate::house::{House, Place, Shown};
use crate::table;

pub(crate) const ABOUT: &str = "Build the host and guest stack of a platform";
pub(crate) const LONG_ABOUT: &str = "\
The stack of a platform: kernel, QEMU, the SVSM's image, and firmware where one is used. A part that
comes from a branch is built from the branch's tip as its patch files make it, and kept; `status`
says for each part whether it is built from this tip, is STALE, or is not there.

Exit status: 0 good, 1 failed, 2 usage, 3 `status`: a part is stale or not there.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask stack status
  cargo xtask stack build --platform snp
  cargo xtask stack status --json | jq '.[].parts[] | {name, state, path}'";

const EXAMPLES_BUILD: &str = "\
Examples:
  cargo xtask stack build
  cargo xtask stack build --platform snp";
const EXAMPLES_STATUS: &str = "\
Examples:
  cargo xtask stack status --platform snp
  cargo xtask stack status --json | jq '.[].parts[] | {name, state, path}'";

/// Words after `stack`.
#[derive(Debug, Args)]
pub(crate) struct StackWords {
    /// The folder of branches.toml [default: this repository]
    #[arg(short = 'C', long, value_name = "FOLDER", global = true)]
    pub(crate) folder: Option<PathBuf>,

    #[command(subcommand)]
    command: StackCommand,
}

#[derive(Debug, Subcommand)]
enum StackCommand {
    /// Build what is stale or not there
    #[command(after_help = EXAMPLES_BUILD)]
    Build(Options),
    /// Say what is built, and from what
    #[command(after_help = EXAMPLES_STATUS)]
    Status(Options),
}

#[derive(Debug, Args)]
struct Options {
    /// The platform [default: all that branches.toml declares]
    #[arg(long, value_name = "NAME")]
    platform: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How a part stands.
struct Standing {
    state: &'static str,
    from: String,
    path: Option<PathBuf>,
    note: String,
}

const BUILT: &str = "built";
const STALE: &str = "STALE";
const ABSENT: &str = "not built";
const NONE: &str = "none used";

impl StackWords {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let (options, build) = match self.command {
            StackCommand::Build(options) => (options, true),
            StackCommand::Status(options) => (options, false),
        };
        let stacks = chosen(house, options.platform.as_deref())?;
        let watch = Shown::default();
        if build {
            for part in stacks.iter().flat_map(|stack| &stack.parts) {
                make(house, part, &watch).with_context(|| format!("the part {}", part.name))?;
            }
        }
        let mut good = true;
        let mut report = Vec::new();
        for (index, stack) in stacks.iter().enumerate() {
            let mut rows = Vec::new();
            let mut parts = Vec::new();
            for part in &stack.parts {
                let found = standing(house, part)?;
                good &= [BUILT, NONE].contains(&found.state);
                parts.push(found.to_json(&part.name));
                let path = found.path.as_deref().map(shown);
                rows.push(vec![
                    part.name.clone(),
                    found.from.clone(),
                    found.state.to_owned(),
                    path.unwrap_or_else(|| found.note.clone()),
                ]);
            }
            if !options.json {
                if index > 0 {
                    println!();
                }
                println!("{}: {}", stack.name, stack.description);
                table::print(&["part", "from", "state", ""], &rows);
            }
            report.push(json!({ "platform": stack.name, "parts": parts }));
        }
        if options.json {
            println!("{:#}", json!(report));
        }
        Ok(if good {
            Status::Good
        } else {
            Status::NeedsRefresh
        })
    }
}

impl Standing {
    fn to_json(&self, name: &str) -> Value {
        json!({
            "name": name,
            "from": self.from,
            "state": self.state,
            "path": self.path,
            "note": self.note,
        })
    }
}

fn chosen<'h>(house: &'h House, platform: Option<&str>) -> Result<Vec<&'h Stack>> {
    let stacks = &house.declared.stacks;
    match platform {
        None if stacks.is_empty() => {
            Err(Failure::usage("branches.toml declares no stack: add `[stack.NAME]`").into())
        }
        None => Ok(stacks.values().collect()),
        Some(name) => stacks.get(name).map(|stack| vec![stack]).ok_or_else(|| {
            let names = stacks.keys().map(String::as_str);
            Failure::usage(nearest_name("platform", name, names)).into()
        }),
    }
}

/// Builds a part, unless it is there.
fn make(house: &House, part: &StackPart, watch: &Shown) -> Result<()> {
    match &part.from {
        PartFrom::None { .. } => Ok(()),
        PartFrom::Branch { branch } => {
            let place = house.place(branch, None)?;
            let build = with_product(&place)?;
            let (mirror, applied) = building::ready(&place, watch)?;
            let tip = Subject::tip(&place, &mirror, &applied)?;
            if find(&place, &tip)?.is_some() {
                return Ok(());
            }
            let yard = building::yard(&place, build, &mirror, watch)?;
            building::make(&place, build, &yard, &tip, Purpose::Whole, watch)?;
            Ok(())
        }
        PartFrom::Command {
            command, product, ..
        } => {
            let log = house.root.join(format!("stack-{}.log", part.name));
            let _ = std::fs::remove_file(&log);
            // What is edited while the command runs counts as newer.
            let started = SystemTime::now();
            watch.step(&format!("building {}", part.name));
            let mut program = Command::new(&command[0]);
            program.args(&command[1..]).current_dir(&house.folder);
            for (name, _) in std::env::vars_os() {
                // Ours, of the cargo that runs this program; not where its target folder is.
                let text = name.to_string_lossy();
                let ours = text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_");
                if ours {
                    program.env_remove(&name);
                }
            }
            let status = run(&mut program, &log, watch)?;
            if !status.success() {
                let text = std::fs::read(&log).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                let message = format!(
                    "{} failed:\n    {}",
                    command.join(" "),
                    last_words(&text).join("\n    ")
                );
                return Err(Failure::new(Status::Failed, message)
                    .hint(format!("all of its output is in {}", log.display()))
                    .into());
            }
            watch.done();
            let hash = sha256_of(&house.folder.join(product))?;
            let file = stamp(house, &part.name);
            write_whole(&file, hash.as_bytes())?;
            std::fs::File::options()
                .write(true)
                .open(&file)?
                .set_modified(started)?;
            Ok(())
        }
    }
}

fn standing(house: &House, part: &StackPart) -> Result<Standing> {
    match &part.from {
        PartFrom::None { reason } => Ok(Standing {
            state: NONE,
            from: "-".to_owned(),
            path: None,
            note: reason.clone(),
        }),
        PartFrom::Branch { branch } => {
            let place = house.place(branch, None)?;
            of_branch(&place)
        }
        PartFrom::Command {
            command,
            product,
            sources,
        } => {
            let path = house.folder.join(product);
            let state = of_command(house, &part.name, &path, sources);
            Ok(Standing {
                state,
                from: command.join(" "),
                path: path.exists().then_some(path),
                note: String::new(),
            })
        }
    }
}

fn of_branch(place: &Place<'_>) -> Result<Standing> {
    let mut standing = Standing {
        state: ABSENT,
        from: format!("{} on {}", place.branch.name, place.part.base),
        path: None,
        note: String::new(),
    };
    let mirror = place.mirror()?;
    let applied = match place.applied().and_then(|applied| {
        applied.require_applied()?;
        Ok(applied)
    }) {
        Ok(applied) => applied,
        Err(error) => {
            standing.note = error.to_string();
            return Ok(standing);
        }
    };
    standing.from = described(place, &applied);
    let tip = Subject::tip(place, &mirror, &applied)?;
    if let Some(kept) = find(place, &tip)? {
        standing.state = BUILT;
        standing.path = product_of(place, &kept)?;
    } else if let Some(kept) = building::last(place, with_product(place)?) {
        standing.state = STALE;
        standing.path = product_of(place, &kept)?;
        let commit = kept.record["commit"].as_str().unwrap_or("another commit");
        standing.note = format!("built from {commit}");
    }
    Ok(standing)
}

fn described(place: &Place<'_>, applied: &Applied) -> String {
    let tip = applied.tip().to_string();
    format!(
        "{} {} on {}",
        place.branch.name,
        &tip[..12],
        place.part.base
    )
}

fn with_product<'p>(place: &Place<'p>) -> Result<&'p patch_stack::declare::Build> {
    building::builds(place)?
        .into_iter()
        .find(|build| build.product.is_some())
        .ok_or_else(|| {
            Failure::usage(format!(
                "no build of {} has a `product` in branches.toml",
                place.title()
            ))
            .into()
        })
}

/// What was built of this tip.
fn find(place: &Place<'_>, tip: &Subject) -> Result<Option<Kept>> {
    let build = with_product(place)?;
    let key = building::key(place, build, tip, Purpose::Whole, &versions(build))?;
    Ok(Kept::find(&place.house.root, &place.project.name, &key))
}

fn product_of(place: &Place<'_>, kept: &Kept) -> Result<Option<PathBuf>> {
    Ok(building::product(with_product(place)?, kept))
}

fn stamp(house: &House, name: &str) -> PathBuf {
    house.root.join(format!("stack-{name}.built"))
}

/// Is the product the one that was written last, and no source younger than that?
fn of_command(house: &House, name: &str, product: &Path, sources: &[String]) -> &'static str {
    if !product.exists() {
        return ABSENT;
    }
    let stamp = stamp(house, name);
    let (Ok(hash), Ok(when)) = (
        std::fs::read_to_string(&stamp),
        stamp.metadata().and_then(|data| data.modified()),
    ) else {
        return STALE;
    };
    let same = sha256_of(product).is_ok_and(|now| now == hash);
    let younger = sources
        .iter()
        .any(|source| youngest(&house.folder.join(source)).is_some_and(|time| time > when));
    if same && !younger { BUILT } else { STALE }
}

/// When the youngest file of `path` was written.
fn youngest(path: &Path) -> Option<SystemTime> {
    let data = std::fs::symlink_metadata(path).ok()?;
    if !data.is_dir() {
        return data.modified().ok();
    }
    std::fs::read_dir(path)
        .ok()?
        .flatten()
        .filter_map(|entry| youngest(&entry.path()))
        .max()
}

/// A path as people want it: short.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here)
        .unwrap_or(path)
        .display()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_youngest_file_of_a_folder_counts() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        let old = folder.path().join("a/old");
        let new = folder.path().join("new");
        let now = SystemTime::now();
        for (path, age) in [(&old, 100), (&new, 10)] {
            let file = std::fs::File::create(path).unwrap();
            file.set_modified(now - std::time::Duration::from_secs(age))
                .unwrap();
        }
        let time = youngest(folder.path()).unwrap();
        assert_eq!(now.duration_since(time).unwrap().as_secs(), 10);
        assert!(youngest(&folder.path().join("none")).is_none());
    }
}
