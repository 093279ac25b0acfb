// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Parapet costs: figures with their limits. `cargo xtask bench` shows them, and the machine
//! test `bench::limits` holds the exact ones against their limits.
#![forbid(unsafe_code)]

pub(crate) mod clock;
mod figure;
pub(crate) mod qemu;
pub(crate) mod svsm;

pub(crate) use self::figure::Figure;
