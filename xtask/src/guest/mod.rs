// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the guest boots: a distribution's kernel, and an initramfs made for it.

pub(crate) mod bzimage;
pub(crate) mod command;
pub(crate) mod initramfs;
pub(crate) mod kernel;
mod modules;
