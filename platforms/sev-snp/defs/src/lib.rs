// SPDX-License-Identifier: MIT OR Apache-2.0
//! SEV-SNP as the specifications write it down: numbers and layouts, no behaviour.
//!
//! Sources, cited by their AMD publication numbers: 24593 (Architecture Programmer's Manual,
//! volume 2: VMSA, RMP instructions, exit codes), 56421 (GHCB), 56860 (SNP firmware ABI: secrets and
//! CPUID pages, launch digest, guest messages, attestation report).
#![no_std]
#![forbid(unsafe_code)]

pub mod cc_blob;
pub mod cpuid;
pub mod exit;
pub mod ghcb;
pub mod guest_message;
pub mod launch;
pub mod msr;
pub mod psc;
pub mod report;
pub mod rmp;
pub mod secrets;
pub mod vmsa;

/// Bytes in a 4K page.
pub const PAGE_SIZE: usize = 4096;
/// Bytes in a 2M page.
pub const PAGE_SIZE_2M: usize = 2 << 20;
/// Number of virtual machine privilege levels (24593, 15.36.7).
pub const VMPL_COUNT: usize = 4;
