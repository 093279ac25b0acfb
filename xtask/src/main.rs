// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask`: builds, runs, tests and measures Parapet.

#[cfg(test)]
mod book;
mod commands;
mod failure;
mod guest;
mod host;
mod host_tests;
mod image;
mod image_store;
mod machine_tests;
mod measures;
mod options;
mod qemu;
mod run_folder;
mod runner;
mod session;
mod setup;
mod size;
mod statistics;
mod trace;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask_common::{cache, captured, hex, progress, signals};

use crate::commands::{bench, branch, build, doctor, measure, run, test};
use crate::failure::Status;

/// Builds, runs, tests and measures Parapet, an SVSM for confidential guests
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(about = run::ABOUT, long_about = run::LONG_ABOUT, after_help = run::EXAMPLES)]
    Run(Box<run::Run>),
    #[command(about = test::ABOUT, long_about = test::LONG_ABOUT, after_help = test::EXAMPLES)]
    Test(test::Test),
    #[command(about = bench::ABOUT, long_about = bench::LONG_ABOUT, after_help = bench::EXAMPLES)]
    Bench(bench::Bench),
    #[command(about = build::ABOUT, long_about = build::LONG_ABOUT, after_help = build::EXAMPLES)]
    Build(build::Build),
    #[command(about = measure::ABOUT, long_about = measure::LONG_ABOUT, after_help = measure::EXAMPLES)]
    Measure(measure::Measure),
    #[command(about = doctor::ABOUT, long_about = doctor::LONG_ABOUT)]
    Doctor(doctor::Doctor),
    #[command(about = branch::ABOUT, disable_help_flag = true)]
    Branch(branch::Forward),
    #[command(about = branch::ABOUT_STACK, disable_help_flag = true)]
    Stack(branch::Forward),
}

fn main() -> ExitCode {
    match start() {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(Status::Failed as u8)),
        Err(error) => ExitCode::from(failure::report(&error)),
    }
}

fn start() -> Result<i32> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no failure.
            error.print()?;
            return Ok(if error.use_stderr() {
                i32::from(Status::Usage as u8)
            } else {
                0
            });
        }
    };
    signals::install()?;
    workspace::this_program()?;
    match cli.command {
        Command::Run(run) => run.run(),
        Command::Test(test) => test.run(),
        Command::Bench(bench) => bench.run(),
        Command::Build(build) => build.run(),
        Command::Measure(measure) => measure.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Branch(words) => words.run("branch"),
        Command::Stack(words) => words.run("stack"),
    }
}
