// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask`: builds, runs, tests and measures Parapet.
mod cache;
mod failure;
mod guest;
mod progress;
mod size;

fn main() {
    let cache = cache::Cache::open().unwrap();
    let k = match guest::kernel::default(&cache) {
        Ok(k) => k,
        Err(e) => std::process::exit(failure::report(&e).into()),
    };
    println!("{k:?}");
    println!("{:?}", guest::initramfs::default_for(&k, &cache));
}
