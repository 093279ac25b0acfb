// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench`: what the SVSM costs, held against its limits.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cache::Cache;
use crate::commands::branch::Forward;
use crate::failure::Status;
use crate::guest::{initramfs, kernel};
use crate::machine_tests::Context;
use crate::measures::{Figure, clock, qemu, svsm};
use crate::qemu::Qemu;
use crate::run_folder::RunFolder;
use crate::setup;

/// For all machines together.
const LIMIT: Duration = Duration::from_secs(3600);

pub(crate) const ABOUT: &str = "Measure what the SVSM costs, and hold it against its limits";
pub(crate) const LONG_ABOUT: &str = "\
Measure what the SVSM costs in instructions, memory and time, and hold it against its limits.

Instructions are exact: QEMU runs by instruction count, one instruction a tick. \"In the SVSM\" means
what VMPL0 itself executes; the emulator's own work for a trapped instruction is left out. Each cost
is also shown for three sizes of the work, so that one sees how it grows.

Ends with status 1 if a limit is broken.

PARAPET_QEMU names the QEMU to use; without it, it is qemu-system-x86_64 in PATH.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask bench
  cargo xtask bench --json > bench.json
  cargo xtask bench branch               the downstream branches, beside git
  cargo xtask bench qemu ./qemu-system-x86_64    another QEMU beside the usual one
  cargo xtask bench --quick              leaves out what is measured with a clock";

/// Measures.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) what: Option<What>,

    /// Print one JSON object instead of the table
    #[arg(long)]
    pub(crate) json: bool,

    /// Leave out what is measured with a clock: a run in a fresh clone and a warm one
    #[arg(long)]
    pub(crate) quick: bool,
}

/// Something else to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Measure what the downstream branches cost, beside git
    #[command(disable_help_flag = true)]
    Branch(Forward),

    /// Measure what the emulator costs on other QEMUs, beside the usual one
    #[command(long_about = qemu::LONG_ABOUT, after_help = qemu::EXAMPLES)]
    Qemu(qemu::Others),
}

impl Bench {
    /// Measures; returns the status to end with.
    pub(crate) fn run(self) -> Result<i32> {
        match self.what {
            Some(What::Branch(mut words)) => {
                words.words.insert(0, "branch".into());
                return words.run("bench");
            }
            Some(What::Qemu(others)) => return others.run(),
            None => {}
        }
        setup::ensure(false)?;
        let cache = Cache::open()?;
        let qemu = Qemu::find(None)?;
        let kernel = kernel::default(&cache)?;
        let initrd = initramfs::default_for(&kernel, &cache)?;
        let folder = RunFolder::create()?;
        let mut context = Context::new(&qemu, &kernel, &initrd, folder.path(), "bench", LIMIT)?;
        let mut figures = Vec::new();
        if !self.quick {
            figures.extend(clock::figures()?);
        }
        figures.extend(svsm::sizes(&context)?);
        figures.extend(svsm::calls(&mut context)?);
        figures.extend(svsm::start(&mut context)?);
        let broken = figures.iter().filter(|figure| !figure.holds()).count();
        if self.json {
            let list: Vec<_> = figures.iter().map(Figure::json).collect();
            println!("{:#}", json!({ "figures": list, "broken": broken }));
        } else {
            for figure in &figures {
                println!("{}", figure.line());
            }
            if broken > 0 {
                println!("{broken} of the limits are broken");
            }
        }
        Ok(if broken == 0 {
            0
        } else {
            i32::from(Status::TestFailed as u8)
        })
    }
}
