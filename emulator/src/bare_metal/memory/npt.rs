// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nested page tables: one set for each VMPL, five levels, filled at nested page faults from the
//! RMP.
//!
//! Below the root there are two trees of four levels, one for each view. Entry 0 of the root leads
//! to the shared view, entry 8 (bit 51, the C-bit) to the private one. Where every access is private
//! because the guest does not page (24593, 15.34.5), another root has the private view at both.
//!
//! Entries are atomic words that change in one store. Tables are never freed. A leaf that is
//! cleared or replaced is counted, and stays in the translation caches of processors that run the
//! guest until their next entry: whoever must not have that kicks them.

use core::sync::atomic::{AtomicU64, Ordering};

use emulator::tlb::Invalidations;
use snp_defs::rmp::{Permissions, RmpSize};

use crate::host::heap::HIGH;
use crate::host::physical;
use crate::memory::backings::View;

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
/// Nested accesses count as user accesses (24593, 15.25.5).
const USER: u64 = 1 << 2;
/// Set from the start, so that the processor never writes to an entry.
const ACCESSED_DIRTY: u64 = 1 << 5 | 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
const TABLE: u64 = PRESENT | WRITABLE | USER | ACCESSED_DIRTY;

/// Index in the root of the private view: bit 51 of an address.
const PRIVATE_INDEX: u64 = 8;

/// The tables of one VMPL.
pub(crate) struct NestedTables {
    mixed: u64,
    all_private: u64,
    shared: u64,
    private: u64,
    /// How often a processor that may hold a translation had it taken away.
    pub(crate) invalidations: Invalidations,
}

/// Rights of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rights {
    /// Writes.
    pub(crate) write: bool,
    /// Instruction fetches.
    pub(crate) execute: bool,
}

impl NestedTables {
    /// Empty tables.
    pub(crate) fn new() -> Self {
        let tables = Self {
            mixed: new_table(),
            all_private: new_table(),
            shared: new_table(),
            private: new_table(),
            invalidations: Invalidations::new(),
        };
        let set = |root: u64, index: u64, table: u64| {
            physical::word(root + 8 * index).store(table | TABLE, Ordering::Release);
        };
        set(tables.mixed, 0, tables.shared);
        set(tables.mixed, PRIVATE_INDEX, tables.private);
        set(tables.all_private, 0, tables.private);
        set(tables.all_private, PRIVATE_INDEX, tables.private);
        tables
    }

    /// The root for a guest whose page tables have a C-bit, or for one that does not page.
    pub(crate) const fn root(&self, has_c_bit: bool) -> u64 {
        if has_c_bit {
            self.mixed
        } else {
            self.all_private
        }
    }

    /// Enters a leaf for the page at `gpa`. A 2M leaf is entered only where no smaller one was.
    pub(crate) fn map(&self, view: View, gpa: u64, host: u64, size: RmpSize, rights: Rights) {
        let mut leaf = host & ADDRESS | PRESENT | USER | ACCESSED_DIRTY;
        if rights.write {
            leaf |= WRITABLE;
        }
        if !rights.execute {
            leaf |= NO_EXECUTE;
        }
        let mut table = self.top(view);
        for level in [3, 2] {
            table = descend(entry(table, gpa, level));
        }
        let directory = entry(table, gpa, 1);
        let current = directory.load(Ordering::Acquire);
        let occupied = current & PRESENT != 0 && current & LARGE == 0;
        if size == RmpSize::Size2M && !occupied {
            self.set(directory, leaf | LARGE);
            return;
        }
        let offset = if size == RmpSize::Size2M {
            gpa & (RmpSize::Size2M.bytes() - 1) & !0xFFF
        } else {
            0
        };
        if current & LARGE != 0 {
            // The 2M leaf is of an earlier state; what it covered comes back page by page.
            self.set(directory, new_table() | TABLE);
        }
        let table = descend(directory);
        self.set(entry(table, gpa, 0), leaf + offset);
    }

    /// Clears all leaves of `view` over a page.
    pub(crate) fn clear(&self, view: View, gpa: u64, size: RmpSize) {
        let mut table = self.top(view);
        for level in [3, 2] {
            match child(entry(table, gpa, level)) {
                Some(next) => table = next,
                None => return,
            }
        }
        let directory = entry(table, gpa, 1);
        let current = directory.load(Ordering::Acquire);
        if current & PRESENT == 0 {
            return;
        }
        if current & LARGE != 0 {
            self.set(directory, 0);
            return;
        }
        let table = current & ADDRESS;
        match size {
            RmpSize::Size4K => self.set(entry(table, gpa, 0), 0),
            RmpSize::Size2M => {
                let words = physical::words(table, 512).iter();
                let held = words.fold(false, |held, word| held | replace(word, 0));
                self.note(held);
            }
        }
    }

    /// Sets an entry.
    fn set(&self, entry: &AtomicU64, value: u64) {
        self.note(replace(entry, value));
    }

    /// Notes that what a processor may hold is void.
    fn note(&self, held: bool) {
        if held {
            self.invalidations.note();
        }
    }

    const fn top(&self, view: View) -> u64 {
        match view {
            View::Shared => self.shared,
            View::Private => self.private,
        }
    }
}

impl Rights {
    /// What a leaf may allow of `permissions`. Nested tables know one bit for execution: a page
    /// that only one of user and supervisor may execute follows who asks.
    pub(crate) fn new(permissions: Permissions, user: bool) -> Self {
        let execute = if user {
            Permissions::EXECUTE_USER
        } else {
            Permissions::EXECUTE_SUPERVISOR
        };
        Self {
            write: permissions.contains(Permissions::WRITE),
            execute: permissions.contains(execute),
        }
    }
}

fn new_table() -> u64 {
    HIGH.allocate(4096, 4096)
}

/// Sets an entry. Whether a processor may hold what was there before, and is no more.
fn replace(entry: &AtomicU64, value: u64) -> bool {
    let old = entry.swap(value, Ordering::SeqCst);
    old & PRESENT != 0 && old != value
}

/// The entry for `gpa` in a table of `level` (0: leaves of 4K).
fn entry(table: u64, gpa: u64, level: u32) -> &'static AtomicU64 {
    physical::word(table + 8 * ((gpa >> (12 + 9 * level)) & 0x1FF))
}

fn child(entry: &AtomicU64) -> Option<u64> {
    let value = entry.load(Ordering::Acquire);
    (value & PRESENT != 0).then_some(value & ADDRESS)
}

/// The table below `entry`, made if there is none. Of two processors that make it at once, one wins
/// and the other's page stays unused.
fn descend(entry: &AtomicU64) -> u64 {
    let current = entry.load(Ordering::Acquire);
    if current & PRESENT != 0 {
        return current & ADDRESS;
    }
    let new = new_table();
    match entry.compare_exchange(current, new | TABLE, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => new,
        Err(winner) => winner & ADDRESS,
    }
}
