// SPDX-License-Identifier: MIT OR Apache-2.0
//! What other vCPUs may do to a local APIC, without a lock.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// Interrupts and events on their way to one local APIC, and the destinations it answers to.
#[derive(Debug)]
pub struct Posted {
    requested: [AtomicU32; 8],
    level: [AtomicU32; 8],
    events: AtomicU32,
    destination: AtomicU64,
}

/// Events that are no vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Events {
    /// A non-maskable interrupt.
    pub nmi: bool,
    /// An INIT.
    pub init: bool,
    /// A start-up IPI, with its vector.
    pub startup: Option<u8>,
}

impl Posted {
    /// Nothing posted, for the local APIC with this id.
    pub fn new(_apic_id: u32) -> Self {
        todo!()
    }

    /// Posts a vector. True if it was not pending already.
    pub fn post(&self, _vector: u8, _level: bool) -> bool {
        todo!()
    }

    /// Posts a non-maskable interrupt.
    pub fn post_nmi(&self) {
        todo!()
    }

    /// Whether anything is posted: a halted vCPU has to look.
    pub fn is_pending(&self) -> bool {
        todo!()
    }

    /// Takes the events that are no vectors.
    pub fn take_events(&self) -> Events {
        todo!()
    }
}
