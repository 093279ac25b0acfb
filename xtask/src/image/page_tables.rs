// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page tables that are part of the image: four levels, the C-bit in them, no stage of boot code that
//! would have to build others first (24593, 5.3 and 15.34.1).

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::contents::PAGE;

/// The C-bit: at 51 on all hardware so far; what runs from these tables checks it.
pub(crate) const C_BIT: u64 = 1 << emulator_defs::layout::C_BIT;

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const HUGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
#[cfg(test)]
const ADDRESS: u64 = 0x0007_FFFF_FFFF_F000;

/// What may be done with mapped memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rights {
    /// It may be written.
    pub(crate) write: bool,
    /// It may be executed.
    pub(crate) execute: bool,
    /// The host sees it: mapped without the C-bit.
    pub(crate) shared: bool,
}

impl Rights {
    /// Read only.
    pub(crate) const READ: Self = Self {
        write: false,
        execute: false,
        shared: false,
    };
    /// Read and write.
    pub(crate) const WRITE: Self = Self {
        write: true,
        ..Self::READ
    };
    /// Read and execute.
    #[cfg(test)]
    pub(crate) const EXECUTE: Self = Self {
        execute: true,
        ..Self::READ
    };
    /// Read and write, seen by the host.
    pub(crate) const SHARED: Self = Self {
        shared: true,
        ..Self::WRITE
    };
    /// Everything: for a guest that has yet to build tables of its own.
    pub(crate) const ALL: Self = Self {
        write: true,
        execute: true,
        shared: false,
    };

    fn bits(self) -> u64 {
        // Set beforehand, so that the processor never writes to a table.
        let mut bits = PRESENT | ACCESSED | DIRTY;
        if self.write {
            bits |= WRITABLE;
        }
        if !self.execute {
            bits |= NO_EXECUTE;
        }
        if !self.shared {
            bits |= C_BIT;
        }
        bits
    }
}

/// Size of a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// 4 KiB.
    Small,
    /// 1 GiB.
    Giant,
}

impl Size {
    /// Bytes.
    pub(crate) const fn bytes(self) -> u64 {
        match self {
            Self::Small => PAGE,
            Self::Giant => 1 << 30,
        }
    }

    /// The level of its entries: 0 is a page table, 3 the root.
    const fn level(self) -> u32 {
        match self {
            Self::Small => 0,
            Self::Giant => 2,
        }
    }
}

/// A tree of tables; the first page is its root.
#[derive(Debug)]
pub(crate) struct PageTables {
    base: u64,
    tables: Vec<[u64; 512]>,
    /// Which table an entry of a higher one points to, by (index of the table, index in it).
    children: BTreeMap<(usize, usize), usize>,
}

impl PageTables {
    /// Empty tables that will lie at guest-physical `base`.
    pub(crate) fn new(base: u64) -> Self {
        Self {
            base,
            tables: vec![[0; 512]],
            children: BTreeMap::new(),
        }
    }

    /// Maps `bytes` bytes from virtual `virt` on to guest-physical memory from `phys` on, in
    /// mappings of `size`.
    pub(crate) fn map(
        &mut self,
        virt: u64,
        phys: u64,
        bytes: u64,
        size: Size,
        rights: Rights,
    ) -> Result<()> {
        let step = size.bytes();
        ensure!(
            [virt, phys, bytes]
                .iter()
                .all(|value| value.is_multiple_of(step)),
            "the mapping of {virt:#x} to {phys:#x} is not aligned to {step:#x}"
        );
        for offset in (0..bytes).step_by(step as usize) {
            let entry = self.entry(virt + offset, size.level());
            ensure!(*entry == 0, "{:#x} is mapped twice", virt + offset);
            let huge = if size == Size::Small { 0 } else { HUGE };
            *entry = (phys + offset) | rights.bits() | huge;
        }
        Ok(())
    }

