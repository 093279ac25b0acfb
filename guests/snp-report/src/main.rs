// SPDX-License-Identifier: MIT OR Apache-2.0
//! Asks the driver of `/dev/sev-guest` for an attestation report with its certificates, and for a
//! derived key, twice. Runs in a Linux guest whose user space has nothing but busybox, so it brings
//! its own system calls (Linux, `include/uapi/linux/sev-guest.h`).
//!
//! Takes 64 bytes of report data on standard input, and then perhaps the digit of the VMPL to ask
//! for instead of its own. Prints the firmware's `status HEX`, `report HEX`, `certificates HEX` and,
//! for its own VMPL, two lines `key HEX`. If the driver refuses, it ends with status 1 and the failing
//! step's number and error on a line.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod linux;
#[cfg(target_os = "none")]
mod report;

/// The program exists for the bare-metal target, which needs no C library; built for the host it
/// says so.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this runs in a guest: `cargo xtask test` builds it and puts it there");
    std::process::exit(2);
}
