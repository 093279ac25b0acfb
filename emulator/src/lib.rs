// SPDX-License-Identifier: MIT OR Apache-2.0
//! Replaced by its owner.
#![no_std]

pub mod config;
pub mod devices;
pub mod igvm;
pub mod trace;
pub mod vmcb;
