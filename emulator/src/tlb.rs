// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which entries of a guest have to flush its translations (24593, 15.16).
//!
//! A processor tags what its translation buffer holds with the ASID, and keeps it over exits and
//! entries. What the emulator takes away is to be gone for a vCPU that has been out of its guest since: an
//! entry flushes if something became void since the last one that did, and only then. QEMU's TCG flushes at
//! every VMRUN, whatever it is told.

use core::sync::atomic::{AtomicU64, Ordering};

/// How often translations of one set of nested tables became void, for all processors.
#[derive(Debug, Default)]
pub struct Invalidations(AtomicU64);

impl Invalidations {
    /// None so far.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Some translation is void. To be called after the tables say so: a processor that sees this
    /// finds nothing of the old state there any more.
    pub fn note(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// What one processor may hold of the address space of one VMPL.
#[derive(Debug)]
pub struct Translations {
    /// Invalidations before the last flush.
    seen: u64,
    /// Root of the nested tables that the translations come from.
    root: u64,
    owed: bool,
}

impl Default for Translations {
    fn default() -> Self {
        Self::new()
    }
}

impl Translations {
    /// Of an ASID that others may have used: the first entry flushes.
    pub const fn new() -> Self {
        Self {
            seen: 0,
            root: 0,
            owed: true,
        }
    }

    /// The next entry flushes: the guest's registers are others than it left with.
    pub const fn owe(&mut self) {
        self.owed = true;
    }

    /// Whether the entry that follows, with the nested tables at `root`, has to flush. It does, if so.
    ///
    /// To be called when others know already that this processor is about to enter: either they
    /// make it leave again, or what they made void before is seen here.
    pub fn enter(&mut self, root: u64, invalidations: &Invalidations) -> bool {
        let now = invalidations.0.load(Ordering::SeqCst);
        let flush = self.owed || self.root != root || self.seen != now;
        *self = Self {
            seen: now,
            root,
            owed: false,
        };
        flush
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_exit_alone_owes_nothing() {
        let void = Invalidations::new();
        let mut held = Translations::new();
        assert!(held.enter(0x1000, &void), "the ASID is new");
        assert!(!held.enter(0x1000, &void));
        assert!(held.enter(0x2000, &void), "other tables");
        assert!(!held.enter(0x2000, &void));
        void.note();
        assert!(held.enter(0x2000, &void), "a leaf was taken away");
        assert!(!held.enter(0x2000, &void));
        held.owe();
        assert!(held.enter(0x2000, &void), "other registers");
        assert!(!held.enter(0x2000, &void));
    }

    const PROCESSORS: usize = 3;

    /// What happens to a guest with a few pages.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        /// A leaf, with or without one before.
        Map(u64, u64),
        Clear(u64),
        /// INVLPGB.
        Invalidate,
        /// An exit and the next entry, with one of two roots.
        Enter(usize, u64),
        /// The same, with other registers: an offset from linear to guest-physical pages.
        Load(usize, u64),
        /// An access of the guest.
        Touch(usize, u64),
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let page = 0..4_u64;
        let cpu = 0..PROCESSORS;
        prop_oneof![
            (page.clone(), 1..4_u64).prop_map(|(page, host)| Event::Map(page, host)),
            page.clone().prop_map(Event::Clear),
            Just(Event::Invalidate),
            (cpu.clone(), 1..3_u64).prop_map(|(cpu, root)| Event::Enter(cpu, root)),
            (cpu.clone(), 0..4_u64).prop_map(|(cpu, shift)| Event::Load(cpu, shift)),
            (cpu, page).prop_map(|(cpu, page)| Event::Touch(cpu, page)),
        ]
    }

    /// A processor with a translation buffer.
    struct Processor {
        held: Translations,
        buffer: BTreeMap<u64, u64>,
        root: u64,
        shift: u64,
    }

    /// Two trees of nested tables below two roots, which differ in what they lead to.
    #[derive(Default)]
    struct Machine {
        leaves: BTreeMap<u64, u64>,
        void: Invalidations,
    }

    impl Machine {
        fn walk(&self, root: u64, shift: u64, page: u64) -> Option<u64> {
            let host = self.leaves.get(&((page + shift) % 4))?;
            Some(root * 16 + host)
        }

        fn set(&mut self, page: u64, host: Option<u64>) {
            let old = match host {
                Some(host) => self.leaves.insert(page, host),
                None => self.leaves.remove(&page),
            };
            // As the nested tables do: only what was there can be held.
            if old.is_some() && old != host {
                self.void.note();
            }
        }
    }

    proptest! {
        /// After each entry a processor holds nothing but what it would find if it looked.
        #[test]
        fn what_is_void_is_gone_after_an_entry(events in prop::collection::vec(any_event(), 1..200)) {
            let mut machine = Machine::default();
            let mut processors: Vec<_> = (0..PROCESSORS)
                .map(|_| Processor {
                    held: Translations::new(),
                    // Of whoever had the ASID before.
                    buffer: (0..4).map(|page| (page, 99)).collect(),
                    root: 0,
                    shift: 0,
                })
                .collect();
            for event in events {
                let (cpu, root) = match event {
                    Event::Map(page, host) => {
                        machine.set(page, Some(host));
                        continue;
                    }
                    Event::Clear(page) => {
                        machine.set(page, None);
                        continue;
                    }
                    Event::Invalidate => {
                        machine.void.note();
                        continue;
                    }
                    Event::Touch(cpu, page) => {
                        let Processor { root, shift, buffer, .. } = &mut processors[cpu];
                        if *root != 0
                            && !buffer.contains_key(&page)
                            && let Some(host) = machine.walk(*root, *shift, page)
                        {
                            buffer.insert(page, host);
                        }
                        continue;
                    }
                    Event::Load(cpu, shift) => {
                        processors[cpu].shift = shift;
                        processors[cpu].held.owe();
                        (cpu, processors[cpu].root.max(1))
                    }
                    Event::Enter(cpu, root) => (cpu, root),
                };
                let processor = &mut processors[cpu];
                processor.root = root;
                if processor.held.enter(root, &machine.void) {
                    processor.buffer.clear();
                }
                for (&page, &host) in &processor.buffer {
                    prop_assert_eq!(machine.walk(root, processor.shift, page), Some(host));
                }
            }
        }
    }
}
