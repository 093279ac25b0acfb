// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links the bare-metal binary with its own script.

fn main() {
    println!("cargo:rerun-if-changed=link.ld");
    let bare_metal = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none");
    if bare_metal {
        let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        println!("cargo:rustc-link-arg-bins=-T{folder}/link.ld");
    }
}
