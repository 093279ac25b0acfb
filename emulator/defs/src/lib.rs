// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the emulator and the tool that starts it agree on: where things lie in host memory, the
//! names under which inputs arrive, and the codes with which a run ends.
//!
//! Definitions only. The emulator's own behaviour is described in `docs/`.
#![no_std]
#![forbid(unsafe_code)]

pub mod config;
pub mod exit;
pub mod firmware;
pub mod layout;
pub mod trace;
