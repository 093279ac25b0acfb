// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask branch`, `cargo xtask stack` and `cargo xtask bench branch`: the command line
//! over the patch engine. A program of its own, so that whoever only runs Parapet need not compile
//! libgit2; xtask starts it and passes everything through.

mod boot;
mod building;
mod commands;
mod failure;
mod house;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask_common::{cache, progress, signals};

use crate::commands::{
    apply, bench, build, check, clean, doctor, edit, export, fetch, format, history, import, list,
    lock, new, rebase, resume, status, verify,
};
use crate::failure::Status;
use crate::house::House;

/// Keeps the downstream branches of Linux and QEMU
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    word: Word,
}

#[derive(Debug, Subcommand)]
enum Word {
    #[command(about = commands::ABOUT, long_about = commands::LONG_ABOUT, after_help = commands::EXAMPLES)]
    Branch(BranchWords),
    #[command(about = bench::ABOUT, hide = true)]
    Bench(BenchWords),
    #[command(about = commands::stack::ABOUT, long_about = commands::stack::LONG_ABOUT, after_help = commands::stack::EXAMPLES)]
    Stack(commands::stack::StackWords),
}

#[derive(Debug, clap::Args)]
struct BenchWords {
    #[command(subcommand)]
    what: BenchWhat,
}

#[derive(Debug, Subcommand)]
enum BenchWhat {
    #[command(about = bench::ABOUT, long_about = bench::LONG_ABOUT, after_help = bench::EXAMPLES)]
    Branch(bench::Bench),
}

#[derive(Debug, clap::Args)]
struct BranchWords {
    /// The folder of branches.toml [default: this repository]
    #[arg(short = 'C', long, value_name = "FOLDER", global = true)]
    folder: Option<PathBuf>,

    #[command(subcommand)]
    command: BranchCommand,
}

#[derive(Debug, Subcommand)]
enum BranchCommand {
    #[command(about = list::ABOUT, after_help = list::EXAMPLES)]
    List(list::List),
    #[command(about = status::ABOUT, long_about = status::LONG_ABOUT, after_help = status::EXAMPLES)]
    Status(status::StatusCommand),
    #[command(about = fetch::ABOUT, long_about = fetch::LONG_ABOUT, after_help = fetch::EXAMPLES)]
    Fetch(fetch::Fetch),
    #[command(about = lock::ABOUT, long_about = lock::LONG_ABOUT, after_help = lock::EXAMPLES)]
    Lock(lock::LockCommand),
    #[command(about = verify::ABOUT, long_about = verify::LONG_ABOUT, after_help = verify::EXAMPLES)]
    Verify(verify::Verify),
    #[command(about = apply::ABOUT, long_about = apply::LONG_ABOUT, after_help = apply::EXAMPLES)]
    Apply(apply::Apply),
    #[command(about = resume::ABOUT_CONTINUE, after_help = resume::EXAMPLES_CONTINUE)]
    Continue(resume::Resume),
    #[command(about = resume::ABOUT_SKIP, after_help = resume::EXAMPLES_SKIP)]
    Skip(resume::Resume),
    #[command(about = resume::ABOUT_ABORT, after_help = resume::EXAMPLES_ABORT)]
    Abort(resume::Resume),
    #[command(about = edit::ABOUT, long_about = edit::LONG_ABOUT, after_help = edit::EXAMPLES)]
    Edit(edit::Edit),
    #[command(about = export::ABOUT, long_about = export::LONG_ABOUT, after_help = export::EXAMPLES)]
    Export(export::Export),
    #[command(about = rebase::ABOUT, long_about = rebase::LONG_ABOUT, after_help = rebase::EXAMPLES)]
    Rebase(rebase::RebaseCommand),
    #[command(about = rebase::ABOUT_LANDED, long_about = rebase::LONG_ABOUT_LANDED, after_help = rebase::EXAMPLES_LANDED)]
    Landed(rebase::LandedCommand),
    #[command(about = doctor::ABOUT, long_about = doctor::LONG_ABOUT, after_help = doctor::EXAMPLES)]
    Doctor(doctor::Doctor),
    #[command(about = new::ABOUT, after_help = new::EXAMPLES)]
    New(new::New),
    #[command(about = import::ABOUT, long_about = import::LONG_ABOUT, after_help = import::EXAMPLES)]
    Import(import::Import),
    #[command(about = format::ABOUT, long_about = format::LONG_ABOUT, after_help = format::EXAMPLES)]
    Format(format::Format),
    #[command(about = history::ABOUT_DIFF, long_about = history::LONG_ABOUT_DIFF, after_help = history::EXAMPLES_DIFF)]
    Diff(history::Diff),
    #[command(about = history::ABOUT_LOG, after_help = history::EXAMPLES_LOG)]
    Log(history::Log),
    #[command(about = check::ABOUT, long_about = check::LONG_ABOUT, after_help = check::EXAMPLES)]
    Check(check::CheckCommand),
    #[command(about = build::ABOUT, long_about = build::LONG_ABOUT, after_help = build::EXAMPLES)]
    Build(build::BuildCommand),
    #[command(about = commands::boot::ABOUT, long_about = commands::boot::LONG_ABOUT, after_help = commands::boot::EXAMPLES)]
    Boot(commands::boot::BootCommand),
    #[command(about = clean::ABOUT, long_about = clean::LONG_ABOUT, after_help = clean::EXAMPLES)]
    Clean(clean::Clean),
}

