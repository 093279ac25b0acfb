// SPDX-License-Identifier: MIT OR Apache-2.0
//! The emulator's own memory: a heap for Rust, and a bump allocator for pages that are never
//! given back (stacks, tables, the image). Both lie between the end of the image and
//! [`EMULATOR_END`]; the large tables lie in a region of their own above guest memory.

use core::sync::atomic::{AtomicU64, Ordering};

use emulator_defs::layout::{EMULATOR_END, MIB};
use linked_list_allocator::LockedHeap;

/// Bytes of the heap.
const HEAP_SIZE: u64 = 32 * MIB;

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

/// Low pages: below 2 GiB, so that 32-bit device registers can name them.
pub(crate) static LOW: Pages = Pages::empty();
/// High pages: above guest memory and its backing.
pub(crate) static HIGH: Pages = Pages::empty();

unsafe extern "C" {
    static image_end: u8;
}

/// Memory that is handed out in pages and never comes back. QEMU's memory reads zero at first.
pub(crate) struct Pages {
    next: AtomicU64,
    end: AtomicU64,
}

impl Pages {
    const fn empty() -> Self {
        Self {
            next: AtomicU64::new(0),
            end: AtomicU64::new(0),
        }
    }

    /// Gives the allocator its range. Called once, before other processors run.
    pub(crate) fn set_range(&self, range: core::ops::Range<u64>) {
        self.next.store(range.start, Ordering::Relaxed);
        self.end.store(range.end, Ordering::Relaxed);
    }

    /// End (exclusive) of the range.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// A range of `length` bytes (rounded up to pages) at a multiple of `align`.
    ///
    /// # Panics
    /// When none is left: the layout gives more than the tables can need.
    pub(crate) fn allocate(&self, length: u64, align: u64) -> u64 {
        let length = length.next_multiple_of(4096);
        let align = align.max(4096);
        let mut next = self.next.load(Ordering::Relaxed);
        loop {
            let start = next.next_multiple_of(align);
            assert!(
                start + length <= self.end.load(Ordering::Relaxed),
                "out of emulator memory"
            );
            match self.next.compare_exchange(
                next,
                start + length,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return start,
                Err(current) => next = current,
            }
        }
    }
}

/// Sets up the heap and [`LOW`]. Called once, first of all.
pub(crate) fn initialize() {
    let start = (&raw const image_end as u64).next_multiple_of(2 * MIB);
    // SAFETY: the range follows the image, is RAM of QEMU that nobody else uses (the guest's
    // memory ends where the image starts), and this runs once.
    unsafe { HEAP.lock().init(start as *mut u8, HEAP_SIZE as usize) };
    LOW.set_range(start + HEAP_SIZE..EMULATOR_END);
}
