// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page tables: guest memory private at its own address, and shared at [`SHARED`] plus its address.

use core::arch::asm;
use core::cell::UnsafeCell;

/// Virtual address of guest-physical address 0 in the shared mapping.
pub(crate) const SHARED: u64 = 1 << 39;
/// The C-bit.
const C_BIT: u64 = 1 << 51;
/// Present, writable, accessed, dirty.
const FLAGS: u64 = 0x63;
/// A 1 GiB page.
const GIANT: u64 = 1 << 7;

#[repr(C, align(4096))]
struct Table(UnsafeCell<[u64; 512]>);

// SAFETY: written by the first vCPU before any other runs, and never after.
unsafe impl Sync for Table {}

static ROOT: Table = Table(UnsafeCell::new([0; 512]));
static PRIVATE: Table = Table(UnsafeCell::new([0; 512]));
static SHARED_TABLE: Table = Table(UnsafeCell::new([0; 512]));

/// CR3 of the tables.
pub(crate) fn root() -> u64 {
    ROOT.0.get() as u64 | C_BIT
}

/// Builds the tables and switches to them.
pub(crate) fn install() {
    // SAFETY: the first vCPU, once, before others exist; the new tables map everything that
    // the old ones do at the same addresses, since code and data lie below 512 GiB.
    unsafe {
        let root_table = &mut *ROOT.0.get();
        root_table[0] = PRIVATE.0.get() as u64 | C_BIT | FLAGS;
        root_table[1] = SHARED_TABLE.0.get() as u64 | C_BIT | FLAGS;
        for index in 0..512u64 {
            (*PRIVATE.0.get())[index as usize] = (index << 30) | C_BIT | GIANT | FLAGS;
            (*SHARED_TABLE.0.get())[index as usize] = (index << 30) | GIANT | FLAGS;
        }
        asm!("mov cr3, {}", in(reg) root(), options(nostack));
    }
}
