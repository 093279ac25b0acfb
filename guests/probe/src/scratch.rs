// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that a check may do with as it likes: guest-physical addresses above the probe, each used once.

use core::sync::atomic::{AtomicU64, Ordering};

/// First scratch address, the GHCB's; the linker script keeps the probe below it.
pub(crate) const SCRATCH: u64 = 0x200_0000;
/// End of the scratch memory: below the smallest guest's end.
const SCRATCH_END: u64 = 0xE00_0000;

static NEXT: AtomicU64 = AtomicU64::new(SCRATCH + 0x1000);

fn take(size: u64) -> u64 {
    let mut next = NEXT.load(Ordering::Relaxed);
    loop {
        let start = next.next_multiple_of(size);
        assert!(start + size <= SCRATCH_END, "out of scratch memory");
        match NEXT.compare_exchange(next, start + size, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return start,
            Err(now) => next = now,
        }
    }
}

/// A 4K page of validated private memory that nothing else uses.
pub(crate) fn page() -> u64 {
    take(0x1000)
}

/// A 2M page, aligned.
pub(crate) fn huge_page() -> u64 {
    take(0x20_0000)
}
