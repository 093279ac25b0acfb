// SPDX-License-Identifier: MIT OR Apache-2.0
//! What other vCPUs may do to a local APIC, without a lock.
//!
//! A local APIC has one owner, who alone touches its registers. Everyone else posts: a vector, an
//! NMI, an INIT, a start-up IPI. The owner takes over what was posted before it enters the guest.
//! The owner in turn publishes here which destinations its local APIC answers to, so that a sender
//! can tell whom a message reaches.

use core::sync::atomic::{AtomicU32, Ordering};

use super::LogicalId;

const NMI: u32 = 1 << 0;
const INIT: u32 = 1 << 1;
const STARTUP: u32 = 1 << 2;
const STARTUP_VECTOR_SHIFT: u32 = 8;

/// Interrupts and events on their way to one local APIC, and the destinations it answers to.
#[derive(Debug)]
pub struct Posted {
    apic_id: u32,
    requested: [AtomicU32; 8],
    level: [AtomicU32; 8],
    events: AtomicU32,
    presence: AtomicU32,
}

/// Events that are no vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Events {
    /// A non-maskable interrupt.
    pub nmi: bool,
    /// An INIT. It comes before the start-up IPI, if both are there.
    pub init: bool,
    /// A start-up IPI, with its vector.
    pub startup: Option<u8>,
}

/// How a local APIC takes part in the delivery of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Presence {
    /// Enabled in IA32_APIC_BASE: it answers to messages at all.
    pub(super) present: bool,
    /// Enabled in SVR: it takes vectors.
    pub(super) software_enabled: bool,
    /// In x2APIC mode: its logical destination follows from its id.
    pub(super) x2apic: bool,
    /// Logical destinations in xAPIC mode.
    pub(super) logical: LogicalId,
}

impl Presence {
    fn to_bits(self) -> u32 {
        u32::from(self.logical.ldr)
            | u32::from(self.logical.flat) << 8
            | u32::from(self.present) << 9
            | u32::from(self.software_enabled) << 10
            | u32::from(self.x2apic) << 11
    }

    fn from_bits(bits: u32) -> Self {
        Self {
            present: bits & 1 << 9 != 0,
            software_enabled: bits & 1 << 10 != 0,
            x2apic: bits & 1 << 11 != 0,
            logical: LogicalId {
                ldr: bits as u8,
                flat: bits & 1 << 8 != 0,
            },
        }
    }
}

impl Posted {
    /// Nothing posted, for the local APIC with this id. Until that exists ([`super::Lapic::new`]),
    /// no message of another vCPU reaches it.
    pub const fn new(apic_id: u32) -> Self {
        Self {
            apic_id,
            requested: [const { AtomicU32::new(0) }; 8],
            level: [const { AtomicU32::new(0) }; 8],
            events: AtomicU32::new(0),
            presence: AtomicU32::new(0),
        }
    }

    /// The id of the local APIC.
    pub const fn apic_id(&self) -> u32 {
        self.apic_id
    }

    /// Posts a vector. True if it was not posted already: its owner may have to be kicked.
    pub fn post(&self, vector: u8, level: bool) -> bool {
        let (word, bit) = (usize::from(vector) / 32, 1 << (vector % 32));
        // The trigger mode first: whoever sees the request sees the mode that came with it.
        if level {
            self.level[word].fetch_or(bit, Ordering::Relaxed);
        } else {
            self.level[word].fetch_and(!bit, Ordering::Relaxed);
        }
        self.requested[word].fetch_or(bit, Ordering::Release) & bit == 0
    }

    /// Posts a non-maskable interrupt. True if none was posted already.
    pub fn post_nmi(&self) -> bool {
        self.events.fetch_or(NMI, Ordering::Release) & NMI == 0
    }

    /// Posts an INIT, which undoes a start-up IPI that was not taken yet.
    pub(super) fn post_init(&self) -> bool {
        let mut before = self.events.load(Ordering::Relaxed);
        loop {
            let after = before & NMI | INIT;
            match self.events.compare_exchange_weak(
                before,
                after,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(current) => before = current,
            }
        }
    }

    /// Posts a start-up IPI. Of two that were not taken, the first counts.
    pub(super) fn post_startup(&self, vector: u8) -> bool {
        let startup = STARTUP | u32::from(vector) << STARTUP_VECTOR_SHIFT;
        let mut before = self.events.load(Ordering::Relaxed);
        while before & STARTUP == 0 {
            match self.events.compare_exchange_weak(
                before,
                before | startup,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(current) => before = current,
            }
        }
        false
    }

