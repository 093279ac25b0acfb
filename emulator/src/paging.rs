// SPDX-License-Identifier: MIT OR Apache-2.0
//! Walks of a guest's page tables: from a linear address to a guest-physical one with its C-bit.
//!
//! Page tables are always read as private memory, whatever the C-bit of the entry that leads to
//! them (24593, 15.34.5). Accessed and dirty bits are not set: the emulator is no access of the guest.

use emulator_defs::layout::C_BIT;

use crate::vmcb::Save;

/// CR0.PG.
pub const CR0_PG: u64 = 1 << 31;
/// CR0.WP.
pub const CR0_WP: u64 = 1 << 16;
/// CR4.PSE.
pub const CR4_PSE: u64 = 1 << 4;
/// CR4.PAE.
pub const CR4_PAE: u64 = 1 << 5;
/// CR4.LA57.
pub const CR4_LA57: u64 = 1 << 12;
/// EFER.LMA.
pub const EFER_LMA: u64 = 1 << 10;

const C: u64 = 1 << C_BIT;
const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
const USER: u64 = 4;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;

/// Private memory of the guest, to read tables from.
pub trait Tables {
    /// Eight bytes at a multiple of eight. `None`: the guest can't read there.
    fn read_u64(&self, gpa: u64) -> Option<u64>;
}

/// The registers that say how to translate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER.
    pub efer: u64,
}

impl Mode {
    /// The mode of a vCPU.
    pub const fn of(save: &Save) -> Self {
        Self {
            cr0: save.cr0,
            cr3: save.cr3,
            cr4: save.cr4,
            efer: save.efer,
        }
    }

    /// Whether the C-bit of a page table entry decides. Without paging, and with 32-bit entries,
    /// every access is private (24593, 15.34.5).
    pub const fn has_c_bit(&self) -> bool {
        self.cr0 & CR0_PG != 0 && self.cr4 & CR4_PAE != 0
    }
}

/// Where a linear address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    /// Guest-physical address, without the C-bit.
    pub gpa: u64,
    /// The C-bit: the access is private.
    pub private: bool,
    /// Bytes of the page in the guest's tables.
    pub page_size: u64,
    /// Every level allows writes.
    pub writable: bool,
    /// Every level allows accesses from CPL 3.
    pub user: bool,
    /// Every level allows instruction fetches.
    pub executable: bool,
}

/// The translation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An entry is not present: #PF with a clear present bit.
    NotPresent,
    /// An entry has a reserved bit: #PF with a set reserved bit.
    Reserved,
    /// The linear address is not canonical: #GP or #SS.
    NotCanonical,
    /// A table lies where the guest can't read; the address.
    Table(u64),
}

/// Translates `linear`.
pub fn translate(tables: &impl Tables, mode: &Mode, linear: u64) -> Result<Translation, Fault> {
    if mode.cr0 & CR0_PG == 0 {
        return Ok(Translation {
            gpa: linear & 0xFFFF_FFFF,
            private: true,
            page_size: 4096,
            writable: true,
            user: true,
            executable: true,
        });
    }
    if mode.efer & EFER_LMA != 0 {
        let levels = if mode.cr4 & CR4_LA57 != 0 { 5 } else { 4 };
        let unused = 64 - 12 - 9 * levels;
        if ((linear as i64) << unused) >> unused != linear as i64 {
            return Err(Fault::NotCanonical);
        }
        return walk(
            tables,
            mode.cr3 & ADDRESS & !C,
            levels,
            linear,
            PRESENT | WRITABLE | USER,
        );
    }
    let linear = linear & 0xFFFF_FFFF;
    if mode.cr4 & CR4_PAE == 0 {
        return walk_32(tables, mode, linear);
    }
    // PAE: four entries without permissions, then two levels.
    let table = (mode.cr3 & 0xFFFF_FFE0) + 8 * (linear >> 30);
    let entry = tables.read_u64(table).ok_or(Fault::Table(table))?;
    if entry & PRESENT == 0 {
        return Err(Fault::NotPresent);
    }
    walk(
        tables,
        entry & ADDRESS & !C,
        2,
        linear,
        PRESENT | WRITABLE | USER,
    )
}

