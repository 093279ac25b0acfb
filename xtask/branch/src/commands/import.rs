// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch import`: a mailed series into the repository.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use patch_stack::{declare, import, mail};

use crate::failure::{Failure, Status};
use crate::house::House;

pub(crate) const ABOUT: &str = "Take a mailed series in, with its message-id";
pub(crate) const LONG_ABOUT: &str = "\
Take a mailed series in, from a mailbox or a folder of mails. Each mail keeps its bytes; order comes
from the [PATCH n/m] tags; replies are left out; a series that is not whole is refused. It becomes
an external layer of the branch, below our own series: an export never writes it.

With --ours it becomes a series of our own, which may be edited.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  b4 am -o - 20260608144252.351443-1-joro@8bytes.org > planes.mbox
  cargo xtask branch import planes planes.mbox --series planes-v1";

/// Takes in.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The branch
    #[arg(value_name = "BRANCH")]
    branch: String,

    /// A mailbox, or a folder of mails
    #[arg(value_name = "MBOX|DIR")]
    mails: PathBuf,

    /// The name of the new series
    #[arg(long, value_name = "NAME")]
    series: String,

    /// Make it a series of our own
    #[arg(long)]
    ours: bool,

    /// The project, where the branch has parts in several
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
}

impl Import {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let place = house.place(&self.branch, self.project.as_deref())?;
        declare::check_name(&self.series).map_err(Failure::usage)?;
        if place.project.series.contains_key(&self.series) {
            return Err(
                Failure::usage(format!("there is a series {} already", self.series)).into(),
            );
        }
        let options = mail::Options {
            keep_cr: place.project.keep_cr,
        };
        let mailed = import::read(&self.mails, &options)?;
        let id = match (&mailed.message_id, self.ours) {
            (_, true) => None,
            (Some(id), false) => Some(id.as_str()),
            (None, false) => {
                return Err(Failure::usage("the mails have no Message-ID")
                    .hint("--ours takes them in as a series of our own")
                    .into());
            }
        };
        if let Some(twin) = place
            .project
            .series
            .values()
            .find(|series| id.is_some() && series.message_id.as_deref() == id)
        {
            return Err(
                Failure::usage(format!("the series {} is that mail already", twin.name)).into(),
            );
        }
        let folder = house.folder.join(&place.project.patches).join(&self.series);
        if folder.exists() {
            return Err(Failure::new(
                Status::Refused,
                format!("there is a folder {} already", folder.display()),
            )
            .into());
        }
        let file = house.folder.join("branches.toml");
        let text = std::fs::read_to_string(&file)?;
        let changed = declare::with_series(
            &text,
            &self.branch,
            &place.project.name,
            &self.series,
            &mailed.title,
            id,
        )
        .map_err(patch_stack::failure::Failure::from)?;
        // The folder is made whole beside its place; the declaration is last.
        let fresh = folder.with_file_name(format!(".{}.new", self.series));
        let _ = std::fs::remove_dir_all(&fresh);
        std::fs::create_dir_all(&fresh).with_context(|| fresh.display().to_string())?;
        let mut order = String::new();
        for (name, bytes) in &mailed.patches {
            std::fs::write(fresh.join(name), bytes)?;
            order.push_str(name);
            order.push('\n');
        }
        std::fs::write(fresh.join("series"), order)?;
        if let Some(cover) = &mailed.cover {
            std::fs::write(fresh.join("cover.mail"), cover)?;
        }
        std::fs::rename(&fresh, &folder)?;
        crate::cache::write_whole(&file, changed.as_bytes())?;
        println!(
            "{} patches are in {}, \"{}\"",
            mailed.patches.len(),
            folder.display(),
            mailed.title
        );
        println!(
            "see whether they apply: cargo xtask branch apply {} --dry-run",
            self.branch
        );
        Ok(Status::Good)
    }
}
