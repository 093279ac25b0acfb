// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bare-metal hypervisor that makes an SEV-SNP machine out of stock QEMU.
//!
//! What the machine's rules are is decided in the library, which runs in tests on any host. Here is
//! what touches hardware:
//!
//! | module | what |
//! |---|---|
//! | `host` | the machine that QEMU gives: processors, memory, interrupts, log, inputs |
//! | `svm` | control blocks and the world switch |
//! | `npt`, `guest_memory`, `linear`, `access_cache` | memory of the guest: nested tables, backings, by linear address |
//! | `start`, `loader` | from the first line of Rust to the first vCPU |
//! | `machine`, `vcpu`, `registers` | what all vCPUs share, and what each has for itself |
//! | `run`, `exits`, `execute`, `services` | the loop: enter, serve the exit, enter again |
//! | `hostile_host`, `misbehave` | what a hostile host keeps in mind, and does to pages and vCPUs |
//! | `diary`, `report`, `end_of_run`, `tracing` | what is told about a run |
#![cfg_attr(target_os = "none", no_std, no_main)]

/// Declares modules that exist on bare metal only.
macro_rules! bare_metal {
    ($($module:ident),* $(,)?) => {
        $(#[cfg(target_os = "none")] mod $module;)*
    };
}

#[cfg(target_os = "none")]
extern crate alloc;

bare_metal!(
    access_cache,
    devices_host,
    diary,
    end_of_run,
    execute,
    exits,
    guest_memory,
    host,
    hostile_host,
    linear,
    loader,
    machine,
    misbehave,
    npt,
    registers,
    report,
    run,
    services,
    start,
    svm,
    tracing,
    vcpu,
);

/// The image exists for `x86_64-unknown-none`; built for the host it says so.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this is a bare-metal image: build it with `cargo xtask build`");
    std::process::exit(2);
}