/// Walks `levels` levels of 64-bit entries from `table` on.
fn walk(
    tables: &impl Tables,
    mut table: u64,
    levels: u32,
    linear: u64,
    mut rights: u64,
) -> Result<Translation, Fault> {
    let mut no_execute = 0;
    for level in (0..levels).rev() {
        let shift = 12 + 9 * level;
        let address = table + 8 * ((linear >> shift) & 0x1FF);
        let entry = tables.read_u64(address).ok_or(Fault::Table(address))?;
        if entry & PRESENT == 0 {
            return Err(Fault::NotPresent);
        }
        rights &= entry;
        no_execute |= entry & NO_EXECUTE;
        let large = level > 0 && entry & LARGE != 0;
        if large && level > 2 {
            return Err(Fault::Reserved);
        }
        if level == 0 || large {
            let offset = (1_u64 << shift) - 1;
            let base = entry & ADDRESS & !C;
            // Bit 12 of a large page's entry is its PAT bit.
            if large && base & offset & !0x1FFF != 0 {
                return Err(Fault::Reserved);
            }
            return Ok(Translation {
                gpa: (base & !offset) | (linear & offset),
                private: entry & C != 0,
                page_size: offset + 1,
                writable: rights & WRITABLE != 0,
                user: rights & USER != 0,
                executable: no_execute == 0,
            });
        }
        table = entry & ADDRESS & !C;
    }
    Err(Fault::NotPresent)
}

