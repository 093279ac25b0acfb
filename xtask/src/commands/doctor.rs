// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask doctor`: what is there, what is missing, and how to get it.

use std::process::{Command, Stdio};

use anyhow::Result;
use clap::Args;
use xtask_common::{apt, busybox};

use crate::cache::Cache;
use crate::failure::Status;
use crate::guest::kernel;
use crate::host;
use crate::qemu::{self, Qemu};
use crate::setup;
use crate::workspace::TARGET;

pub(crate) const ABOUT: &str = "Say what is there, what is missing, and how to get it";
pub(crate) const LONG_ABOUT: &str = "\
Look for everything that the other commands use: the Rust toolchain with its target for bare metal,
QEMU, a static busybox, the guest's kernel. Nothing is installed or fetched, unless
--update-kernel asks for Debian's newest kernel.

`run` and `test` install by themselves what is missing, as far as they may.

Ends with status 0 if all that is needed is there or can be fetched, else with 253.";

/// Looks around.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Fetch Debian's newest 6.12 cloud kernel, even if the cache has an older one
    #[arg(long)]
    pub(crate) update_kernel: bool,
}

/// How one thing stands.
enum State {
    /// It is there.
    Good(String),
    /// It is not, and the other commands get it by themselves.
    Later(String),
    /// It is not, and nothing goes without it.
    Missing(String),
    /// Good to know.
    Note(String),
}

impl Doctor {
    /// Looks; returns the status to end with.
    pub(crate) fn run(self) -> Result<i32> {
        let cache = Cache::open()?;
        if self.update_kernel {
            kernel::fetch_newest(&cache)?;
        }
        let mut missing = 0;
        for state in [
            rust(),
            target(),
            component("clippy"),
            component("rustfmt"),
            qemu(),
            busybox(),
            guest_kernel(&cache)?,
            kvm(),
            machine(),
            State::Note(format!("cache       {}", Cache::place()?.display())),
        ] {
            match state {
                State::Good(text) => println!("ok       {text}"),
                State::Later(text) => println!("later    {text}"),
                State::Note(text) => println!("note     {text}"),
                State::Missing(text) => {
                    missing += 1;
                    println!("missing  {text}");
                }
            }
        }
        Ok(if missing == 0 {
            0
        } else {
            i32::from(Status::Missing as u8)
        })
    }
}

/// The first line that a program prints with `arguments`.
fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(crate::workspace::root())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.lines().next().unwrap_or_default().to_owned())
}

fn rust() -> State {
    match first_line("rustc", &["--version"]) {
        Some(version) => State::Good(format!("Rust        {version}")),
        None => State::Missing("Rust        install it from https://rustup.rs".to_owned()),
    }
}

fn target() -> State {
    if setup::has_target() {
        State::Good(format!("target      {TARGET}"))
    } else if first_line("rustup", &["--version"]).is_some() {
        State::Later(format!("target      {TARGET}: `{}`", setup::target_line()))
    } else {
        State::Missing(format!(
            "target      {TARGET}: use rustup, or your distribution's package of it"
        ))
    }
}

fn component(name: &'static str) -> State {
    let program = if name == "clippy" {
        "clippy-driver"
    } else {
        "rustfmt"
    };
    match first_line(program, &["--version"]) {
        Some(version) => State::Good(format!("{name:<10}  {version}")),
        None => State::Note(format!(
            "{name:<10}  only `test` uses it: `rustup component add {name}`"
        )),
    }
}

fn qemu() -> State {
    match Qemu::find(None) {
        Ok(found) => {
            let place = match qemu::named(None) {
                Some(named) => named,
                None => qemu::in_path(qemu::PROGRAM).unwrap_or(found.program),
            };
            State::Good(format!(
                "QEMU        {} at {}, emulates nested SVM",
                found.version,
                place.display()
            ))
        }
        Err(error) => {
            let packages = setup::missing_packages(false);
            if packages.is_empty() {
                State::Missing(format!("QEMU        {error}"))
            } else if apt::exists() {
                State::Later(format!(
                    "QEMU        {error}: `{}`",
                    setup::packages_line(&packages)
                ))
            } else {
                State::Missing(format!(
                    "QEMU        {error}: use this machine's package manager"
                ))
            }
        }
    }
}

fn busybox() -> State {
    match busybox::installed() {
        Some(path) => State::Good(format!("busybox     {} (static)", path.display())),
        None if apt::exists() => State::Later(
            "busybox     fetched into the cache when it is needed, or `apt-get install busybox-static`"
                .to_owned(),
        ),
        None => State::Missing("busybox     install a static one, or use --initrd".to_owned()),
    }
}

fn guest_kernel(cache: &Cache) -> Result<State> {
    Ok(match kernel::newest_cached(cache)? {
        Some(folder) => State::Good(format!("kernel      {}", kernel::origin(&folder))),
        None if apt::exists() => State::Later(
            "kernel      Debian's newest 6.12 cloud kernel, fetched into the cache when it is needed"
                .to_owned(),
        ),
        None => State::Missing("kernel      no apt to fetch Debian's: use --kernel FILE".to_owned()),
    })
}

fn kvm() -> State {
    State::Note(match (host::open_kvm(), host::has_nested_svm()) {
        (Ok(_), true) => {
            "KVM         offers nested AMD virtualisation: --accel kvm may work".to_owned()
        }
        _ => "KVM         no nested AMD virtualisation here; emulation does without".to_owned(),
    })
}

fn machine() -> State {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let free = host::free_memory().unwrap_or(0);
    State::Note(format!(
        "machine     {cores} cores, {} MiB of memory free",
        free >> 20
    ))
}
