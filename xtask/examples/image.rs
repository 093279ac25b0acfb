// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds an image by hand, for work on the emulator:
//! `cargo run -p xtask --example image -- OUT.igvm SHIM.elf MIB VCPUS KERNEL INITRAMFS [COMMAND LINE]`
#![allow(dead_code, reason = "the modules are the tool's")]

#[path = "../src/failure.rs"]
mod failure;
#[path = "../src/image/mod.rs"]
mod image;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [out, shim, mib, vcpus, kernel, initramfs, rest @ ..] = &arguments[..] else {
        eprintln!("OUT.igvm SHIM.elf MIB VCPUS KERNEL INITRAMFS [COMMAND LINE]");
        return ExitCode::FAILURE;
    };
    let options = image::ImageOptions {
        monitor: image::Monitor::None { shim: shim.into() },
        payload: image::Payload::Linux {
            kernel: kernel.into(),
            initramfs: Some(initramfs.into()),
            command_line: rest.join(" "),
        },
        vcpus: vcpus.parse().expect("a number of vCPUs"),
        memory: mib.parse::<u64>().expect("MiB of memory") << 20,
        vmsa: image::VmsaPlace::Memory,
        out: out.into(),
    };
    match image::build(&options) {
        Ok(files) => {
            println!(
                "{}\n{files:?}",
                std::fs::read_to_string(&files.map).unwrap_or_default()
            );
            ExitCode::SUCCESS
        }
        Err(error) => ExitCode::from(failure::report(&error)),
    }
}