/// Walks 32-bit entries: two levels, pages of 4 KiB and 4 MiB.
fn walk_32(tables: &impl Tables, mode: &Mode, linear: u64) -> Result<Translation, Fault> {
    let read = |address: u64| {
        let word = tables.read_u64(address & !7).ok_or(Fault::Table(address))?;
        Ok((word >> (8 * (address & 4))) & 0xFFFF_FFFF)
    };
    let directory = read((mode.cr3 & 0xFFFF_F000) + 4 * (linear >> 22))?;
    if directory & PRESENT == 0 {
        return Err(Fault::NotPresent);
    }
    let (entry, offset) = if directory & LARGE != 0 && mode.cr4 & CR4_PSE != 0 {
        (directory, 0x3F_FFFF)
    } else {
        let entry = read((directory & 0xFFFF_F000) + 4 * ((linear >> 12) & 0x3FF))?;
        if entry & PRESENT == 0 {
            return Err(Fault::NotPresent);
        }
        (entry, 0xFFF)
    };
    let rights = directory & entry;
    Ok(Translation {
        gpa: (entry & 0xFFFF_F000 & !offset) | (linear & offset),
        private: true,
        page_size: offset + 1,
        writable: rights & WRITABLE != 0,
        user: rights & USER != 0,
        executable: true,
    })
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::BTreeMap;

    struct Memory(BTreeMap<u64, u64>);

    impl Tables for Memory {
        fn read_u64(&self, gpa: u64) -> Option<u64> {
            assert!(gpa & C == 0 && gpa.is_multiple_of(8));
            (gpa < 0x10_0000).then(|| self.0.get(&gpa).copied().unwrap_or(0))
        }
    }

    const LONG: Mode = Mode {
        cr0: CR0_PG | 1,
        cr3: 0x1000 | C,
        cr4: CR4_PAE,
        efer: EFER_LMA,
    };

    fn memory(entries: &[(u64, u64)]) -> Memory {
        Memory(entries.iter().copied().collect())
    }

    #[test]
    fn four_levels_with_c_bit() {
        let memory = memory(&[
            (0x1000 + 8 * 0x1FF, 0x2000 | C | 7),
            (0x2000 + 8 * 0x1FE, 0x3000 | C | 3),
            (0x3000 + 8, 0x4000 | C | 7),
            (0x4000 + 8 * 2, 0x1234_5000 | C | 1 | NO_EXECUTE),
            (0x4000 + 8 * 3, 0x1234_6000 | 3),
        ]);
        let base = 0xFFFF_FFFF_8020_0000;
        assert_eq!(
            translate(&memory, &LONG, base + 0x2123),
            Ok(Translation {
                gpa: 0x1234_5123,
                private: true,
                page_size: 4096,
                writable: false,
                user: false,
                executable: false,
            })
        );
        let shared = translate(&memory, &LONG, base + 0x3FFF).unwrap();
        assert_eq!((shared.gpa, shared.private), (0x1234_6FFF, false));
        assert!(shared.writable && shared.executable);
        assert_eq!(
            translate(&memory, &LONG, base + 0x4000),
            Err(Fault::NotPresent)
        );
        assert_eq!(
            translate(&memory, &LONG, 0x0000_8000_0000_0000),
            Err(Fault::NotCanonical)
        );
    }

    #[test]
    fn large_pages() {
        let memory = memory(&[
            (0x1000, 0x2000 | 7),
            (0x2000, 0x3000 | 7),
            (0x2000 + 8, 0x1_4000_0000 | C | LARGE | 7),
            (0x3000 + 8, 0x60_0000 | C | LARGE | 7),
            (0x3000 + 16, 0x70_0000 | C | LARGE | 7),
        ]);
        let page = translate(&memory, &LONG, 0x23_4567).unwrap();
        assert_eq!((page.gpa, page.page_size), (0x63_4567, 2 << 20));
        let page = translate(&memory, &LONG, 0x7FFF_FFFF).unwrap();
        assert_eq!((page.gpa, page.page_size), (0x1_7FFF_FFFF, 1 << 30));
        assert_eq!(translate(&memory, &LONG, 0x40_0000), Err(Fault::Reserved));
    }

    #[test]
    fn tables_out_of_reach() {
        let memory = memory(&[(0x1000, 0x20_0000 | 7)]);
        assert_eq!(translate(&memory, &LONG, 0), Err(Fault::Table(0x20_0000)));
    }

    #[test]
    fn pae_and_32_bit() {
        let pae = Mode {
            cr3: 0x1020,
            efer: 0,
            ..LONG
        };
        let tables = memory(&[
            (0x1038, 0x2000 | 1),
            (0x2000 + 8 * 0x1FF, 0x3000 | 7),
            (0x3000 + 8 * 0x1FF, 0x5000 | C | 3),
        ]);
        let page = translate(&tables, &pae, 0xFFFF_F123).unwrap();
        assert_eq!((page.gpa, page.private), (0x5123, true));
        let legacy = Mode {
            cr4: CR4_PSE,
            cr3: 0x1000,
            efer: 0,
            ..LONG
        };
        // Entry 1 of the directory is the high half of the first word.
        let tables = memory(&[(0x1000, (0x40_0083 << 32) | 0x2003), (0x2000, 0x7001 << 32)]);
        let page = translate(&tables, &legacy, 0x1ABC).unwrap();
        assert_eq!(
            (page.gpa, page.private, page.writable),
            (0x7ABC, true, false)
        );
        let page = translate(&tables, &legacy, 0x7F_FFFF).unwrap();
        assert_eq!((page.gpa, page.page_size), (0x7F_FFFF, 4 << 20));
    }

    #[test]
    fn no_paging() {
        let real = Mode {
            cr0: 0,
            cr3: 0,
            cr4: 0,
            efer: 0,
        };
        let page = translate(&memory(&[]), &real, 0x9_9050).unwrap();
        assert_eq!((page.gpa, page.private), (0x9_9050, true));
        assert!(!real.has_c_bit());
    }
}
