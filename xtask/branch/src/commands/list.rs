// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch list`: what is declared.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::failure::Status;
use crate::house::House;
use crate::table;

pub(crate) const ABOUT: &str = "List the branches, their bases and their series";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask branch list
  cargo xtask branch list --json | jq '.[].name'";

/// Lists.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl List {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let places = house.places(None)?;
        if self.json {
            let all: Vec<_> = places
                .iter()
                .map(|place| {
                    json!({
                        "name": place.branch.name,
                        "project": place.project.name,
                        "base": place.part.base,
                        "series": place.part.series,
                        "description": place.branch.description,
                        "owner": place.branch.owner,
                        "downstream_only": place.branch.downstream_only,
                    })
                })
                .collect();
            println!("{:#}", json!(all));
            return Ok(Status::Good);
        }
        let rows: Vec<_> = places
            .iter()
            .map(|place| {
                vec![
                    place.branch.name.clone(),
                    place.project.name.clone(),
                    place.part.base.clone(),
                    place.part.series.join(" "),
                    place.branch.description.clone(),
                ]
            })
            .collect();
        table::print(&["branch", "project", "base", "series", "what for"], &rows);
        Ok(Status::Good)
    }
}
