// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where guest memory lies in host memory: two backings for each page, one for the shared view and
//! one for the private view ([`emulator_defs::layout`] has the map).

use core::ops::Range;
use core::sync::atomic::AtomicU64;

use alloc::boxed::Box;
use emulator::snp::rmp::{Region, Rmp};
use emulator_defs::layout::{
    GUEST_HIGH, ISA_HOLE, SVSM_BASE, SVSM_MAX_SIZE, emulator_high, guest_high, guest_low,
    qemu_memory,
};
use snp_defs::rmp::RmpSize;

use crate::host::heap::HIGH;
use crate::host::physical;

/// What lands in memory whose contents are undefined: no two's complement, no pointer, no zero.
const SCRAMBLED: u64 = 0xDEC0_DED0_BADC_0FFE;

/// The backings of guest memory.
pub(crate) struct GuestMemory {
    low_end: u64,
    high_end: u64,
    private_low: u64,
    private_high: u64,
    private_svsm: u64,
    shared_svsm: u64,
}

/// A view of guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// C-bit clear.
    Shared,
    /// C-bit set.
    Private,
}

impl View {
    /// The view of an access with this C-bit.
    pub(crate) const fn of(c_bit: bool) -> Self {
        if c_bit { Self::Private } else { Self::Shared }
    }
}

impl GuestMemory {
    /// Lays out the backings for `memory` bytes of guest memory, and gives what is left of QEMU's
    /// memory to [`HIGH`]. `Err`: what QEMU's `-m` should be, in bytes.
    pub(crate) fn new(memory: u64) -> Result<Self, u64> {
        let private_low = emulator_high(memory);
        let private_high = private_low + guest_low(memory);
        let private_svsm =
            (private_high + guest_high(memory)).next_multiple_of(RmpSize::Size2M.bytes());
        let shared_svsm = private_svsm + SVSM_MAX_SIZE;
        let tables = shared_svsm + SVSM_MAX_SIZE;
        let end = GUEST_HIGH + qemu_memory(memory) - emulator_defs::layout::EMULATOR_END;
        // Where no memory is, a write is lost.
        let probe = physical::word(end - 8);
        for value in [SCRAMBLED, 0] {
            probe.store(value, core::sync::atomic::Ordering::SeqCst);
            if probe.load(core::sync::atomic::Ordering::SeqCst) != value {
                return Err(qemu_memory(memory));
            }
        }
        HIGH.set_range(tables..end);
        Ok(Self {
            low_end: guest_low(memory),
            high_end: GUEST_HIGH + guest_high(memory),
            private_low,
            private_high,
            private_svsm,
            shared_svsm,
        })
    }

    /// The pieces of guest memory, in order of their addresses.
    pub(crate) fn pieces(&self) -> [Range<u64>; 4] {
        [
            0..ISA_HOLE.start,
            ISA_HOLE.end..self.low_end,
            GUEST_HIGH..self.high_end,
            SVSM_BASE..SVSM_BASE + SVSM_MAX_SIZE,
        ]
    }

    /// The RMP over all of it, in the initial state.
    pub(crate) fn reverse_map(&self, largest: RmpSize) -> Rmp<'static> {
        let regions = self
            .pieces()
            .into_iter()
            .filter(|piece| !piece.is_empty())
            .map(|piece| Region {
                base: piece.start,
                words: words(((piece.end - piece.start) / 4096) as usize),
            })
            .collect::<alloc::vec::Vec<_>>();
        Rmp::new(Box::leak(regions.into_boxed_slice()), largest)
    }

    /// Host-physical address of `gpa` in `view`; none where there is no guest memory. The whole 2M
    /// page around it is backed contiguously as far as it is guest memory.
    pub(crate) fn host(&self, gpa: u64, view: View) -> Option<u64> {
        let in_low = gpa < self.low_end && !ISA_HOLE.contains(&gpa);
        let in_high = (GUEST_HIGH..self.high_end).contains(&gpa);
        let in_svsm = (SVSM_BASE..SVSM_BASE + SVSM_MAX_SIZE).contains(&gpa);
        Some(match view {
            View::Shared if in_low || in_high => gpa,
            View::Private if in_low => self.private_low + gpa,
            View::Private if in_high => self.private_high + (gpa - GUEST_HIGH),
            View::Shared if in_svsm => self.shared_svsm + (gpa - SVSM_BASE),
            View::Private if in_svsm => self.private_svsm + (gpa - SVSM_BASE),
            _ => return None,
        })
    }

    /// Makes the contents of a page, whole and in guest memory, undefined.
    pub(crate) fn scramble(&self, gpa: u64, size: RmpSize, view: View) {
        if let Some(address) = self.host(gpa, view) {
            physical::fill(address, size.bytes() as usize, SCRAMBLED);
        }
    }

}

/// Fresh words in [`HIGH`], all zero.
fn words(count: usize) -> &'static [AtomicU64] {
    let address = HIGH.allocate(8 * count as u64, 4096);
    physical::words(address, count)
}
