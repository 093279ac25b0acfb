// SPDX-License-Identifier: MIT OR Apache-2.0
//! What touches the processor and raw memory: the probe's base. All its `unsafe` lies here.
//!
//! The probe owns all guest memory from its scratch area on, and everything is mapped twice: private
//! at its own address, shared at [`tables::SHARED`] plus its address. Access to a page that may
//! fault goes through [`access`], which turns the fault into a value.

pub(crate) mod access;
pub(crate) mod boot_params;
pub(crate) mod entry;
pub(crate) mod ghcb;
pub(crate) mod instructions;
pub(crate) mod interrupts;
pub(crate) mod tables;
pub(crate) mod traps;
