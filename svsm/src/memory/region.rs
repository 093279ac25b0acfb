// SPDX-License-Identifier: MIT OR Apache-2.0
//! The SVSM's own region, as the measured launch page lays it out.
//!
//! # Soundness
//! `start::layout` has checked that the parts lie in the region; that they do not overlap is the word of the
//! image builder, which is measured. Each part is turned into what it is for once, by the boot CPU.

use super::tables::{Table, Tables, Unmapped};
use super::{Frame, PAGE, Pool};
use core::arch::asm;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;
use svsm_launch::{LaunchInfo, REGION_VA, Range, per_cpu};

unsafe extern "C" {
    // Of the linker script: what is written only before the guest starts.
    static __ro_after_init_start: u8;
    static __ro_after_init_end: u8;
}

/// The region.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Region {
    launch: &'static LaunchInfo,
}

impl Region {
    /// The region of `launch`.
    ///
    /// # Safety
    /// `launch` is the measured launch page, it was checked, and this is called once.
    pub(crate) const unsafe fn new(launch: &'static LaunchInfo) -> Self {
        Self { launch }
    }

    /// Virtual address of a guest-physical address in the region.
    fn address(&self, gpa: u64) -> usize {
        (REGION_VA + (gpa - self.launch.region.base)) as usize
    }

    fn pointer<T>(&self, gpa: u64) -> *mut T {
        core::ptr::with_exposed_provenance_mut(self.address(gpa))
    }

    /// Storage of the page tracker.
    pub(crate) fn tracker_storage(&self) -> &'static [AtomicU64] {
        let range = self.launch.tracker;
        // SAFETY: the pages are mapped writable and zeroed, for this use only.
        unsafe { core::slice::from_raw_parts(self.pointer(range.base), (range.size / 8) as usize) }
    }

    /// What the host wrote into its memory map before the start. It can't write there any more.
    pub(crate) fn host_memory_map(&self) -> &'static [u8] {
        let range = self.launch.host_memory_map;
        // SAFETY: the pages are mapped, and private since the launch; nobody writes them.
        unsafe { core::slice::from_raw_parts(self.pointer(range.base), range.size as usize) }
    }

    /// Gives the heap's pages to the pool.
    pub(crate) fn fill_pool(&self, pool: &Pool) {
        let range = self.launch.heap;
        for gpa in pages(range) {
            if let Some((frame, page)) = Frame::new(gpa).zip(NonNull::new(self.pointer(gpa))) {
                // SAFETY: the page is mapped writable, and the pool is its only user.
                unsafe { pool.add_own(frame, page) };
            }
        }
    }

    /// Reads a byte of every page that the SVSM relies on. A page that the host took away, or never
    /// gave, ends the machine here.
    pub(crate) fn touch(&self) {
        let launch = self.launch;
        let touch = |gpa: u64| {
            // SAFETY: the page is mapped; what is read is not used.
            unsafe { self.pointer::<u8>(gpa).read_volatile() };
        };
        for range in [
            launch.image,
            launch.page_tables,
            launch.tracker,
            launch.heap,
            launch.host_memory_map,
            Range {
                base: launch.cpuid_page,
                size: PAGE as u64,
            },
            Range {
                base: launch.secrets_page,
                size: PAGE as u64,
            },
        ] {
            pages(range).for_each(touch);
        }
        let parts = [
            (per_cpu::STACK, per_cpu::STACK_SIZE),
            (
                per_cpu::DOUBLE_FAULT_STACK,
                per_cpu::DOUBLE_FAULT_STACK_SIZE,
            ),
            (per_cpu::EVENT_STACK, per_cpu::EVENT_STACK_SIZE),
            (per_cpu::DATA, per_cpu::DATA_SIZE),
            (per_cpu::STATE, PAGE as u64),
        ];
        for cpu in 0..u64::from(launch.vcpus) {
            let block = launch.per_cpu.base + cpu * per_cpu::SIZE;
            for (offset, size) in parts {
                pages(Range {
                    base: block + offset,
                    size,
                })
                .for_each(touch);
            }
        }
    }

    /// Takes the right to write from all that does not change any more, the page tables last, so that
    /// nothing gets it back. Before another CPU runs.
    pub(crate) fn seal(&self) -> Result<(), Unmapped> {
        let range = self.launch.page_tables;
        let tables = Tables::new(range.base, |gpa| {
            let inside = (range.base..range.base + range.size).contains(&gpa);
            // SAFETY: the page is one of the tables, which nobody else knows as an object.
            inside.then(|| unsafe { &*self.pointer::<Table>(gpa) })
        });
        let (start, end) = (
            &raw const __ro_after_init_start,
            &raw const __ro_after_init_end,
        );
        tables.make_read_only(start.addr() as u64, end.addr() as u64)?;
        let own = self.address(range.base) as u64;
        tables.make_read_only(own, own + range.size)?;
        // SAFETY: reloading the same tables forgets old translations. None of the entries is global.
        unsafe {
            asm!("mov {x}, cr3", "mov cr3, {x}", x = out(reg) _, options(nostack, preserves_flags));
        }
        Ok(())
    }
}

fn pages(range: Range) -> impl Iterator<Item = u64> {
    (range.base..range.base + range.size).step_by(PAGE)
}