fn main() -> ExitCode {
    quiet_when_nobody_reads();
    match start() {
        Ok(status) => ExitCode::from(status as u8),
        Err(error) => ExitCode::from(failure::report(&error)),
    }
}

/// `... | head` ends the tool in silence, once the reader is gone; a full disk is told. SIGPIPE stays
/// ignored all the same: a git that dies under our writing is an error to be told.
fn quiet_when_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // What `println!` panics with; the error's own text is all that is left of it.
        let said = panic.payload().downcast_ref::<String>();
        let Some(why) = said.and_then(|text| text.strip_prefix("failed printing to stdout: "))
        else {
            return usual(panic);
        };
        if why == std::io::Error::from_raw_os_error(EPIPE).to_string() {
            std::process::exit(128 + signal_hook::consts::SIGPIPE);
        }
        eprintln!("error: writing to the standard output: {why}");
        std::process::exit(Status::Failed as i32);
    }));
}

/// Linux's number of "Broken pipe", errno(3).
const EPIPE: i32 = 32;

fn start() -> Result<Status> {
    // xtask runs cargo in the workspace; paths are meant from where the user stands.
    if let Some(folder) = std::env::var_os("PARAPET_CALLED_FROM") {
        std::env::set_current_dir(folder)?;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            error.print()?;
            return Ok(if error.use_stderr() {
                Status::Usage
            } else {
                Status::Good
            });
        }
    };
    signals::install()?;
    signals::pass_on()?;
    let words = match cli.word {
        Word::Branch(words) => words,
        Word::Bench(words) => {
            let BenchWhat::Branch(command) = words.what;
            return command.run(&House::open(None)?);
        }
        Word::Stack(words) => {
            let house = House::open(words.folder.as_deref())?;
            return words.run(&house);
        }
    };
    let folder = words.folder.as_deref();
    let house = match &words.command {
        BranchCommand::Lock(command) if command.writes_all() => House::open_without_lock(folder)?,
        _ => House::open(folder)?,
    };
    match words.command {
        BranchCommand::List(command) => command.run(&house),
        BranchCommand::Status(command) => command.run(&house),
        BranchCommand::Fetch(command) => command.run(&house),
        BranchCommand::Lock(command) => command.run(&house),
        BranchCommand::Verify(command) => command.run(&house),
        BranchCommand::Apply(command) => command.run(&house),
        BranchCommand::Continue(command) => command.run(&house, resume::CONTINUE),
        BranchCommand::Skip(command) => command.run(&house, resume::SKIP),
        BranchCommand::Abort(command) => command.run(&house, resume::ABORT),
        BranchCommand::Edit(command) => command.run(&house),
        BranchCommand::Export(command) => command.run(&house),
        BranchCommand::Rebase(command) => command.run(&house),
        BranchCommand::Landed(command) => command.run(&house),
        BranchCommand::Check(command) => command.run(&house),
        BranchCommand::Doctor(command) => command.run(&house),
        BranchCommand::New(command) => command.run(&house),
        BranchCommand::Import(command) => command.run(&house),
        BranchCommand::Format(command) => command.run(&house),
        BranchCommand::Diff(command) => command.run(&house),
        BranchCommand::Log(command) => command.run(&house),
        BranchCommand::Build(command) => command.run(&house),
        BranchCommand::Boot(command) => command.run(&house),
        BranchCommand::Clean(command) => command.run(&house),
    }
}
