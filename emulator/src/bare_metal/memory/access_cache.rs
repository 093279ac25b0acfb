// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that a vCPU's software walks were allowed to touch, so that the RMP is not asked again for
//! the same few pages at every exit.
//!
//! An entry holds until some right is taken away anywhere, which [`Generation`] counts. As with a
//! translation cache, an access that races with the change may still go by the old state.

use core::sync::atomic::{AtomicU64, Ordering};

const ENTRIES: usize = 64;
const EMPTY: u64 = u64::MAX;

/// How often a right was taken away.
#[derive(Debug)]
pub(crate) struct Generation(AtomicU64);

impl Generation {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// A right was taken away: all caches are void.
    pub(crate) fn advance(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The cache of one vCPU; used by its own processor only.
#[derive(Debug)]
pub(crate) struct AccessCache {
    generation: AtomicU64,
    entries: [Entry; ENTRIES],
}

#[derive(Debug)]
struct Entry {
    key: AtomicU64,
    host: AtomicU64,
}

/// What an entry is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// Guest-physical address of the page.
    pub(crate) page: u64,
    pub(crate) vmpl: u8,
    pub(crate) private: bool,
    pub(crate) write: bool,
}

impl Key {
    const fn word(self) -> u64 {
        self.page | self.vmpl as u64 | (self.private as u64) << 2 | (self.write as u64) << 3
    }

    const fn slot(self) -> usize {
        ((self.page >> 12) as usize ^ (self.write as usize) << 5) % ENTRIES
    }
}

impl AccessCache {
    pub(crate) const fn new() -> Self {
        Self {
            generation: AtomicU64::new(0),
            entries: [const {
                Entry {
                    key: AtomicU64::new(EMPTY),
                    host: AtomicU64::new(0),
                }
            }; ENTRIES],
        }
    }

    /// Host-physical address of the page, if the access was allowed before.
    pub(crate) fn get(&self, generation: &Generation, key: Key) -> Option<u64> {
        let now = generation.0.load(Ordering::Acquire);
        if self.generation.load(Ordering::Relaxed) != now {
            for entry in &self.entries {
                entry.key.store(EMPTY, Ordering::Relaxed);
            }
            self.generation.store(now, Ordering::Relaxed);
            return None;
        }
        let entry = &self.entries[key.slot()];
        (entry.key.load(Ordering::Relaxed) == key.word())
            .then(|| entry.host.load(Ordering::Relaxed))
    }

    /// Remembers that the access is allowed. The RMP was asked after [`Self::get`].
    pub(crate) fn put(&self, key: Key, host: u64) {
        let entry = &self.entries[key.slot()];
        entry.host.store(host, Ordering::Relaxed);
        entry.key.store(key.word(), Ordering::Relaxed);
    }
}
