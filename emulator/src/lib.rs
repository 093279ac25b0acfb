// SPDX-License-Identifier: MIT OR Apache-2.0
//! Replaced by its owner.
#![no_std]

extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod config;
pub mod decode;
pub mod devices;
pub mod exception;
pub mod hostile;
pub mod igvm;
pub mod kvm_clock;
pub mod paging;
pub mod snp;
pub mod trace;
pub mod vmcb;