    /// Whether anything is posted: a halted vCPU has to look.
    pub fn is_pending(&self) -> bool {
        self.events.load(Ordering::Acquire) != 0
            || self
                .requested
                .iter()
                .any(|word| word.load(Ordering::Acquire) != 0)
    }

    /// Takes the events that are no vectors.
    pub fn take_events(&self) -> Events {
        if self.events.load(Ordering::Relaxed) == 0 {
            return Events::default();
        }
        let events = self.events.swap(0, Ordering::Acquire);
        Events {
            nmi: events & NMI != 0,
            init: events & INIT != 0,
            startup: (events & STARTUP != 0).then_some((events >> STARTUP_VECTOR_SHIFT) as u8),
        }
    }

    /// Takes the vectors and hands each to `request`, with its trigger mode (level if true).
    pub(super) fn take_vectors(&self, mut request: impl FnMut(u8, bool)) {
        for word in 0..8 {
            if self.requested[word].load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut requested = self.requested[word].swap(0, Ordering::Acquire);
            let level = self.level[word].load(Ordering::Relaxed);
            while requested != 0 {
                let bit = requested.trailing_zeros();
                requested &= requested - 1;
                // Eight words of 32 bits: at most 255.
                request((word as u32 * 32 + bit) as u8, level & 1 << bit != 0);
            }
        }
    }

    pub(super) fn publish(&self, presence: Presence) {
        self.presence.store(presence.to_bits(), Ordering::Release);
    }

    pub(super) fn presence(&self) -> Presence {
        Presence::from_bits(self.presence.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn taken(posted: &Posted) -> Vec<(u8, bool)> {
        let mut all = Vec::new();
        posted.take_vectors(|vector, level| all.push((vector, level)));
        all
    }

    #[test]
    fn a_posted_vector_is_taken_once() {
        let posted = Posted::new(0);
        assert!(!posted.is_pending());
        assert!(posted.post(0x41, false));
        assert!(!posted.post(0x41, false), "already posted");
        assert!(posted.post(0xFF, true));
        assert!(posted.is_pending());
        assert_eq!(taken(&posted), [(0x41, false), (0xFF, true)]);
        assert!(!posted.is_pending());
        assert_eq!(taken(&posted), []);
    }

    #[test]
    fn the_last_trigger_mode_counts() {
        let posted = Posted::new(0);
        posted.post(0x50, true);
        posted.post(0x50, false);
        assert_eq!(taken(&posted), [(0x50, false)]);
    }

    #[test]
    fn init_cancels_an_earlier_start_but_not_a_later_one() {
        let posted = Posted::new(0);
        posted.post_startup(0x10);
        posted.post_init();
        assert_eq!(
            posted.take_events(),
            Events {
                init: true,
                ..Events::default()
            }
        );
        posted.post_init();
        posted.post_startup(0x99);
        posted.post_startup(0x9A);
        assert_eq!(
            posted.take_events(),
            Events {
                init: true,
                startup: Some(0x99),
                nmi: false,
            }
        );
    }

    #[test]
    fn non_maskable_interrupts_merge_into_one() {
        let posted = Posted::new(0);
        assert!(posted.post_nmi());
        assert!(!posted.post_nmi());
        assert!(posted.take_events().nmi);
        assert_eq!(posted.take_events(), Events::default());
    }

    #[test]
    fn presence_round_trips() {
        for bits in 0..1 << 12 {
            assert_eq!(Presence::from_bits(bits).to_bits(), bits);
        }
    }

    /// Four threads post, the owner takes: every vector arrives at least once after its last
    /// posting, and never without a posting.
    #[test]
    fn nothing_is_lost_between_threads() {
        use core::sync::atomic::AtomicUsize;
        const POSTS: usize = 20_000;
        let posted = Posted::new(0);
        let fresh = AtomicUsize::new(0);
        let done = AtomicUsize::new(0);
        let mut received = 0;
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let (posted, fresh, done) = (&posted, &fresh, &done);
                scope.spawn(move || {
                    for n in 0..POSTS {
                        let vector = 32 + thread * 40 + (n % 37) as u8;
                        fresh.fetch_add(
                            usize::from(posted.post(vector, n % 2 == 0)),
                            Ordering::Relaxed,
                        );
                    }
                    done.fetch_add(1, Ordering::Release);
                });
            }
            loop {
                let last = done.load(Ordering::Acquire) == 4;
                posted.take_vectors(|_, _| received += 1);
                if last {
                    break;
                }
            }
        });
        assert_eq!(received, fresh.load(Ordering::Relaxed));
    }
}
