// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that tries everything that a guest may and may not do, and says what came of it.
//!
//! It boots in the place of Linux, under the SVSM (VMPL2) or without one (VMPL0), runs the suite that its command line names
//! (`suite=NAME`), writes a line for each check on the first serial port in the Test Anything Protocol
//! (`ok 3 - text`, `not ok 4 - text: what was seen`) and powers off.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod console;
#[cfg(target_os = "none")]
mod machine;
#[cfg(target_os = "none")]
mod report;
#[cfg(target_os = "none")]
mod scratch;
#[cfg(target_os = "none")]
mod suites;
#[cfg(target_os = "none")]
mod svsm;
#[cfg(target_os = "none")]
mod vcpu;

/// The probe exists for `x86_64-unknown-none`; built for the host it says so.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this is a bare-metal guest: `cargo xtask test` runs it");
    std::process::exit(2);
}
