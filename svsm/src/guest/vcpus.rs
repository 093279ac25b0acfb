// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's vCPUs: which pages hold one, on which CPU each runs, where its calling area is.
//!
//! # Who owns what
//! An entry of the table is a word that says what it is used for, and its other fields belong to
//! whoever moved that word:
//!
//! ```text
//!   Free --reserve--> Making --publish--> Idle --claim--> Serving --drop--> Idle
//!     ^                 |                  |
//!     +------drop-------+                  +--begin_delete--> Deleting --finish--> Free
//!     +-------------------------------------------------------------------------+
//! ```
//! * Idle: nobody's. The guest runs it, or waits.
//! * Serving: its CPU reads and writes the state page and the calling area's address. It can't be
//!   deleted now, and so the page can't go back to the guest while the SVSM writes registers into it.
//! * Making, Deleting: the CPU that creates or deletes it, under the lock of the table.
//!
//! A CPU finds its vCPU through `current`, without a lock. A guest that wants another state on a CPU (Linux
//! does, when it brings a CPU back) creates the new one, starts it and then deletes the old one: of those that
//! are there the one that was created last is current.
#![forbid(unsafe_code)]

use super::VcpuState;
use super::state::StateCell;
use crate::cpu::Lock;
use crate::memory::{Frame, Page};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use svsm_launch::MAX_VCPUS;

const CPUS: usize = MAX_VCPUS as usize;
/// The most vCPUs at a time: two for each CPU.
const ENTRIES: usize = 2 * CPUS;

/// What an entry is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
enum Use {
    Free = 0,
    Making = 1,
    Idle = 2,
    Serving = 3,
    Deleting = 4,
}

impl Use {
    /// The word of an entry that is used so, for CPU `cpu`. The CPU is part of it so that a CPU which is late
    /// can't claim an entry that was given to another one meanwhile.
    const fn word(self, cpu: usize) -> u64 {
        self as u64 | (cpu as u64) << 8
    }

    /// The use in a word.
    const fn of(word: u64) -> Self {
        match word & 0xFF {
            0 => Self::Free,
            1 => Self::Making,
            2 => Self::Idle,
            3 => Self::Serving,
            _ => Self::Deleting,
        }
    }
}

#[derive(Debug)]
struct Entry {
    word: AtomicU64,
    state: StateCell,
    /// Which one since the start it is that was published here.
    number: AtomicU64,
    calling_area: AtomicU64,
}

impl Entry {
    const fn free() -> Self {
        Self {
            word: AtomicU64::new(Use::Free.word(0)),
            state: StateCell::empty(),
            number: AtomicU64::new(0),
            calling_area: AtomicU64::new(0),
        }
    }

    fn is_free(&self) -> bool {
        self.word.load(Ordering::Acquire) == Use::Free.word(0)
    }

    fn cpu(&self) -> usize {
        (self.word.load(Ordering::Relaxed) >> 8) as usize
    }

    /// Whether it was published.
    fn is_vcpu(&self) -> bool {
        let word = self.word.load(Ordering::Acquire);
        ![Use::Free, Use::Making].contains(&Use::of(word))
    }

    fn calling_area(&self) -> u64 {
        self.calling_area.load(Ordering::Relaxed)
    }

    fn exchange(&self, from: u64, to: u64) -> bool {
        self.word
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }
}

/// Why a vCPU can't be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddError {
    /// The table has no place.
    Full,
    /// A page is a calling area already.
    InUse,
}

/// Why a vCPU can't be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteError {
    /// No vCPU that the guest made has its state there.
    Unknown,
    /// It is the caller, or in the middle of a call.
    InUse,
}

/// The table.
#[derive(Debug)]
pub struct Vcpus {
    entries: [Entry; ENTRIES],
    /// For each CPU the number of its entry plus 1, or 0.
    current: [AtomicUsize; CPUS],
    /// Held where more than one entry matters; how many vCPUs were published so far.
    change: Lock<u64>,
}

/// Number of the entry of the first vCPU, the one that the SVSM made.
const BOOT: usize = 0;

impl Default for Vcpus {
    fn default() -> Self {
        Self::new()
    }
}

impl Vcpus {
    /// An empty table.
    pub const fn new() -> Self {
        Self {
            entries: [const { Entry::free() }; ENTRIES],
            current: [const { AtomicUsize::new(0) }; CPUS],
            change: Lock::new(0),
        }
    }

