// SPDX-License-Identifier: MIT OR Apache-2.0
//! 2M blocks of the table: finding, locking, reading, splitting.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicU64, Ordering};

use snp_defs::rmp::RmpSize;

use super::entry::{Entry, LOCK, SPLIT};
use super::{Region, Rmp};

/// Pages in a 2M block.
pub const PAGES: usize = 512;
const PAGE: u64 = RmpSize::Size4K.bytes();
const BLOCK: u64 = RmpSize::Size2M.bytes();

/// The part of a 2M block that lies in one region.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    /// Guest-physical address of the first word's page.
    base: u64,
    /// One word for each page; the first is the lead. Never empty.
    words: &'a [AtomicU64],
}

/// A block whose lock is held; dropping it lets go.
pub(super) struct Locked<'a> {
    block: Block<'a>,
    /// The lead as it will be written on release, without the lock.
    lead: u64,
}

impl<'a> Block<'a> {
    /// The block around `gpa` in `region`, if the page is in it.
    fn find(region: &Region<'a>, gpa: u64) -> Option<Self> {
        let offset = gpa.checked_sub(region.base)?;
        let end = region.base + region.words.len() as u64 * PAGE;
        if gpa >= end || offset / PAGE >= region.words.len() as u64 {
            return None;
        }
        let block = gpa & !(BLOCK - 1);
        let first = block.max(region.base);
        let last = (block + BLOCK).min(end);
        let start = ((first - region.base) / PAGE) as usize;
        let count = ((last - first) / PAGE) as usize;
        let words = region.words.get(start..start + count)?;
        (!words.is_empty()).then_some(Self { base: first, words })
    }

    /// All of a 2M block is memory: it may hold a 2M page.
    pub(super) fn whole(&self) -> bool {
        self.words.len() == PAGES
    }

    fn lead(&self) -> &'a AtomicU64 {
        &self.words[0]
    }

    fn index(&self, gpa: u64) -> usize {
        ((gpa - self.base) / PAGE) as usize
    }

    fn is_split(&self, lead: u64) -> bool {
        lead & SPLIT != 0 || !self.whole()
    }

    /// The entry that governs `gpa`, and the size that it governs. Takes no lock.
    pub(super) fn read(&self, gpa: u64) -> (Entry, RmpSize) {
        let mut lead = self.lead().load(Ordering::Acquire);
        loop {
            if lead & LOCK != 0 {
                spin_loop();
                lead = self.lead().load(Ordering::Acquire);
                continue;
            }
            let index = self.index(gpa);
            if !self.is_split(lead) {
                return (Entry::from_word(lead), RmpSize::Size2M);
            }
            if index == 0 {
                return (Entry::from_word(lead), RmpSize::Size4K);
            }
            let word = self.words[index].load(Ordering::Acquire);
            let again = self.lead().load(Ordering::Acquire);
            if again == lead {
                return (Entry::from_word(word), RmpSize::Size4K);
            }
            lead = again;
        }
    }

    /// Takes the lock.
    pub(super) fn lock(self) -> Locked<'a> {
        loop {
            let lead = self.lead().load(Ordering::Relaxed);
            if lead & LOCK == 0
                && self
                    .lead()
                    .compare_exchange_weak(lead, lead | LOCK, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return Locked { block: self, lead };
            }
            spin_loop();
        }
    }
}

impl Locked<'_> {
    /// Whether a 2M page fits here.
    pub(super) fn whole(&self) -> bool {
        self.block.whole()
    }

    /// Each page has its own state.
    pub(super) fn is_split(&self) -> bool {
        self.block.is_split(self.lead)
    }

    /// The entry that governs `gpa`, and the size that it governs.
    pub(super) fn get(&self, gpa: u64) -> (Entry, RmpSize) {
        if !self.is_split() {
            return (Entry::from_word(self.lead), RmpSize::Size2M);
        }
        let index = self.block.index(gpa);
        let word = if index == 0 {
            self.lead
        } else {
            self.block.words[index].load(Ordering::Relaxed)
        };
        (Entry::from_word(word), RmpSize::Size4K)
    }

    /// Changes the state of one page; splits the block first if need be.
    pub(super) fn set_page(&mut self, gpa: u64, entry: Entry) {
        self.split();
        let index = self.block.index(gpa);
        if index == 0 {
            self.lead = entry.word() | (self.lead & SPLIT);
        } else {
            self.block.words[index].store(entry.word(), Ordering::Release);
        }
    }

    /// Gives the whole block one state, and makes it one unit. The block must be whole.
    pub(super) fn set_block(&mut self, entry: Entry) {
        debug_assert!(self.whole());
        self.lead = entry.word();
    }

    /// Gives each page its own state: PSMASH, where the block is assigned.
    pub(super) fn split(&mut self) {
        if self.is_split() {
            return;
        }
        let word = Entry::from_word(self.lead).word();
        for other in &self.block.words[1..] {
            other.store(word, Ordering::Relaxed);
        }
        self.lead = word | SPLIT;
    }

    /// The entries of all pages are equal: the block could be one unit.
    pub(super) fn uniform(&self) -> Option<Entry> {
        if !self.is_split() {
            return Some(Entry::from_word(self.lead));
        }
        let first = Entry::from_word(self.lead);
        let same = |word: &AtomicU64| Entry::from_word(word.load(Ordering::Relaxed)) == first;
        self.block.words[1..].iter().all(same).then_some(first)
    }

    /// Whether `test` holds for any page.
    pub(super) fn any(&self, test: impl Fn(Entry) -> bool) -> bool {
        test(Entry::from_word(self.lead))
            || self.is_split()
                && self.block.words[1..]
                    .iter()
                    .any(|word| test(Entry::from_word(word.load(Ordering::Relaxed))))
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.block.lead().store(self.lead, Ordering::Release);
    }
}

impl<'a> Rmp<'a> {
    /// The block around `gpa`; none where there is no guest memory.
    pub(super) fn block(&self, gpa: u64) -> Option<Block<'a>> {
        self.regions
            .iter()
            .find_map(|region| Block::find(region, gpa))
    }
}
