// SPDX-License-Identifier: MIT OR Apache-2.0
//! The image for SEV-SNP: the SVSM at VMPL0.
//!
//! What can be tested on a host is in the lib beside it. Here is what needs the processor:
//! * `entry`: where each CPU starts
//! * `platform`: the verbs of the core
//! * `reports`: messages to the firmware, in pages shared with the host
//! * `trap`: #VC and #HV
//! * `instructions`, `pages`: the unsafe base: instructions of SNP, pages found by address
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod entry;
#[cfg(target_os = "none")]
mod instructions;
#[cfg(target_os = "none")]
mod pages;
#[cfg(target_os = "none")]
mod platform;
#[cfg(target_os = "none")]
mod reports;
#[cfg(target_os = "none")]
mod trap;

/// The image exists for `x86_64-unknown-none`; built for the host it says so.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this is a bare-metal image: build it with `cargo xtask build`");
    std::process::exit(2);
}