    /// Sets a place aside for a vCPU on CPU `cpu`, with its state and its calling area in these pages. Neither may be a
    /// calling area of another vCPU (58019, 6.3); but the vCPU that this one replaces on its CPU leaves it
    /// its calling area: Linux creates the new one before it deletes the old one.
    pub fn reserve(
        &self,
        state: Frame,
        calling_area: Frame,
        cpu: usize,
    ) -> Result<Reservation<'_>, AddError> {
        let _change = self.change.lock();
        if self.is_calling_area(state.into()) || self.is_calling_area_elsewhere(calling_area, cpu) {
            return Err(AddError::InUse);
        }
        let index = self
            .entries
            .iter()
            .position(Entry::is_free)
            .ok_or(AddError::Full)?;
        let entry = &self.entries[index];
        entry
            .calling_area
            .store(calling_area.gpa(), Ordering::Relaxed);
        entry.word.store(Use::Making.word(cpu), Ordering::Release);
        Ok(Reservation {
            table: self,
            index,
            cpu,
        })
    }

    /// Whether some of `page` is a calling area.
    pub fn is_calling_area(&self, page: Page) -> bool {
        let mut used = self.entries.iter().filter(|entry| !entry.is_free());
        used.any(|entry| (page.gpa()..page.end()).contains(&entry.calling_area()))
    }

    /// Whether `frame` is a calling area of a vCPU on another CPU than `cpu`.
    fn is_calling_area_elsewhere(&self, frame: Frame, cpu: usize) -> bool {
        let mut used = self.entries.iter().filter(|entry| !entry.is_free());
        used.any(|entry| entry.calling_area() == frame.gpa() && entry.cpu() != cpu)
    }

    /// The vCPU of CPU `cpu`, for as long as its exit is served.
    pub fn claim(&self, cpu: usize) -> Option<Lease<'_>> {
        let index = self
            .current
            .get(cpu)?
            .load(Ordering::Acquire)
            .checked_sub(1)?;
        let entry = self.entries.get(index)?;
        if !entry.exchange(Use::Idle.word(cpu), Use::Serving.word(cpu)) {
            return None;
        }
        let Some(state) = entry.state.load() else {
            entry.word.store(Use::Idle.word(cpu), Ordering::Release);
            return None;
        };
        Some(Lease {
            table: self,
            index,
            cpu,
            state,
        })
    }

    /// Starts to delete the vCPU whose state is at `frame`. The first vCPU is not the guest's to delete.
    pub fn begin_delete(&self, frame: Frame) -> Result<Deletion<'_>, DeleteError> {
        let _change = self.change.lock();
        let found = self
            .entries
            .iter()
            .enumerate()
            .skip(BOOT + 1)
            .filter(|(_, entry)| entry.is_vcpu())
            .filter_map(|(index, entry)| Some((index, entry, entry.state.load()?)))
            .find(|(_, _, state)| state.frame() == frame);
        let (index, entry, state) = found.ok_or(DeleteError::Unknown)?;
        let cpu = entry.cpu();
        // The caller's own state is being served, so it is refused here as well.
        if !entry.exchange(Use::Idle.word(cpu), Use::Deleting.word(cpu)) {
            return Err(DeleteError::InUse);
        }
        Ok(Deletion {
            table: self,
            index,
            cpu,
            state,
        })
    }

    /// The entry of the vCPU that was published last on CPU `cpu`. Under the lock.
    fn newest(&self, cpu: usize) -> Option<usize> {
        let here = self.entries.iter().enumerate();
        here.filter(|(_, entry)| entry.is_vcpu() && entry.cpu() == cpu)
            .max_by_key(|(_, entry)| entry.number.load(Ordering::Relaxed))
            .map(|(index, _)| index)
    }

    /// Where the first vCPU has its calling area: there the guest looks for news that concern no
    /// vCPU in particular.
    pub fn boot_calling_area(&self) -> Option<u64> {
        let boot = &self.entries[BOOT];
        (!boot.is_free()).then(|| boot.calling_area())
    }
}

/// A place in the table for a vCPU that is being made. Dropped, it is free again.
#[derive(Debug)]
pub struct Reservation<'a> {
    table: &'a Vcpus,
    index: usize,
    cpu: usize,
}

