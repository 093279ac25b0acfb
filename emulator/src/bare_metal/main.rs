// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bare-metal hypervisor that makes an SEV-SNP machine out of stock QEMU.
//!
//! What the machine's rules are is decided in the library, which runs in tests on any host. Here is
//! what touches hardware. From the ground up:
//!
//! | room | what |
//! |---|---|
//! | `host` | the machine that QEMU gives: processors, memory, interrupts, log, inputs |
//! | `svm` | control blocks and the world switch |
//! | `memory` | of the guest: where it lies, and the nested tables that lead there |
//! | `records` | what is told about a run: diary of each vCPU, trace, report |
//! | `machine` | what all vCPUs share, a hostile host's plans among it |
//! | `vcpu` | what each vCPU has for itself: levels, their registers and events |
//! | `run` | the loop: enter, serve the exit, enter again |
//! | `start`, `loader`, `end_of_run` | from the first line of Rust to the first vCPU, and the end |
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod end_of_run;
#[cfg(target_os = "none")]
mod host;
#[cfg(target_os = "none")]
mod loader;
#[cfg(target_os = "none")]
mod machine;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod records;
#[cfg(target_os = "none")]
mod run;
#[cfg(target_os = "none")]
mod start;
#[cfg(target_os = "none")]
mod svm;
#[cfg(target_os = "none")]
mod vcpu;

/// The image exists for `x86_64-unknown-none`; built for the host it says so.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this is a bare-metal image: build it with `cargo xtask build`");
    std::process::exit(2);
}
