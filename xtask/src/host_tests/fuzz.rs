// SPDX-License-Identifier: MIT OR Apache-2.0
//! A short run of every fuzz target, guided by coverage: long enough to see that each one works and
//! that the first inputs of an attacker break nothing. Longer runs are a person's affair.
//!
//! The coverage that libFuzzer wants comes from LLVM's own pass, which a stable compiler has too.
#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};

use super::{Findings, HostTest};
use crate::captured;
use crate::workspace::{self, cargo};

/// Seconds for each target.
const SECONDS: u64 = 5;
/// At least so many inputs have to have been tried. A run that tries fewer did not fuzz.
const RUNS: u64 = 100;
/// The host's target, named so that build scripts are built without coverage.
const HOST: &str = "x86_64-unknown-linux-gnu";
/// As `cargo fuzz build --sanitizer none` does it, with overflow checks.
const COVERAGE: &str = "--cfg fuzzing -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks \
    -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

macro_rules! targets {
    ($($name:literal),* $(,)?) => {
        pub(super) const TESTS: &[HostTest] = &[$(HostTest {
            name: concat!("fuzz::", $name),
            run: || run($name),
        }),*];
        #[cfg(test)]
        const NAMES: &[&str] = &[$($name),*];
    };
}

targets!["igvm", "guest_message", "ghcb", "svsm_calls", "mailbox"];

/// Fuzzes one target for a few seconds.
fn run(name: &str) -> Result<Findings> {
    static BUILT: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    let folder = match BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}"))) {
        Ok(folder) => folder,
        Err(error) => bail!("{error}"),
    };
    // Inputs that broke something stay there.
    let found = workspace::out()?.join("fuzz").join(name);
    fs::create_dir_all(&found).with_context(|| format!("making {}", found.display()))?;
    let mut command = Command::new(folder.join(name));
    command
        .arg(format!("-max_total_time={SECONDS}"))
        .arg("-timeout=20")
        .arg(format!("-artifact_prefix={}/", found.display()));
    let captured = captured::run(command)?;
    if !captured.success {
        let text = captured.text();
        let end: Vec<_> = text.lines().rev().take(30).collect();
        let end: Vec<_> = end.into_iter().rev().collect();
        return Ok(Findings::failed(end.join("\n")));
    }
    match runs(&captured.text()) {
        Some(runs) if runs >= RUNS => Ok(Findings::passed(1, format!("{runs} inputs"))),
        Some(runs) => Ok(Findings::failed(format!(
            "only {runs} inputs in {SECONDS} seconds"
        ))),
        None => bail!("libFuzzer did not say how many inputs it tried"),
    }
}

/// Builds all targets; returns the folder of their binaries.
fn build() -> Result<PathBuf> {
    let target = workspace::target_folder().join("fuzz");
    let mut command = cargo();
    command
        .args(["build", "--release", "--manifest-path", "fuzz/Cargo.toml"])
        .args(["--target", HOST, "--target-dir"])
        .arg(&target)
        .env("RUSTFLAGS", COVERAGE);
    let captured = captured::run(command)?;
    if !captured.success {
        bail!("{}", captured.text().trim_end());
    }
    Ok(target.join(HOST).join("release"))
}

/// The number in libFuzzer's last line: "Done 508 runs in 6 second(s)".
fn runs(text: &str) -> Option<u64> {
    text.lines()
        .rev()
        .find_map(|line| line.strip_prefix("Done ")?.split(' ').next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_inputs_is_read() {
        assert_eq!(
            runs("#2 INITED\n\"\\377\" # Uses: 12\nDone 508 runs in 6 second(s)\n"),
            Some(508)
        );
        assert_eq!(runs("Done\n"), None);
    }

    #[test]
    fn every_target_is_run() {
        let folder = workspace::root().join("fuzz/fuzz_targets");
        let mut there: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                path.file_stem().unwrap().to_str().unwrap().to_owned()
            })
            .collect();
        there.sort();
        let mut named = NAMES.to_vec();
        named.sort_unstable();
        assert_eq!(named, there);
    }
}