impl Reservation<'_> {
    /// From now on `state` is its CPU's vCPU.
    pub fn publish(self, state: VcpuState) {
        let this = core::mem::ManuallyDrop::new(self);
        let mut published = this.table.change.lock();
        *published += 1;
        let entry = &this.table.entries[this.index];
        entry.number.store(*published, Ordering::Relaxed);
        entry.state.store(state);
        entry
            .word
            .store(Use::Idle.word(this.cpu), Ordering::Release);
        if let Some(current) = this.table.current.get(this.cpu) {
            current.store(this.index + 1, Ordering::Release);
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.table.entries[self.index]
            .word
            .store(Use::Free.word(0), Ordering::Release);
    }
}

/// A vCPU that its CPU serves. Dropped, it may be deleted.
#[derive(Debug)]
pub struct Lease<'a> {
    table: &'a Vcpus,
    index: usize,
    cpu: usize,
    state: VcpuState,
}

impl Lease<'_> {
    /// Its state.
    pub fn state(&self) -> VcpuState {
        self.state
    }

    /// Guest-physical address of its calling area.
    pub fn calling_area(&self) -> u64 {
        self.table.entries[self.index].calling_area()
    }

    /// Moves its calling area; `false` where another vCPU has that page.
    pub fn move_calling_area(&self, frame: Frame) -> bool {
        let _change = self.table.change.lock();
        let free = frame.gpa() == self.calling_area() || !self.table.is_calling_area(frame.into());
        if free {
            let entry = &self.table.entries[self.index];
            entry.calling_area.store(frame.gpa(), Ordering::Relaxed);
        }
        free
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let word = Use::Idle.word(self.cpu);
        self.table.entries[self.index]
            .word
            .store(word, Ordering::Release);
    }
}

/// A vCPU that is being deleted. Dropped, it stays.
#[derive(Debug)]
pub struct Deletion<'a> {
    table: &'a Vcpus,
    index: usize,
    cpu: usize,
    state: VcpuState,
}

