// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interprocessor interrupts: whom they reach.

use super::Posted;

/// A set of vCPUs, by number (0 to 63).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Targets(pub u64);

/// A message that the interrupt command register sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipi {}

impl Ipi {
    /// Posts to every local APIC that the message addresses. `posted(n)` is that of vCPU `n` at
    /// the sender's VMPL, for `n` from 0 on until it returns `None`. Returns the vCPUs to kick, the
    /// sender included if the message addresses it.
    pub fn send<'a>(&self, _posted: impl Fn(usize) -> Option<&'a Posted>) -> Targets {
        todo!()
    }
}
