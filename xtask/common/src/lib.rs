// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `cargo xtask` and the tool of the branches have in common. Small, for whoever only runs
//! Parapet compiles it as well.
//!
//! * [`cache`]: the folder for downloads and what is made of them
//! * [`apt`], [`busybox`]: single packages of a distribution, and the one that guests are made of
//! * [`cpio`]: archives that Linux boots from
//! * [`signals`], [`captured`]: programs that run for us, and end when we are told to
//! * [`processor_time`]: what a measurement counts
//! * [`progress`]: what a person sees meanwhile
//! * [`failure`], [`hex`]: what a person reads
#![forbid(unsafe_code)]

pub mod apt;
pub mod busybox;
pub mod cache;
pub mod captured;
pub mod cpio;
pub mod failure;
pub mod hex;
pub mod processor_time;
pub mod progress;
pub mod signals;
