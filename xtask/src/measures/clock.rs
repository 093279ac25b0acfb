// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a user waits for, by the clock.
#![forbid(unsafe_code)]

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use super::Figure;
use crate::progress::Step;
use crate::run_folder::RunFolder;
use crate::{signals, workspace};

/// One run in a fresh clone, one that finds all done.
pub(crate) fn figures() -> Result<Vec<Figure>> {
    let folder = RunFolder::create()?;
    let clone = folder.path().join("clone");
    let status = Command::new("git")
        .args(["clone", "--quiet"])
        .arg(workspace::root())
        .arg(&clone)
        .stdin(Stdio::null())
        .spawn()
        .context("starting git")
        .and_then(|mut child| signals::wait(&mut child))?;
    if !status.success() {
        bail!("the clone failed");
    }
    let run = || {
        let started = Instant::now();
        let mut child = Command::new("cargo")
            .args(["xtask", "run", "--", "true"])
            .current_dir(&clone)
            .env_remove("CARGO_TARGET_DIR")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("starting cargo")?;
        let status = signals::wait(&mut child)?;
        ensure!(
            status.success(),
            "`cargo xtask run -- true` ended with {status}"
        );
        Ok::<_, anyhow::Error>(started.elapsed().as_secs_f64())
    };
    let step = Step::start("running in a fresh clone");
    let fresh = run()?;
    step.done();
    let step = Step::start("running again");
    let warm = run()?;
    step.done();
    Ok(vec![
        Figure::new(
            "`cargo xtask run -- true` in a fresh clone",
            fresh,
            "seconds",
        )
        .at_most(150.0),
        Figure::new("the same, warm", warm, "seconds").at_most(12.0),
    ])
}
