// SPDX-License-Identifier: MIT OR Apache-2.0
//! The source tree: where it is, and how its bare-metal binaries are built.
#![forbid(unsafe_code)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::failure::{Failure, Status};
use crate::progress::Step;
use crate::signals;

/// The target of everything that runs in the machine.
pub(crate) const TARGET: &str = "x86_64-unknown-none";
/// The packages whose binaries run in the machine.
pub(crate) const BARE_METAL: [&str; 3] = ["emulator", "parapet-snp", "snp-shim"];
/// The bare-metal guest that tests and the benchmark boot in Linux's place.
pub(crate) const PROBE: &str = "probe";
/// The Linux program, without a C library, that asks `/dev/sev-guest` for a report.
pub(crate) const REPORT_PROGRAM: &str = "snp-report";

/// How the binaries of the machine are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Small and quiet: what is measured and shipped.
    Release,
    /// With assertions, overflow checks and a talkative log.
    Debug,
}

impl Profile {
    /// The name of the profile in Cargo.toml.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Release => "image",
            Self::Debug => "image-debug",
        }
    }
}

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    // The tool runs where it was built, in a checkout.
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the workspace")
}

/// This program's file. Asked for first when the tool starts: cargo may replace the file later.
pub(crate) fn this_program() -> Result<&'static Path> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    match PROGRAM.get() {
        Some(path) => Ok(path),
        None => {
            let path = std::env::current_exe().context("finding this program")?;
            Ok(PROGRAM.get_or_init(|| path))
        }
    }
}

/// Where results for people go.
pub(crate) fn out() -> Result<PathBuf> {
    let out = root().join("out");
    std::fs::create_dir_all(&out).with_context(|| format!("making {}", out.display()))?;
    Ok(out)
}

/// Cargo's target folder.
pub(crate) fn target_folder() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// A cargo command in the workspace, with this cargo.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // Set by `cargo run` for this process, not for the crates that are built now.
    for name in [
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_PKG_NAME",
    ] {
        command.env_remove(name);
    }
    command
}

/// The bare-metal binaries, freshly built.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    files: Vec<(String, PathBuf)>,
}

/// What was built, and for whom.
type Built = (Profile, Option<&'static str>, Binaries);

impl Binaries {
    /// Builds all of them, and the bare-metal guest `guest`; if nothing has changed that takes a
    /// moment, and the second time in one run of the tool nothing.
    pub(crate) fn build(profile: Profile, guest: Option<&'static str>) -> Result<Self> {
        static BUILT: Mutex<Vec<Built>> = Mutex::new(Vec::new());
        let lock = || BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock()
            .iter()
            .find(|built| (built.0, built.1) == (profile, guest))
            .map(|built| built.2.clone());
        match known {
            Some(binaries) => Ok(binaries),
            None => {
                let binaries = Self::build_now(profile, guest)?;
                lock().push((profile, guest, binaries.clone()));
                Ok(binaries)
            }
        }
    }

    fn build_now(profile: Profile, guest: Option<&str>) -> Result<Self> {
        let step = Step::start("building the emulator and the SVSM");
        let mut command = cargo();
        command
            .args([
                "build",
                "--quiet",
                "--message-format=json-render-diagnostics",
            ])
            .args(["--target", TARGET, "--profile", profile.name()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        for package in BARE_METAL.into_iter().chain(guest) {
            command.args(["--package", package, "--bin", package]);
        }
        let mut child = command.spawn().context("starting cargo")?;
        let stdout = child.stdout.take().context("cargo's output")?;
        let reader = std::thread::spawn(move || {
            let mut files = Vec::new();
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Ok(message) = serde_json::from_str::<Value>(&line) else {
                    continue;
                };
                if message["reason"] != "compiler-artifact" {
                    continue;
                }
                let name = message["target"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                if message["fresh"] == false {
                    step.detail(name.as_str());
                }
                if let Some(file) = message["executable"].as_str() {
                    files.push((name, PathBuf::from(file)));
                }
            }
            (files, step)
        });
        let status = signals::wait(&mut child)?;
        let (files, step) = reader.join().ok().context("reading cargo's messages")?;
        if !status.success() {
            drop(step);
            return Err(Failure::new(Status::Failed, "the build failed")
                .hint("cargo's messages above say why")
                .into());
        }
        step.done();
        Ok(Self { files })
    }

    /// The ELF file of the package `name`.
    pub(crate) fn file(&self, name: &str) -> Result<&Path> {
        match self.files.iter().find(|(found, _)| found == name) {
            Some((_, file)) => Ok(file),
            None => bail!("cargo built no binary called {name}"),
        }
    }
}
