// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine that QEMU gives us: everything below this module knows hardware and nothing of
//! guests. All `unsafe` of the emulator lives here and in [`crate::svm`].
//!
//! Host-physical memory is mapped one to one, so an address is a pointer ([`physical`]). Each
//! processor has a block of memory of its own with its stacks and tables ([`cpu`]).

pub(crate) mod apic;
pub(crate) mod boot;
pub(crate) mod cpu;
pub(crate) mod devices;
pub(crate) mod end;
pub(crate) mod fw_cfg;
pub(crate) mod heap;
pub(crate) mod instructions;
pub(crate) mod ivshmem;
pub(crate) mod log;
pub(crate) mod physical;
pub(crate) mod rtc;
pub(crate) mod smp;
pub(crate) mod time;
pub(crate) mod traps;
pub(crate) mod vectors;