impl Deletion<'_> {
    /// Its state.
    pub fn state(&self) -> VcpuState {
        self.state
    }

    /// The entry is free. If this was its CPU's current vCPU, the one before it is that again.
    pub fn finish(self) {
        let this = core::mem::ManuallyDrop::new(self);
        let _change = this.table.change.lock();
        this.table.entries[this.index]
            .word
            .store(Use::Free.word(0), Ordering::Release);
        if let Some(current) = this.table.current.get(this.cpu) {
            let next = this.table.newest(this.cpu).map_or(0, |index| index + 1);
            // A newer one stays current.
            let _ =
                current.compare_exchange(this.index + 1, next, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

impl Drop for Deletion<'_> {
    fn drop(&mut self) {
        let word = Use::Idle.word(self.cpu);
        self.table.entries[self.index]
            .word
            .store(word, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u64) -> Frame {
        Frame::new(number * 4096).unwrap()
    }

    fn state(number: u64) -> VcpuState {
        VcpuState::unseen(frame(number))
    }

    fn add(table: &Vcpus, number: u64, cpu: usize) {
        table
            .reserve(frame(number), frame(number + 1000), cpu)
            .unwrap()
            .publish(state(number));
    }

    #[test]
    fn the_newest_is_current_and_the_old_one_can_go() {
        let table = Vcpus::new();
        add(&table, 1, 0);
        add(&table, 2, 1);
        assert!(table.claim(2).is_none());
        assert_eq!(table.claim(1).unwrap().state(), state(2));
        add(&table, 3, 1);
        assert_eq!(table.claim(1).unwrap().state(), state(3));
        table.begin_delete(frame(2)).unwrap().finish();
        assert_eq!(table.claim(1).unwrap().state(), state(3));
        table.begin_delete(frame(3)).unwrap().finish();
        assert!(table.claim(1).is_none());
        assert_eq!(
            table.begin_delete(frame(3)).err(),
            Some(DeleteError::Unknown)
        );
    }

    /// A guest that made a second vCPU and thinks better of it.
    #[test]
    fn without_the_newest_the_one_before_is_current() {
        let table = Vcpus::new();
        add(&table, 1, 0);
        for (number, cpu) in [(2, 1), (3, 1), (4, 2), (5, 1)] {
            add(&table, number, cpu);
        }
        let current = |cpu| table.claim(cpu).map(|vcpu| vcpu.state());
        // An entry that was free in between is not older for it.
        table.begin_delete(frame(2)).unwrap().finish();
        add(&table, 6, 1);
        assert_eq!(current(1), Some(state(6)));
        let delete = |number| table.begin_delete(frame(number)).unwrap().finish();
        delete(6);
        assert_eq!(current(1), Some(state(5)));
        delete(5);
        assert_eq!(current(1), Some(state(3)));
        delete(3);
        assert_eq!((current(1), current(2)), (None, Some(state(4))));
        // The first one, which the guest can't delete, is what is left of CPU 0.
        add(&table, 7, 0);
        assert_eq!(current(0), Some(state(7)));
        delete(7);
        assert_eq!(current(0), Some(state(1)));
    }

    #[test]
    fn what_is_being_made_is_not_there_yet() {
        let table = Vcpus::new();
        add(&table, 1, 0);
        let place = table.reserve(frame(2), frame(1002), 1).unwrap();
        let unknown = Some(DeleteError::Unknown);
        assert_eq!(table.begin_delete(frame(2)).err(), unknown);
        assert!(table.claim(1).is_none());
        place.publish(state(2));
        table.begin_delete(frame(2)).unwrap().finish();
    }

    #[test]
    fn a_new_vcpu_takes_over_the_calling_area_of_its_cpu() {
        let table = Vcpus::new();
        add(&table, 1, 0);
        add(&table, 2, 1);
        let same = table.reserve(frame(3), frame(1002), 1).unwrap();
        same.publish(state(3));
        table.begin_delete(frame(2)).unwrap().finish();
        assert_eq!(table.claim(1).unwrap().calling_area(), 1002 * 4096);
        let other_cpu = table.reserve(frame(4), frame(1002), 2).err();
        assert_eq!(other_cpu, Some(AddError::InUse));
    }

    #[test]
    fn what_is_served_stays() {
        let table = Vcpus::new();
        add(&table, 1, 0);
        add(&table, 2, 1);
        let lease = table.claim(1).unwrap();
        assert!(table.claim(1).is_none());
        assert_eq!(table.begin_delete(frame(2)).err(), Some(DeleteError::InUse));
        drop(lease);
        // A deletion that is given up leaves all as it was.
        let deletion = table.begin_delete(frame(2)).unwrap();
        assert!(table.claim(1).is_none());
        assert_eq!(table.begin_delete(frame(2)).err(), Some(DeleteError::InUse));
        drop(deletion);
        assert!(table.claim(1).is_some());
        // The first one is the SVSM's.
        assert_eq!(
            table.begin_delete(frame(1)).err(),
            Some(DeleteError::Unknown)
        );
    }

    #[test]
    fn calling_areas_are_not_shared() {
        let table = Vcpus::new();
        add(&table, 1, 0);
        assert_eq!(table.boot_calling_area(), Some(1001 * 4096));
        let taken = table.reserve(frame(2), frame(1001), 1).err();
        assert_eq!(taken, Some(AddError::InUse));
        assert_eq!(
            table.reserve(frame(1001), frame(1002), 1).err(),
            Some(AddError::InUse)
        );
        // Given up, its page is free again.
        drop(table.reserve(frame(2), frame(1002), 1).unwrap());
        add(&table, 2, 1);
        let lease = table.claim(1).unwrap();
        assert!(!lease.move_calling_area(frame(1001)));
        assert!(lease.move_calling_area(frame(1002)));
        assert!(lease.move_calling_area(frame(1003)));
        assert_eq!(lease.calling_area(), 1003 * 4096);
        assert!(!table.is_calling_area(frame(1002).into()));
    }

    #[test]
    fn the_table_has_an_end() {
        let table = Vcpus::new();
        for number in 0..ENTRIES as u64 {
            add(&table, number + 1, (number % CPUS as u64) as usize);
        }
        let full = table.reserve(frame(500), frame(2000), 0).err();
        assert_eq!(full, Some(AddError::Full));
        // Late: the entry was freed and is another CPU's now.
        let current = table.current[3].load(Ordering::Relaxed);
        table.begin_delete(frame(4 + CPUS as u64)).unwrap().finish();
        table.current[3].store(current, Ordering::Relaxed);
        add(&table, 600, 5);
        assert!(table.claim(3).is_none());
        assert_eq!(table.claim(5).unwrap().state(), state(600));
    }
}
