// SPDX-License-Identifier: MIT OR Apache-2.0
//! Formatting, lints and documentation.
#![forbid(unsafe_code)]

use std::process::Command;

use anyhow::Result;

use super::{Findings, HostTest};
use crate::captured;
use crate::workspace::{BARE_METAL, PROBE, REPORT_PROGRAM, TARGET, cargo};

/// The fuzz targets, which are a workspace of their own.
const FUZZ: &str = "fuzz/Cargo.toml";

pub(super) const TESTS: &[HostTest] = &[
    HostTest {
        name: "check::fmt",
        run: || {
            let mut fuzz = cargo();
            fuzz.args(["fmt", "--manifest-path", FUZZ, "--check"]);
            let mut workspace = cargo();
            workspace.args(["fmt", "--all", "--check"]);
            silent([workspace, fuzz])
        },
    },
    HostTest {
        name: "check::clippy",
        run: || {
            let mut command = cargo();
            command.args(["clippy", "--quiet", "--workspace", "--all-targets"]);
            command.args(["--", "-D", "warnings"]);
            silent([command])
        },
    },
    HostTest {
        name: "check::clippy-bare-metal",
        run: || {
            let mut command = cargo();
            command.args(["clippy", "--quiet", "--target", TARGET]);
            for package in BARE_METAL.into_iter().chain([PROBE, REPORT_PROGRAM]) {
                command.args(["--package", package]);
            }
            command.args(["--", "-D", "warnings"]);
            silent([command])
        },
    },
    HostTest {
        name: "check::doc",
        run: || {
            let mut command = cargo();
            command.args(["doc", "--quiet", "--workspace", "--no-deps"]);
            command.arg("--document-private-items");
            command.env("RUSTDOCFLAGS", "-D warnings");
            silent([command])
        },
    },
];

/// All commands have to end well; what the first other one printed is told.
fn silent(commands: impl IntoIterator<Item = Command>) -> Result<Findings> {
    for command in commands {
        let captured = captured::run(command)?;
        if !captured.success {
            return Ok(Findings::failed(captured.text().trim_end().to_owned()));
        }
    }
    Ok(Findings::fine())
}
