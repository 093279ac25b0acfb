// SPDX-License-Identifier: MIT OR Apache-2.0
//! Replaced by its owner.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The image exists for `x86_64-unknown-none`; built for the host it says so.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this is a bare-metal image: build it with `cargo xtask build`");
    std::process::exit(2);
}