    /// The entry for `virt` at `level`, with the tables above it.
    fn entry(&mut self, virt: u64, level: u32) -> &mut u64 {
        let index = |level: u32| (virt >> (12 + 9 * level)) as usize & 511;
        let mut table = 0;
        for above in (level + 1..4).rev() {
            let slot = (table, index(above));
            table = match self.children.get(&slot) {
                Some(child) => *child,
                None => {
                    let child = self.tables.len();
                    let address = self.base + child as u64 * PAGE;
                    self.tables.push([0; 512]);
                    // Rights are restricted in the last entry only.
                    self.tables[slot.0][slot.1] = address | C_BIT | PRESENT | WRITABLE | ACCESSED;
                    self.children.insert(slot, child);
                    child
                }
            };
        }
        &mut self.tables[table][index(level)]
    }

    /// The tables as they lie in memory, the root first.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.tables
            .iter()
            .flatten()
            .flat_map(|entry| entry.to_le_bytes())
            .collect()
    }
}

/// A walk as the processor does it, for tests: what `virt` is mapped to, if it is.
#[cfg(test)]
pub(crate) fn walk(read: impl Fn(u64) -> u64, root: u64, virt: u64) -> Option<(u64, Rights)> {
    let mut table = root;
    let (mut write, mut execute) = (true, true);
    for level in (0..4).rev() {
        let shift = 12 + 9 * level;
        let entry = read(table + (virt >> shift & 511) * 8);
        if entry & PRESENT == 0 {
            return None;
        }
        write &= entry & WRITABLE != 0;
        execute &= entry & NO_EXECUTE == 0;
        if level == 0 || entry & HUGE != 0 {
            assert!(level == 0 || level == 2, "a mapping of 2 MiB is not used");
            let offset = virt & ((1 << shift) - 1);
            assert_eq!(entry & ADDRESS & ((1 << shift) - 1), 0);
            let shared = entry & C_BIT == 0;
            return Some((
                (entry & ADDRESS) + offset,
                Rights {
                    write,
                    execute,
                    shared,
                },
            ));
        }
        assert_ne!(entry & C_BIT, 0, "a table is always private");
        table = entry & ADDRESS;
    }
    unreachable!()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn walk_in(bytes: &[u8], base: u64, virt: u64) -> Option<(u64, Rights)> {
        let read = |address: u64| {
            let offset = (address - base) as usize;
            u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
        };
        walk(read, base, virt)
    }

    #[test]
    fn a_second_mapping_of_a_page_is_refused() {
        let mut tables = PageTables::new(0x1000);
        tables.map(0, 0, PAGE, Size::Small, Rights::READ).unwrap();
        assert!(
            tables
                .map(0, PAGE, PAGE, Size::Small, Rights::READ)
                .is_err()
        );
    }

    #[test]
    fn the_last_page_of_the_address_space_can_be_mapped() {
        let mut tables = PageTables::new(0x1000);
        let last = u64::MAX - 4095;
        tables
            .map(last, 0x5000, PAGE, Size::Small, Rights::WRITE)
            .unwrap();
        assert_eq!(
            walk_in(&tables.to_bytes(), 0x1000, u64::MAX),
            Some((0x5FFF, Rights::WRITE))
        );
    }

    proptest! {
        #[test]
        fn a_walk_finds_what_was_mapped(
            pages in proptest::collection::btree_map(0u64..1 << 36, (0u64..1 << 36, 0usize..5), 1..40),
            other in 0u64..1 << 36,
        ) {
            const ALL: [Rights; 5] =
                [Rights::READ, Rights::WRITE, Rights::EXECUTE, Rights::SHARED, Rights::ALL];
            let base = 0x12_3000;
            let mut tables = PageTables::new(base);
            for (virt, (phys, rights)) in &pages {
                tables.map(virt * PAGE, phys * PAGE, PAGE, Size::Small, ALL[*rights]).unwrap();
            }
            let bytes = tables.to_bytes();
            for (virt, (phys, rights)) in &pages {
                let found = walk_in(&bytes, base, virt * PAGE + 0x123);
                prop_assert_eq!(found, Some((phys * PAGE + 0x123, ALL[*rights])));
            }
            prop_assert_eq!(walk_in(&bytes, base, other * PAGE).is_some(), pages.contains_key(&other));
        }
    }
}
