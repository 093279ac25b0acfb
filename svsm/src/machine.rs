// SPDX-License-Identifier: MIT OR Apache-2.0
//! What all CPUs share: one value, which the boot CPU makes and nothing replaces.
#![forbid(unsafe_code)]

use crate::cpu::Lock;
use crate::guest::{Marks, Vcpus, View};
use crate::memory::{GuestMemory, Pool, Tracker};

/// The machine: the guest and what the SVSM keeps for it. No part of it has a lock that calls which have
/// nothing to do with each other share.
///
/// It refers to its large parts, so that it is small enough to be made on a stack.
#[derive(Debug)]
pub struct Machine<'m> {
    /// Whose each page of the guest's memory is.
    pub tracker: Tracker<'m>,
    /// Pages that the SVSM allocates from.
    pub pool: &'m Pool,
    /// The guest's vCPUs.
    pub vcpus: &'m Vcpus,
    /// Which pages are being copied.
    pub marks: &'m Marks,
    /// Held while the guest is told whether it can withdraw memory.
    pub telling: &'m Lock<()>,
    /// Number of CPUs; their APIC ids are 0 to this minus 1.
    pub cpus: usize,
}

impl Machine<'_> {
    /// The guest's memory as CPU `cpu` may use it.
    pub fn view<'a, M: GuestMemory>(&'a self, memory: &'a M, cpu: usize) -> Option<View<'a, M>> {
        View::new(memory, &self.tracker, self.marks, cpu)
    }
}
