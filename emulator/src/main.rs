// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bare-metal hypervisor that makes an SEV-SNP machine out of stock QEMU.
//!
//! The rules of the machine are in the library; here is what touches hardware.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod host;
#[cfg(target_os = "none")]
mod start;
#[cfg(target_os = "none")]
use start::application_processor;

/// The image exists for `x86_64-unknown-none`; built for the host it says so.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this is a bare-metal image: build it with `cargo xtask build`");
    std::process::exit(2);
}
