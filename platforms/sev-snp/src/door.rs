// SPDX-License-Identifier: MIT OR Apache-2.0
//! The door to the host: VMGEXIT, with the request in the GHCB MSR or in the page that the MSR
//! names.
//!
//! The protocols are written against this trait, so that they can be held against a host that lies.

/// The door. What comes back through it is the host's word and nothing more.
pub trait Door {
    /// Hands `request` over in the GHCB MSR and returns what the MSR holds afterwards (56421,
    /// 2.3.1).
    fn by_msr(&self, request: u64) -> u64;

    /// Hands the GHCB at the guest-physical address `ghcb` over (56421, 2.3.2).
    fn by_page(&self, ghcb: u64);
}
