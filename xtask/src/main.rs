// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask`: builds, runs, tests and measures Parapet.
fn main() {}
