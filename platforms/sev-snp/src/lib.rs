// SPDX-License-Identifier: MIT OR Apache-2.0
//! The platform SEV-SNP, but for what needs its processor: how requests to the host are made and
//! its answers checked, what a VMSA must be, the dialogue with the firmware. All of it is safe
//! code, and is tested on the host against hosts and guests that lie.
//!
//! * [`door`]: how the host is reached
//! * [`msr_protocol`], [`ghcb`]: what is asked of it, without and with a shared page
//! * [`foreign`]: pages that somebody else may write
//! * [`features`], [`cpuid`]: what the image insists on
//! * [`rmp`], [`vmsa`]: what the instructions on pages say; the page that holds a vCPU
//! * [`messages`], [`certificates`]: the firmware's reports
//! * [`guest_pages`]: what the guest gets of the secrets page
//!
//! The bin beside it holds the rest: instructions, entry, traps, and the trait that the core asks
//! for.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod certificates;
pub mod cpuid;
pub mod door;
pub mod features;
pub mod foreign;
pub mod ghcb;
pub mod guest_pages;
pub mod messages;
pub mod msr_protocol;
pub mod rmp;
pub mod vmsa;
