// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lists of page state changes, worked on by a host that means no good.

use alloc::vec::Vec;

use snp_defs::ghcb::{SHARED_BUFFER_OFFSET, SHARED_BUFFER_SIZE, result};
use snp_defs::psc::{
    ENTRY_SIZE, Entry, HEADER_SIZE, MAX_ENTRIES, OP_PRIVATE, OP_SHARED, PAGES_IN_2M,
};
use snp_defs::rmp::RmpSize;

use super::answer::Page;
use super::random::Random;
use crate::snp::ghcb::{HostServices, Outcome, PageOp};

/// A list in a GHCB's shared buffer, from where it stands to its end.
#[derive(Debug)]
pub(super) struct List {
    /// Where its header is.
    gpa: u64,
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) entries: Vec<Entry>,
}

/// An entry as a page and its size.
pub(super) fn page_of(entry: Entry) -> (u64, RmpSize) {
    let size = if entry.huge() {
        RmpSize::Size2M
    } else {
        RmpSize::Size4K
    };
    (entry.gpa() & !(size.bytes() - 1), size)
}

/// What an entry does to its page, turned into its contrary.
pub(super) const fn contrary(entry: Entry) -> Entry {
    let op = match entry.op() {
        OP_PRIVATE => OP_SHARED,
        OP_SHARED => OP_PRIVATE,
        other => other,
    };
    Entry(entry.0 & !(0xF << 52) | (op as u64) << 52)
}

impl List {
    /// Reads the list of a request; none where it is not as it has to be.
    pub(super) fn read<S: HostServices>(page: &Page, services: &mut S) -> Option<Self> {
        let gpa = page.gpa + SHARED_BUFFER_OFFSET as u64;
        let mut buffer = [0; SHARED_BUFFER_SIZE];
        services.read_shared(gpa, &mut buffer).ok()?;
        let half = |at: usize| u16::from_le_bytes([buffer[at], buffer[at + 1]]);
        let (first, last) = (half(0), half(2));
        if first > last || usize::from(last) >= MAX_ENTRIES {
            return None;
        }
        let entries = buffer[8..]
            .chunks_exact(8)
            .take(usize::from(last) + 1)
            .skip(first.into())
            .map(|chunk| Entry(u64::from_le_bytes(chunk.try_into().unwrap_or_default())))
            .collect();
        Some(Self {
            gpa,
            first,
            last,
            entries,
        })
    }

    /// The operation of its first entry.
    pub(super) fn op(&self) -> u64 {
        self.entries.first().map_or(0, |entry| entry.op().into())
    }

    /// Writes `cur_entry` and `end_entry`.
    pub(super) fn set_header<S: HostServices>(&self, current: u16, end: u16, services: &mut S) {
        let header = u64::from(current) | u64::from(end) << 16;
        let _ = services.write_shared(self.gpa, &header.to_le_bytes());
    }

    /// Works on a random part of the list, as an honest host that something else calls away: a few entries, and
    /// a few pages of the next if that has 2M. Some page is changed each time, so the guest comes to the end.
    /// `serve` is the host that works on all that it is shown.
    pub(super) fn pause<S: HostServices>(
        &self,
        page: &Page,
        random: &Random,
        services: &mut S,
        serve: impl FnOnce(&mut S) -> Outcome,
    ) -> Outcome {
        let mut whole = random.below(self.entries.len() as u64) as u16;
        let next = self.entries[usize::from(whole)];
        let splits = next.huge() && next.current_page() == 0;
        let mut part = if splits {
            random.below(PAGES_IN_2M.into())
        } else {
            0
        };
        if (whole, part) == (0, 0) {
            whole = 1;
        }
        let mut outcome = Outcome::Resume;
        if whole == 0 {
            page.answer(result::OK, 0, &[], services);
        } else {
            let stop = self.first + whole;
            self.set_header(self.first, stop - 1, services);
            outcome = serve(services);
            let current = self.current(services).unwrap_or(self.first);
            self.set_header(current, self.last, services);
            if current != stop {
                part = 0;
            }
        }
        if part != 0 {
            let done = assign_small(next, part, services);
            let at = self.gpa + HEADER_SIZE + ENTRY_SIZE * u64::from(self.first + whole);
            let _ = services.write_shared(at, &(next.0 | done).to_le_bytes());
        }
        outcome
    }

    /// `cur_entry` as it stands.
    fn current<S: HostServices>(&self, services: &mut S) -> Option<u16> {
        let mut current = [0; 2];
        services.read_shared(self.gpa, &mut current).ok()?;
        Some(u16::from_le_bytes(current))
    }

    /// Says that all of it is done.
    pub(super) fn finish<S: HostServices>(&self, services: &mut S) {
        self.set_header(self.last + 1, self.last, services);
    }

    /// Turns each entry into its contrary.
    pub(super) fn turn<S: HostServices>(&self, services: &mut S) {
        for (index, entry) in (u64::from(self.first)..).zip(&self.entries) {
            let at = self.gpa + HEADER_SIZE + ENTRY_SIZE * index;
            let _ = services.write_shared(at, &contrary(*entry).0.to_le_bytes());
        }
    }
}

/// Assigns the first `most` pages of an entry in 4K pages; how many of them the honest host does not refuse.
pub(super) fn assign_small<S: HostServices>(entry: Entry, most: u64, services: &mut S) -> u64 {
    let (gpa, size) = page_of(entry);
    let op = match entry.op() {
        OP_PRIVATE => PageOp::Private,
        OP_SHARED => PageOp::Shared,
        _ => return 0,
    };
    let mut done = |page| services.page_state(page, op, RmpSize::Size4K).is_ok();
    let pages = (gpa..gpa + size.bytes()).step_by(RmpSize::Size4K.bytes() as usize);
    pages
        .take(most as usize)
        .take_while(|&page| done(page))
        .count() as u64
}
