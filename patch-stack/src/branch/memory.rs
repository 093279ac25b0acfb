// SPDX-License-Identifier: MIT OR Apache-2.0
//! What came of applying a stack, kept in a file named after all that it depends on: the engine's
//! version, the base and the bytes of every patch.

use std::path::PathBuf;

use git2::Oid;
use serde_json::{Value, json};

use crate::apply::{How, Outcome, Step};
use crate::failure::{At as _, Result};
use crate::hash;
use crate::lock::write_whole;
use crate::mail::Patch;
use crate::mirror::Mirror;

/// Counted up when the engine comes to other commits than before.
const ENGINE: &[u8] = b"patch-stack 2";

/// What became of a series, as far as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// One for each patch that was applied.
    pub steps: Vec<Step>,
    /// The patch that was not, and why.
    pub stopped: Option<(usize, String)>,
}

impl Remembered {
    pub(super) fn of(outcome: &Outcome) -> Self {
        Self {
            steps: outcome.steps.clone(),
            stopped: outcome
                .stopped
                .as_ref()
                .map(|stop| (stop.index, stop.reason.to_string())),
        }
    }

    fn to_json(&self) -> Value {
        let steps: Vec<_> = self
            .steps
            .iter()
            .map(|step| {
                json!([
                    step.commit.to_string(),
                    step.tree.to_string(),
                    match step.how {
                        How::Exact => json!("exact"),
                        How::Offset(lines) => json!(lines),
                        How::OtherMode => json!("mode"),
                        How::ThreeWay => json!("three-way"),
                        How::AlreadyApplied => json!("already"),
                    }
                ])
            })
            .collect();
        json!({ "steps": steps, "stopped": self.stopped })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let steps = value["steps"]
            .as_array()?
            .iter()
            .map(|step| {
                Some(Step {
                    commit: Oid::from_str(step[0].as_str()?).ok()?,
                    tree: Oid::from_str(step[1].as_str()?).ok()?,
                    how: match (step[2].as_str(), step[2].as_u64()) {
                        (Some("exact"), _) => How::Exact,
                        (Some("mode"), _) => How::OtherMode,
                        (Some("three-way"), _) => How::ThreeWay,
                        (Some("already"), _) => How::AlreadyApplied,
                        (_, Some(lines)) => How::Offset(lines),
                        _ => return None,
                    },
                })
            })
            .collect::<Option<_>>()?;
        let stopped = match &value["stopped"] {
            Value::Null => None,
            stop => Some((
                usize::try_from(stop[0].as_u64()?).ok()?,
                stop[1].as_str()?.to_owned(),
            )),
        };
        Some(Self { steps, stopped })
    }
}

pub(super) fn key<'p>(start: Oid, patches: impl Iterator<Item = &'p Patch>) -> String {
    let start = start.to_string();
    let fixed = [ENGINE, start.as_bytes()];
    hash::of_parts(
        fixed
            .into_iter()
            .chain(patches.map(|patch| patch.bytes.as_slice())),
    )
}

fn file(mirror: &Mirror, key: &str) -> PathBuf {
    mirror.root().join("applied").join(&key[..2]).join(key)
}

/// What is remembered under `key`. A file that can't be understood is as good as none.
pub(super) fn recall(mirror: &Mirror, key: &str) -> Result<Option<Remembered>> {
    let Ok(bytes) = std::fs::read(file(mirror, key)) else {
        return Ok(None);
    };
    Ok(serde_json::from_slice(&bytes)
        .ok()
        .and_then(|value| Remembered::from_json(&value)))
}

pub(super) fn keep(mirror: &Mirror, key: &str, outcome: &Remembered) -> Result<()> {
    let file = file(mirror, key);
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent).at("making", parent)?;
    }
    write_whole(&file, outcome.to_json().to_string().as_bytes())
}
