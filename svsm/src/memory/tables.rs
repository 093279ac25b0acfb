// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page tables of the image builder. Only one thing is ever changed in them: the right to write, which
//! is taken away from what does not change after the start, and in the end from the tables themselves.
#![forbid(unsafe_code)]

use super::ADDRESS_BITS;
use core::sync::atomic::{AtomicU64, Ordering};

/// A page table.
pub(crate) type Table = [AtomicU64; 512];

/// Entry: present.
const PRESENT: u64 = 1 << 0;
/// Entry: may be written.
const WRITABLE: u64 = 1 << 1;
/// Entry above the last level: a page of its own, and not a table.
const HUGE: u64 = 1 << 7;
/// Entry: the address; the private bit above it is left alone.
const ADDRESS: u64 = ((1 << ADDRESS_BITS) - 1) & !0xFFF;

/// The tables are not as they should be at this virtual address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unmapped(pub(crate) u64);

/// The tables in force.
pub(crate) struct Tables<F> {
    root: u64,
    find: F,
}

impl<'t, F: Fn(u64) -> Option<&'t Table>> Tables<F> {
    /// Tables whose root is at the guest-physical address `root`; `find` says where a table is mapped.
    pub(crate) const fn new(root: u64, find: F) -> Self {
        Self { root, find }
    }

    /// The entry that maps the 4K page at `address`.
    fn entry(&self, address: u64) -> Result<&'t AtomicU64, Unmapped> {
        let mut table = self.root;
        for level in (0..4).rev() {
            let index = (address >> (12 + 9 * level)) as usize % 512;
            let entry = &(self.find)(table).ok_or(Unmapped(address))?[index];
            let value = entry.load(Ordering::Relaxed);
            if value & PRESENT == 0 || (level != 0 && value & HUGE != 0) {
                return Err(Unmapped(address));
            }
            if level == 0 {
                return Ok(entry);
            }
            table = value & ADDRESS;
        }
        Err(Unmapped(address))
    }

    /// Takes the right to write from the 4K pages from `start` to `end`. The caller flushes old translations.
    pub(crate) fn make_read_only(&self, start: u64, end: u64) -> Result<(), Unmapped> {
        for address in (start..end).step_by(4096) {
            self.entry(address)?.fetch_and(!WRITABLE, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    const PRIVATE: u64 = 1 << 51;

    /// Four tables that map the 16 pages at 0xFFFF_FFFF_8000_0000 to 0x5000_0000.
    fn tables() -> Vec<Table> {
        let tables: Vec<Table> = (0..4)
            .map(|_| core::array::from_fn(|_| AtomicU64::new(0)))
            .collect();
        let next = |number: u64| AtomicU64::new(PRIVATE | (number * 4096) | WRITABLE | PRESENT);
        let mut tables = tables;
        tables[0][511] = next(1);
        tables[1][510] = next(2);
        tables[2][0] = next(3);
        for page in 0..16u64 {
            tables[3][page as usize] = next(0x5_0000 + page);
        }
        // A page of 2M.
        tables[2][1] = AtomicU64::new(PRIVATE | 0x6000_0000 | HUGE | WRITABLE | PRESENT);
        tables
    }

    const BASE: u64 = 0xFFFF_FFFF_8000_0000;

    #[test]
    fn only_the_right_to_write_goes() {
        let memory = tables();
        let tables = Tables::new(0, |gpa| memory.get(gpa as usize / 4096));
        tables.make_read_only(BASE + 0x2000, BASE + 0x4000).unwrap();
        for page in 0..16u64 {
            let writable = if (2..4).contains(&page) { 0 } else { WRITABLE };
            let expected = PRIVATE | (0x5000_0000 + page * 4096) | writable | PRESENT;
            assert_eq!(memory[3][page as usize].load(Ordering::Relaxed), expected);
        }
        assert_eq!(memory[2][0].load(Ordering::Relaxed), PRIVATE | 0x3000 | 3);
    }

    #[test]
    fn what_is_not_mapped_by_4k_is_refused() {
        let memory = tables();
        let tables = Tables::new(0, |gpa| memory.get(gpa as usize / 4096));
        let refused = |start: u64, end| tables.make_read_only(start, end).err();
        assert_eq!(
            refused(BASE + 0xF000, BASE + 0x1_1000),
            Some(Unmapped(BASE + 0x1_0000))
        );
        assert_eq!(
            refused(BASE + 0x20_0000, BASE + 0x20_1000),
            Some(Unmapped(BASE + 0x20_0000))
        );
        assert_eq!(refused(0, 0x1000), Some(Unmapped(0)));
        // A table that is none of the builder's.
        memory[2][2].store(PRIVATE | 0x9_9000 | 3, Ordering::Relaxed);
        assert_eq!(
            refused(BASE + 0x40_0000, BASE + 0x40_1000),
            Some(Unmapped(BASE + 0x40_0000))
        );
    }
}
