// SPDX-License-Identifier: MIT OR Apache-2.0
//! The processor, x86-64: descriptor tables, traps, control registers, what belongs to one CPU, locks.
//!
//! The SVSM never enables interrupts: what it waits for comes as the return of
//! [`crate::platform::Platform::enter`]. So a lock need not care for them, and an
//! exception is either the platform's own, a fault of a copy with a fix-up, or fatal.

mod lock;
mod once;
mod trap;

#[cfg(target_os = "none")]
pub(crate) mod backtrace;
#[cfg(target_os = "none")]
mod block;
#[cfg(target_os = "none")]
mod control;
#[cfg(target_os = "none")]
mod copy;
#[cfg(target_os = "none")]
mod descriptors;
#[cfg(target_os = "none")]
mod entry;

pub use lock::{Lock, LockGuard};
pub use once::Once;
pub use trap::TrapFrame;

#[cfg(target_os = "none")]
pub use block::{address_of_block, index};
#[cfg(target_os = "none")]
pub(crate) use {
    block::adopt,
    control::{halt, harden},
    copy::{copy, fixup, swap_u8, zero},
};
