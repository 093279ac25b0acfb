// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interprocessor interrupts: what the interrupt command register sends, and whom it reaches.
//!
//! Intel SDM vol. 3, 11.6 (xAPIC) and 11.12.9, 11.12.10 (x2APIC).

use super::Posted;
use super::posted::Presence;

/// A set of vCPUs, by number (0 to 63).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Targets(pub u64);

impl Targets {
    /// The most vCPUs that a set names.
    pub const MAX: usize = 64;

    /// The numbers in the set, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..Self::MAX).filter(move |n| self.0 & 1 << n != 0)
    }
}

/// What a message asks of its destination (SDM vol. 3, 11.6.1, "Delivery Mode").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The vector, at all destinations.
    Fixed,
    /// The vector, at one of the destinations.
    LowestPriority,
    /// A non-maskable interrupt.
    Nmi,
    /// A reset of the processor to its INIT state.
    Init,
    /// A start at the page that the vector names.
    Startup,
}

/// Whom a message addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// The sender alone.
    Itself,
    /// Everyone, the sender included.
    All,
    /// Everyone but the sender.
    Others,
    /// The local APIC with this id.
    Physical(u32),
    /// Those whose logical id matches, by a sender in xAPIC mode.
    Logical(u8),
    /// Those whose logical id matches, by a sender in x2APIC mode.
    X2Logical(u32),
}

/// A message that the interrupt command register sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipi {
    /// What it asks.
    pub delivery: Delivery,
    /// With which vector.
    pub vector: u8,
    /// Of whom.
    pub destination: Destination,
    /// The sender's APIC id.
    pub source: u32,
}

const VECTOR: u64 = 0xFF;
const LOGICAL: u64 = 1 << 11;
const LEVEL_ASSERT: u64 = 1 << 14;
const LEVEL_TRIGGERED: u64 = 1 << 15;

impl Ipi {
    /// What writing `icr` sends, if anything.
    ///
    /// Not sent: SMI, which no guest of a confidential machine takes; INIT level de-assert, which
    /// has no effect since the Pentium 4; the reserved delivery modes.
    pub(super) fn from_icr(icr: u64, source: u32, x2apic: bool) -> Option<Self> {
        let delivery = match icr >> 8 & 7 {
            0 => Delivery::Fixed,
            1 => Delivery::LowestPriority,
            4 => Delivery::Nmi,
            5 if icr & LEVEL_TRIGGERED != 0 && icr & LEVEL_ASSERT == 0 => return None,
            5 => Delivery::Init,
            6 => Delivery::Startup,
            _ => return None,
        };
        let destination = match icr >> 18 & 3 {
            0 => {
                let id = (icr >> 32) as u32;
                match (x2apic, icr & LOGICAL != 0) {
                    (true, _) if id == u32::MAX => Destination::All,
                    (true, false) => Destination::Physical(id),
                    (true, true) => Destination::X2Logical(id),
                    (false, false) if id >> 24 == 0xFF => Destination::All,
                    (false, false) => Destination::Physical(id >> 24),
                    (false, true) => Destination::Logical((id >> 24) as u8),
                }
            }
            1 => Destination::Itself,
            2 => Destination::All,
            _ => Destination::Others,
        };
        Some(Self {
            delivery,
            vector: (icr & VECTOR) as u8,
            destination,
            source,
        })
    }

    /// Whether the message carries a vector that no local APIC takes.
    pub(super) fn is_illegal(&self) -> bool {
        self.vector < 16 && matches!(self.delivery, Delivery::Fixed | Delivery::LowestPriority)
    }

    /// Posts to every local APIC that the message addresses. `posted(n)` is that of vCPU `n` at
    /// the sender's VMPL, for `n` from 0 on until it returns `None`. Returns the vCPUs that got
    /// something new, the sender included if the message addresses it: they are to be kicked.
    ///
    /// Of the destinations of a lowest-priority message, the one with the lowest number gets it,
    /// as in QEMU; hardware chooses by a priority of its own.
    pub fn send<'a>(&self, posted: impl Fn(usize) -> Option<&'a Posted>) -> Targets {
        let mut targets = Targets::default();
        for (number, posted) in (0..Targets::MAX).map_while(|n| Some((n, posted(n)?))) {
            let presence = posted.presence();
            if !presence.present || !self.destination.includes(self.source, posted, presence) {
                continue;
            }
            let new = match self.delivery {
                Delivery::Fixed => posted.post(self.vector, false),
                Delivery::LowestPriority if !presence.software_enabled => continue,
                Delivery::LowestPriority => posted.post(self.vector, false),
                Delivery::Nmi => posted.post_nmi(),
                Delivery::Init => posted.post_init(),
                Delivery::Startup => posted.post_startup(self.vector),
            };
            targets.0 |= u64::from(new) << number;
            if self.delivery == Delivery::LowestPriority {
                break;
            }
        }
        targets
    }
}

impl Destination {
    fn includes(self, source: u32, posted: &Posted, presence: Presence) -> bool {
        let id = posted.apic_id();
        match self {
            Self::Itself => id == source,
            Self::All => true,
            Self::Others => id != source,
            Self::Physical(destination) => id == destination,
            Self::Logical(destination) if presence.x2apic => {
                matches_x2apic(u32::from(destination), id)
            }
            Self::Logical(destination) => matches_xapic(destination, presence),
            Self::X2Logical(destination) if presence.x2apic => matches_x2apic(destination, id),
            Self::X2Logical(destination) => {
                u8::try_from(destination).is_ok_and(|low| matches_xapic(low, presence))
            }
        }
    }
}

/// SDM vol. 3, 11.6.2.2: flat and cluster model.
fn matches_xapic(destination: u8, presence: Presence) -> bool {
    let id = presence.logical.ldr;
    if presence.logical.flat {
        return destination & id != 0;
    }
    let every_cluster = destination >> 4 == 0xF;
    (every_cluster || destination >> 4 == id >> 4) && destination & id & 0xF != 0
}

/// SDM vol. 3, 11.12.10.2: the logical id is derived from the APIC id.
fn matches_x2apic(destination: u32, id: u32) -> bool {
    let logical = x2apic_logical_id(id);
    destination >> 16 == logical >> 16 && destination & logical & 0xFFFF != 0
}

/// LDR in x2APIC mode: 16 local APICs a cluster.
pub(super) const fn x2apic_logical_id(id: u32) -> u32 {
    id >> 4 << 16 | 1 << (id & 0xF)
}
