// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's memory: a piece of the process for each range, and a hook that lets "another vCPU" change what was just
//! read.

use super::std::alloc::{Layout, alloc_zeroed, dealloc};
use super::std::boxed::Box;
use super::std::collections::BTreeSet;
use super::std::sync::Mutex;
use super::std::vec::Vec;
use crate::memory::{Fault, GuestMemory, PAGE, Page};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use svsm_launch::Range;

/// A range and where it is.
struct Piece {
    range: Range,
    start: NonNull<u8>,
}

impl Piece {
    fn layout(&self) -> Layout {
        Layout::from_size_align(self.range.size as usize, PAGE).expect("a page-aligned range")
    }
}

/// What is called after each read, or before each write: the memory, and what is read or written.
type Hook = dyn FnMut(&FakeMemory, u64, usize) + Send;

/// The memory.
pub struct FakeMemory {
    pieces: Vec<Piece>,
    missing: Mutex<BTreeSet<u64>>,
    after_read: Mutex<Option<Box<Hook>>>,
    before_write: Mutex<Option<Box<Hook>>>,
}

// SAFETY: the pieces live as long as this, and are used by atomic accesses only, but for pages that the core
// keeps to itself.
unsafe impl Sync for FakeMemory {}
// SAFETY: nothing here belongs to a thread.
unsafe impl Send for FakeMemory {}

impl core::fmt::Debug for FakeMemory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list()
            .entries(self.pieces.iter().map(|piece| piece.range))
            .finish()
    }
}

impl FakeMemory {
    /// Zeroed memory at `ranges`, which are page-aligned.
    pub fn new(ranges: &[Range]) -> Self {
        let pieces = ranges
            .iter()
            .filter(|range| range.size != 0)
            .map(|&range| {
                let mut piece = Piece {
                    range,
                    start: NonNull::dangling(),
                };
                // SAFETY: the size is not zero.
                let start = unsafe { alloc_zeroed(piece.layout()) };
                start.expose_provenance();
                piece.start = NonNull::new(start).expect("memory");
                piece
            })
            .collect();
        Self {
            pieces,
            missing: Mutex::default(),
            after_read: Mutex::default(),
            before_write: Mutex::default(),
        }
    }

    fn locate(&self, gpa: u64, length: usize) -> Option<NonNull<u8>> {
        let piece = self.pieces.iter().find(|piece| {
            gpa >= piece.range.base
                && gpa
                    .checked_add(length as u64)
                    .is_some_and(|end| end <= piece.range.base + piece.range.size)
        })?;
        // SAFETY: within the piece.
        Some(unsafe { piece.start.add((gpa - piece.range.base) as usize) })
    }

    fn bytes(&self, gpa: u64, length: usize) -> Result<&[AtomicU8], Fault> {
        let missing = self.missing.lock().expect("no test panicked");
        let first = gpa / PAGE as u64;
        let last = (gpa + length.max(1) as u64 - 1) / PAGE as u64;
        if missing.range(first..=last).next().is_some() {
            return Err(Fault);
        }
        let at = self.locate(gpa, length).ok_or(Fault)?;
        // SAFETY: within a piece, which lives as long as `self`; atomics have no invalid values.
        Ok(unsafe { core::slice::from_raw_parts(at.as_ptr().cast(), length) })
    }

    /// The host takes the page at `gpa` away: every access faults.
    pub fn steal(&self, gpa: u64) {
        self.missing
            .lock()
            .expect("no test panicked")
            .insert(gpa / PAGE as u64);
    }

    /// Whether the host took the page.
    pub fn is_stolen(&self, gpa: u64) -> bool {
        self.missing
            .lock()
            .expect("no test panicked")
            .contains(&(gpa / PAGE as u64))
    }

    /// Calls `hook` after each read of the core's.
    pub fn after_read(&self, hook: impl FnMut(&Self, u64, usize) + Send + 'static) {
        *self.after_read.lock().expect("no test panicked") = Some(Box::new(hook));
    }

    /// Calls `hook` before each write of the core's.
    pub fn before_write(&self, hook: impl FnMut(&Self, u64, usize) + Send + 'static) {
        *self.before_write.lock().expect("no test panicked") = Some(Box::new(hook));
    }

    /// No hook any more.
    pub fn clear_hook(&self) {
        *self.after_read.lock().expect("no test panicked") = None;
        *self.before_write.lock().expect("no test panicked") = None;
    }

    /// The guest, or a test, looks at its memory.
    pub fn peek(&self, gpa: u64, bytes: &mut [u8]) {
        let from = self.bytes(gpa, bytes.len()).expect("memory of the guest");
        for (to, from) in bytes.iter_mut().zip(from) {
            *to = from.load(Ordering::Relaxed);
        }
    }

    /// The guest, or a test, changes its memory.
    pub fn poke(&self, gpa: u64, bytes: &[u8]) {
        self.store(gpa, bytes).expect("memory of the guest");
    }

    fn store(&self, gpa: u64, bytes: &[u8]) -> Result<(), Fault> {
        for (from, to) in bytes.iter().zip(self.bytes(gpa, bytes.len())?) {
            to.store(*from, Ordering::Relaxed);
        }
        Ok(())
    }

    fn run_hook(&self, place: &Mutex<Option<Box<Hook>>>, gpa: u64, length: usize) {
        // Out of its place while it runs, so that it may read and write.
        let hook = place.lock().expect("no test panicked").take();
        if let Some(mut hook) = hook {
            hook(self, gpa, length);
            place.lock().expect("no test panicked").get_or_insert(hook);
        }
    }
}

impl Drop for FakeMemory {
    fn drop(&mut self) {
        for piece in &self.pieces {
            // SAFETY: allocated so in `new`.
            unsafe { dealloc(piece.start.as_ptr(), piece.layout()) };
        }
    }
}

impl GuestMemory for FakeMemory {
    unsafe fn read(&self, gpa: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        let from = self.bytes(gpa, bytes.len())?;
        for (to, from) in bytes.iter_mut().zip(from) {
            *to = from.load(Ordering::Relaxed);
        }
        self.run_hook(&self.after_read, gpa, bytes.len());
        Ok(())
    }

    unsafe fn write(&self, gpa: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.run_hook(&self.before_write, gpa, bytes.len());
        self.store(gpa, bytes)
    }

    unsafe fn swap_u8(&self, gpa: u64, value: u8) -> Result<u8, Fault> {
        let old = self.bytes(gpa, 1)?[0].swap(value, Ordering::SeqCst);
        self.run_hook(&self.after_read, gpa, 1);
        Ok(old)
    }

    unsafe fn zero(&self, page: Page) -> Result<(), Fault> {
        let bytes = self.bytes(page.gpa(), page.size().bytes() as usize)?;
        // SAFETY: the same memory as words; pages are aligned.
        let (_, words, _) = unsafe { bytes.align_to::<AtomicU64>() };
        words
            .iter()
            .for_each(|word| word.store(0, Ordering::Relaxed));
        Ok(())
    }

    fn address(&self, gpa: u64) -> usize {
        self.locate(gpa, PAGE).map_or(0, |at| at.as_ptr().addr())
    }
}
