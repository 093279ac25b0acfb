// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where guest memory lies in host memory: two backings for each page, one for the shared view and
//! one for the private view ([`emulator_defs::layout`] has the map).

use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use alloc::boxed::Box;
use alloc::vec::Vec;
use emulator::snp::rmp::{Leaf, Region, Rmp};
use emulator_defs::layout::{
    GUEST_HIGH, ISA_HOLE, SVSM_BASE, SVSM_MAX_SIZE, emulator_high, guest_high, guest_low,
    qemu_memory,
};
use snp_defs::launch::KVM_VMSA_GPA;
use snp_defs::rmp::RmpSize;
use spin::Mutex;

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
    /// The VMSA page that KVM keeps for itself.
    host_vmsa: u64,
    moved: Moved,
}

/// Pages whose private backing a hostile host put elsewhere. An honest one leaves them where they are.
struct Moved {
    any: AtomicBool,
    /// Guest-physical and host-physical address.
    pages: Mutex<Vec<(u64, u64)>>,
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
            host_vmsa: HIGH.allocate(4096, 4096),
            moved: Moved {
                any: AtomicBool::new(false),
                pages: Mutex::new(Vec::new()),
            },
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

    /// Whether the page at `gpa` is one that the host keeps for itself: KVM's VMSA has an entry in
    /// the RMP and is measured under this address, but no nested table leads there.
    pub(crate) const fn is_hosts_own(gpa: u64) -> bool {
        gpa & !0xFFF == KVM_VMSA_GPA
    }

    /// The RMP over all of it, in the initial state.
    pub(crate) fn reverse_map(&self, largest: RmpSize) -> Rmp<'static> {
        let regions = self
            .pieces()
            .into_iter()
            .chain(core::iter::once(KVM_VMSA_GPA..KVM_VMSA_GPA + 4096))
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
        if self.moved.any.load(Ordering::Relaxed)
            && view == View::Private
            && let Some(host) = self.moved_to(gpa)
        {
            return Some(host);
        }
        let in_low = gpa < self.low_end && !ISA_HOLE.contains(&gpa);
        let in_high = (GUEST_HIGH..self.high_end).contains(&gpa);
        let in_svsm = (SVSM_BASE..SVSM_BASE + SVSM_MAX_SIZE).contains(&gpa);
        Some(match view {
            View::Shared if in_low || in_high => gpa,
            View::Private if in_low => self.private_low + gpa,
            View::Private if in_high => self.private_high + (gpa - GUEST_HIGH),
            View::Shared if in_svsm => self.shared_svsm + (gpa - SVSM_BASE),
            View::Private if in_svsm => self.private_svsm + (gpa - SVSM_BASE),
            View::Private if Self::is_hosts_own(gpa) => self.host_vmsa + (gpa - KVM_VMSA_GPA),
            _ => return None,
        })
    }

    /// Where a page is that is not in its place.
    fn moved_to(&self, gpa: u64) -> Option<u64> {
        let pages = self.moved.pages.lock();
        let (_, host) = pages.iter().find(|(page, _)| *page == gpa & !0xFFF)?;
        Some(host + (gpa & 0xFFF))
    }

    /// Backs the private page at `gpa` with the host page at `host` from now on.
    pub(crate) fn move_page(&self, gpa: u64, host: u64) {
        let mut pages = self.moved.pages.lock();
        match pages.iter_mut().find(|(page, _)| *page == gpa) {
            Some((_, place)) => *place = host,
            None => pages.push((gpa, host)),
        }
        self.moved.any.store(true, Ordering::Relaxed);
    }

    /// The leaf, or the 4K of it around `gpa` where the page is not backed as one piece.
    pub(crate) fn contiguous(&self, leaf: Leaf, gpa: u64) -> Leaf {
        let range = leaf.gpa..leaf.gpa + leaf.size.bytes();
        if !self.moved.any.load(Ordering::Relaxed)
            || !leaf.private
            || !self
                .moved
                .pages
                .lock()
                .iter()
                .any(|(page, _)| range.contains(page))
        {
            return leaf;
        }
        Leaf {
            gpa: gpa & !0xFFF,
            size: RmpSize::Size4K,
            ..leaf
        }
    }

    /// Makes the contents of a page, whole and in guest memory, undefined.
    pub(crate) fn scramble(&self, gpa: u64, size: RmpSize, view: View) {
        // In one piece, unless pages of it lie elsewhere.
        let piece = if self.moved.any.load(Ordering::Relaxed) {
            RmpSize::Size4K
        } else {
            size
        };
        for part in (gpa..gpa + size.bytes()).step_by(piece.bytes() as usize) {
            if let Some(address) = self.host(part, view) {
                physical::fill(address, piece.bytes() as usize, SCRAMBLED);
            }
        }
    }
}

/// Fresh words in [`HIGH`], all zero.
fn words(count: usize) -> &'static [AtomicU64] {
    let address = HIGH.allocate(8 * count as u64, 4096);
    physical::words(address, count)
}
