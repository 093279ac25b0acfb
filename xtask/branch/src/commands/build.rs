// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch build`: does it compile, patch by patch?

use anyhow::Result;
use clap::Args;
use patch_stack::branch::{self, Applied};
use patch_stack::build::{Purpose, Yard};
use patch_stack::declare::Build;
use patch_stack::failure::Kind;
use patch_stack::watch::Watch as _;
use serde_json::{Value, json};

use crate::building::{self, Built, Subject};
use crate::failure::Status;
use crate::house::{House, Place, Shown};

pub(crate) const ABOUT: &str = "Build a branch, or each of its patches";
pub(crate) const LONG_ABOUT: &str = "\
Build a branch as branches.toml says. The sources come from the mirror; they and the build folder
stay in the cache, so that the next build compiles only what has changed. What was built before,
from the same tree, declaration and compilers, is not built again.

A build passes only if the object of every C or assembly file that the branch touches is there and
is no older than its source, and so is what the declaration requires. Files that another build
compiles are counted, and are no pass.

With --each the base is built first, then the branch patch by patch, up to the first that breaks.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask branch build planes
  cargo xtask branch build planes --each     which patch breaks the build?";

/// Builds.
#[derive(Debug, Args)]
pub(crate) struct BuildCommand {
    /// The branch
    #[arg(value_name = "BRANCH")]
    branch: String,

    /// The project, where the branch has parts in several
    #[arg(long, value_name = "NAME")]
    project: Option<String>,

    /// Build each patch
    #[arg(long)]
    each: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl BuildCommand {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let place = house.place(&self.branch, self.project.as_deref())?;
        let builds = building::builds(&place)?;
        let watch = Shown::default();
        let (mirror, applied) = building::ready(&place, &watch)?;
        let mut reports = Vec::new();
        let mut status = Status::Good;
        for build in builds {
            let yard = building::yard(&place, build, &mirror, &watch)?;
            let job = Job {
                place: &place,
                build,
                yard: &yard,
                applied: &applied,
                watch: &watch,
                quiet: self.json,
            };
            let mut steps = Vec::new();
            let mut good = true;
            if self.each {
                let base = Subject::base(&place, &mirror, &applied)?;
                good = job.one(&base, Purpose::Patch, &mut steps)? && job.each(&mut steps)?;
            }
            if good {
                let tip = Subject::tip(&place, &mirror, &applied)?;
                good = job.one(&tip, Purpose::Whole, &mut steps)?;
            }
            if !good {
                status = Status::Failed;
            }
            reports.push(json!({ "build": build.name, "good": good, "steps": steps }));
        }
        if self.json {
            let report = json!({
                "branch": place.branch.name,
                "project": place.project.name,
                "base": place.part.base,
                "tip_commit": applied.tip().to_string(),
                "builds": reports,
            });
            println!("{report:#}");
        }
        Ok(status)
    }
}

struct Job<'j> {
    place: &'j Place<'j>,
    build: &'j Build,
    yard: &'j Yard<'j>,
    applied: &'j Applied,
    watch: &'j Shown,
    quiet: bool,
}

impl Job<'_> {
    /// Builds each patch, up to the first that breaks.
    fn each(&self, steps: &mut Vec<Value>) -> Result<bool> {
        for (index, file) in branch::patches(&self.applied.layers).enumerate() {
            self.watch.check()?;
            let subject = Subject::step(&file.name, self.applied, index, &file.patch);
            if !self.one(&subject, Purpose::Patch, steps)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Builds one subject and tells of it; false if it does not build.
    fn one(&self, subject: &Subject, purpose: Purpose, steps: &mut Vec<Value>) -> Result<bool> {
        let result = building::make(
            self.place, self.build, self.yard, subject, purpose, self.watch,
        );
        match result {
            Ok(built) => {
                if !self.quiet {
                    println!("{}", self.line(subject, purpose, &built));
                }
                steps.push(json!({
                    "of": subject.name,
                    "commit": subject.commit.to_string(),
                    "verdict": "built",
                    "cached": built.cached,
                    "record": built.kept.record,
                    "product": building::product(self.build, &built.kept)
                        .filter(|_| purpose == Purpose::Whole),
                }));
                Ok(true)
            }
            Err(error) => {
                let library = error.downcast_ref::<patch_stack::failure::Failure>();
                let ours = error.downcast_ref::<crate::failure::Failure>();
                if library.is_some_and(|failure| failure.kind != Kind::Failed)
                    || (library.is_none() && ours.is_none())
                {
                    return Err(error);
                }
                steps.push(json!({
                    "of": subject.name,
                    "commit": subject.commit.to_string(),
                    "verdict": "failed",
                    "reason": error.to_string(),
                }));
                if !self.quiet {
                    println!("FAILED   {}: {error}", subject.name);
                    if let Some(hint) = library.and_then(|failure| failure.hint.as_deref()) {
                        println!("         {hint}");
                    }
                }
                Ok(false)
            }
        }
    }

    fn line(&self, subject: &Subject, purpose: Purpose, built: &Built) -> String {
        let mut line = format!("built    {}", subject.name);
        match built.count("objects") {
            0 => {}
            1 => line.push_str(", 1 object looked for and found"),
            count => line.push_str(&format!(", {count} objects looked for and found")),
        }
        for (list, what) in [
            ("elsewhere", "that another build compiles"),
            ("nowhere", "that NO build compiles"),
        ] {
            let files = match built.count(list) {
                0 => continue,
                1 => "1 file".to_owned(),
                count => format!("{count} files"),
            };
            line.push_str(&format!(", {files} {what}"));
        }
        line.push_str(&if built.cached {
            " (before)".to_owned()
        } else {
            format!(" ({:.1} s)", built.seconds())
        });
        if let (Purpose::Whole, Some(path)) = (purpose, building::product(self.build, &built.kept))
        {
            line.push_str(&format!("\n         {}", path.display()));
        }
        line
    }
}
