// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch import`: a mailed series into the repository.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use patch_stack::{begin, import, mail};
use serde_json::json;

use crate::failure::Status;
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

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Import {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let place = house.place(&self.branch, self.project.as_deref())?;
        let options = mail::Options {
            keep_cr: place.project.keep_cr,
        };
        let mailed = import::read(&self.mails, &options)?;
        let folder = house.begin(&place.project.name, &self.branch, |ground| {
            begin::series(ground, &self.series, &mailed, self.ours)
        })?;
        if self.json {
            let names: Vec<_> = mailed.patches.iter().map(|(name, _)| name).collect();
            println!(
                "{:#}",
                json!({
                    "series": self.series,
                    "folder": folder,
                    "title": mailed.title,
                    "message_id": mailed.message_id,
                    "patches": names,
                })
            );
            return Ok(Status::Good);
        }
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
