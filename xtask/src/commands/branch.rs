// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask branch` and `cargo xtask stack`: passed on, word for word, to the crate
//! `xtask-branch`. It is a program of its own so that whoever only runs Parapet need not compile
//! libgit2.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::workspace::cargo;

pub(crate) const ABOUT: &str = "Keep the downstream branches of Linux and QEMU";
pub(crate) const ABOUT_STACK: &str = "Build the host and guest stack of a platform";

/// Words for the other program.
#[derive(Debug, Args)]
pub(crate) struct Forward {
    #[arg(
        value_name = "WORDS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) words: Vec<OsString>,
}

impl Forward {
    /// Becomes the other program: its terminal, its signals and its status are ours.
    pub(crate) fn run(self, word: &str) -> Result<i32> {
        let here = std::env::current_dir().context("finding the current folder")?;
        let error = cargo()
            .args(["run", "--quiet", "--release", "--package", "xtask-branch"])
            .args(["--", word])
            .args(&self.words)
            .env("PARAPET_CALLED_FROM", here)
            .exec();
        Err(error).context("starting cargo")
    }
}
