// SPDX-License-Identifier: MIT OR Apache-2.0
//! Miri over the tests of the core's rooms that hold its `unsafe`.
//!
//! Miri belongs to nightly toolchains. Where the machine has one, its component is added; where it
//! has none, the step is skipped.
#![forbid(unsafe_code)]

use std::process::{Command, Stdio};

use super::unit;
use super::{Findings, HostTest};
use crate::captured;

/// The rooms: an interpreter is a thousand times slower, so safe code is left to the unit tests.
const ROOMS: [&str; 3] = ["cpu::", "guest::", "memory::"];
/// Safe code whose names would match.
const SAFE: [&str; 2] = ["calls::", "memory::tracker"];

pub(super) const TESTS: &[HostTest] = &[HostTest {
    name: "miri",
    run: || {
        if !component("miri") || !component("rust-src") {
            return Ok(Findings::skipped(
                "no nightly toolchain with Miri: `rustup toolchain install nightly --component miri,rust-src` brings it"
                    .to_owned(),
            ));
        }
        let mut nightly = Command::new("rustup");
        nightly
            .args(["run", "nightly", "cargo", "miri", "test"])
            .args(["--package", "svsm", "--lib", "--"])
            .args(ROOMS)
            .args(SAFE.iter().flat_map(|name| ["--skip", name]))
            .current_dir(crate::workspace::root())
            // This process runs in a toolchain of its own.
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("RUSTC")
            .env_remove("RUSTDOC")
            // The fake machine names its memory by address, as the images do.
            .env("MIRIFLAGS", "-Zmiri-permissive-provenance");
        Ok(unit::findings(&captured::run(nightly)?))
    },
}];

/// Has the nightly toolchain this component, or can it be added?
fn component(name: &str) -> bool {
    Command::new("rustup")
        .args(["component", "add", "--toolchain", "nightly", name])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
