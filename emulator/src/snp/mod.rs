// SPDX-License-Identifier: MIT OR Apache-2.0
//! SEV-SNP as logic: what the processor, its firmware and a hypervisor do for an SNP guest, without
//! the hardware that does it. Everything here runs on the host in tests.
//!
//! The bare-metal half (run loop, nested tables, VMCB) asks, this half decides:
//!
//! | when | it calls | and does |
//! |---|---|---|
//! | nested page fault | [`rmp::Rmp::check_then`] | what the [`rmp::Decision`] says; it enters the leaf inside the closure |
//! | `Decision::Host(duty)` | [`rmp::Rmp::serve`] | clears leaves as the [`rmp::Change`] says, then retries |
//! | PVALIDATE, RMPADJUST, RMPQUERY (#UD intercept) | [`rmp::Rmp::pvalidate`], [`rmp::Rmp::rmpadjust`], [`rmp::Rmp::rmpquery`] | writes the registers, or raises what [`rmp::Instruction`] says |
//! | VMGEXIT | [`ghcb::handle_vmgexit`] | schedules as the [`ghcb::Outcome`] says |
//! | page state change, from `HostServices::page_state` | [`rmp::Rmp::make_private`], [`rmp::Rmp::make_shared`], [`rmp::Rmp::psmash`], [`rmp::Rmp::unsmash`] | clears leaves, scrambles contents, flushes other vCPUs |
//! | a VMPL is about to run | [`vmsa::enter`] | loads the VMCB from [`vmsa::GuestState`] |
//! | a VMPL stops running on its vCPU | [`vmsa::leave`] | hands back the VMCB's state |
//! | an interrupt for a VMPL with restricted injection | [`hv_doorbell::post`] | injects #HV if told so |
//!
//! **Order between the RMP and nested tables.** The RMP changes first, leaves are cleared after it.
//! [`rmp::Rmp::check_then`] keeps the 2M block locked while its closure enters a leaf, so a leaf that was
//! entered from an old state is always there when the change's owner comes to clear it.
//!
//! **Stale translations.** Nothing here flushes. A guest's own PVALIDATE or RMPADJUST leaves stale
//! translations on other vCPUs until that guest runs INVLPGB and TLBSYNC, as on hardware; a change by
//! the host flushes every vCPU before the host goes on.
#![forbid(unsafe_code)]

pub mod cpuid;
pub mod firmware;
pub mod ghcb;
pub mod hv_doorbell;
pub mod refusal;
pub mod rmp;
pub mod rule;
pub mod vmsa;
