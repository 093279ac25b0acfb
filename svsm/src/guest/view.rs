// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies from and to the memory that a guest names in a call.
//!
//! An address in a call is an allegation. It becomes memory only here, page by page, if the tracker
//! says that the page is the guest's *now*. The attack that a look beforehand does not stop, by a guest with two
//! vCPUs:
//! 1. vCPU A makes a call whose result goes to page P. The SVSM looks: P is the guest's.
//! 2. vCPU B deposits P, or makes it a vCPU's state. P is the SVSM's, with data of its own, or
//!    registers that were just checked.
//! 3. On A the SVSM writes the result, whose bytes the guest chose: into its own data, or
//!    into the field that says how privileged the new vCPU is. Or it reads, and tells.
//!
//! So a CPU marks the page before it looks, and takes the mark away after the copy; and whoever takes a
//! page from the guest makes it busy first and looks at the marks of all CPUs then ([`Marks::any`]).
//! One of the two sees the other, whoever comes first, and nobody waits.
//!
//! # Soundness
//! A copy touches a page only between mark and unmark, and only if the tracker said "valid" in between: nothing of
//! Rust's lies in such a page, and whoever wants to put something there sees the mark. A CPU has one view at
//! a time, so that no other one takes the mark away.

use crate::memory::{Fault, Frame, GuestMemory, PAGE, Page, State, Tracker};
use core::sync::atomic::{AtomicU64, Ordering};
use svsm_launch::MAX_VCPUS;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What one CPU copies at this moment: the page's address plus 1; or [`VIEWING`], or 0. Alone in its cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Mark(AtomicU64);

/// The CPU has a view, and copies nothing.
const VIEWING: u64 = 2;

/// The marks of all CPUs.
#[derive(Debug)]
pub struct Marks {
    marks: [Mark; MAX_VCPUS as usize],
}

impl Default for Marks {
    fn default() -> Self {
        Self::new()
    }
}

impl Marks {
    /// No marks.
    pub const fn new() -> Self {
        Self {
            marks: [const { Mark(AtomicU64::new(0)) }; MAX_VCPUS as usize],
        }
    }

    /// Whether a CPU copies from or to some of `page`. The tracker must say "busy" before.
    pub fn any(&self, page: Page) -> bool {
        self.marks.iter().any(|mark| {
            let gpa = mark.0.load(Ordering::SeqCst);
            gpa & 1 != 0 && (page.gpa()..page.end()).contains(&(gpa & !1))
        })
    }
}

/// The guest's memory as one CPU may use it in a call.
#[derive(Debug)]
pub struct View<'a, M> {
    memory: &'a M,
    tracker: &'a Tracker<'a>,
    mark: &'a Mark,
}

impl<'a, M: GuestMemory> View<'a, M> {
    /// The view of CPU `cpu`; a CPU has one at a time. `None` where it has one, or where there is no such CPU.
    pub fn new(
        memory: &'a M,
        tracker: &'a Tracker<'a>,
        marks: &'a Marks,
        cpu: usize,
    ) -> Option<Self> {
        let mark = marks.marks.get(cpu)?;
        mark.0
            .compare_exchange(0, VIEWING, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        Some(Self {
            memory,
            tracker,
            mark,
        })
    }

    /// Does something with a page while it can't cease to be the guest's.
    fn with<T>(&self, frame: Frame, act: impl FnOnce(&M) -> Result<T, Fault>) -> Result<T, Fault> {
        // A store and a full barrier: no later look at the tracker comes before it.
        self.mark.0.swap(frame.gpa() | 1, Ordering::SeqCst);
        let result = match self.tracker.state(frame) {
            Ok(State::Valid) => act(self.memory),
            _ => Err(Fault),
        };
        self.mark.0.store(VIEWING, Ordering::Release);
        result
    }

    /// Copies from the guest, each byte once.
    pub fn read(&self, gpa: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        let mut at = gpa;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (frame, length) = piece(at, rest.len())?;
            let (part, after) = rest.split_at_mut(length);
            // SAFETY: marked and valid, as `with` sees to.
            self.with(frame, |memory| unsafe { memory.read(at, part) })?;
            at += length as u64;
            rest = after;
        }
        Ok(())
    }

    /// Copies to the guest.
    pub fn write(&self, gpa: u64, bytes: &[u8]) -> Result<(), Fault> {
        let mut at = gpa;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (frame, length) = piece(at, rest.len())?;
            let (part, after) = rest.split_at(length);
            // SAFETY: marked and valid, as `with` sees to.
            self.with(frame, |memory| unsafe { memory.write(at, part) })?;
            at += length as u64;
            rest = after;
        }
        Ok(())
    }

    /// Copies a value from the guest.
    pub fn read_value<T: FromBytes + IntoBytes>(&self, gpa: u64) -> Result<T, Fault> {
        let mut value = T::new_zeroed();
        self.read(gpa, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Copies a value to the guest.
    pub fn write_value<T: IntoBytes + Immutable>(&self, gpa: u64, value: &T) -> Result<(), Fault> {
        self.write(gpa, value.as_bytes())
    }

    /// Swaps a byte, atomically.
    pub fn swap_u8(&self, gpa: u64, value: u8) -> Result<u8, Fault> {
        let (frame, _) = piece(gpa, 1)?;
        // SAFETY: marked and valid, as `with` sees to.
        self.with(frame, |memory| unsafe { memory.swap_u8(gpa, value) })
    }

    /// Fills a page with zeroes.
    pub fn zero(&self, frame: Frame) -> Result<(), Fault> {
        // SAFETY: marked and valid, as `with` sees to.
        self.with(frame, |memory| unsafe { memory.zero(frame.into()) })
    }

    /// Whether a page is the guest's just now. It may not be by the time this returns.
    pub fn is_guests(&self, frame: Frame) -> bool {
        self.tracker.state(frame) == Ok(State::Valid)
    }
}

impl<M> Drop for View<'_, M> {
    fn drop(&mut self) {
        self.mark.0.store(0, Ordering::Release);
    }
}

/// The page that `gpa` lies in, and how many of `length` bytes do.
fn piece(gpa: u64, length: usize) -> Result<(Frame, usize), Fault> {
    let frame = Frame::containing(gpa).ok_or(Fault)?;
    let left = PAGE - (gpa as usize % PAGE);
    Ok((frame, left.min(length)))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::memory::custody::{Taken, bring_in_at_start};
    use crate::testing::{FakeMemory, FakePlatform};
    use core::sync::atomic::AtomicBool;
    use std::thread;
    use std::vec::Vec;
    use svsm_launch::{Range, tracker};

    const MEMORY: [Range; 1] = [Range {
        base: 0x1_0000,
        size: 0x8000,
    }];

    fn with_guest(test: impl FnOnce(&FakePlatform, &Tracker<'_>, &Marks)) {
        let platform = FakePlatform::new(&MEMORY, &[]);
        let storage: Vec<AtomicU64> = (0..tracker::bytes(&MEMORY) / 8)
            .map(|_| AtomicU64::new(0))
            .collect();
        let tracker = Tracker::new(&MEMORY, &storage).unwrap();
        for gpa in (0x1_0000..0x1_8000).step_by(4096) {
            let page = Frame::new(gpa).unwrap().into();
            bring_in_at_start(&platform, &tracker, page, false).unwrap();
            // What was in the page that the host found.
            platform.fake_memory().poke(gpa + 8, &[0; 16]);
        }
        platform.started();
        test(&platform, &tracker, &Marks::new());
    }

    fn with_view(test: impl FnOnce(&FakeMemory, &Tracker<'_>, &Marks)) {
        with_guest(|platform, tracker, marks| test(platform.fake_memory(), tracker, marks));
    }

    #[test]
    fn copies_cross_pages_and_stop_where_the_guests_memory_does() {
        with_view(|memory, tracker, marks| {
            let view = View::new(memory, tracker, marks, 0).unwrap();
            let text: Vec<u8> = (0..9000u32).map(|i| i as u8).collect();
            view.write(0x1_0800, &text).unwrap();
            let mut back = std::vec![0; 9000];
            view.read(0x1_0800, &mut back).unwrap();
            assert_eq!(back, text);
            // Two bytes in one page, two in the next.
            assert_eq!(view.read_value(0x1_0FFE), Ok([0xFEu8, 0xFF, 0x00, 0x01]));
            for (gpa, length) in [
                (0xFFFF, 2),
                (0x1_7FFF, 2),
                (u64::MAX, 2),
                (1 << 51, 1),
                (0, 1),
            ] {
                assert_eq!(view.read(gpa, &mut back[..length]), Err(Fault), "{gpa:#x}");
                assert_eq!(view.write(gpa, &text[..length]), Err(Fault), "{gpa:#x}");
            }
            assert_eq!(view.read(u64::MAX, &mut []), Ok(()));
            assert_eq!(view.swap_u8(0x1_0800, 7), Ok(0));
            assert_eq!(view.swap_u8(0x1_0800, 8), Ok(7));
            assert_eq!(view.swap_u8(0x1_8000, 8), Err(Fault));
            // No CPU is marked when nothing is under way.
            assert!(!marks.any(Frame::new(0x1_0000).unwrap().into()));
            assert!(View::new(memory, tracker, marks, MAX_VCPUS as usize).is_none());
        });
    }

    /// Two views of one CPU would take each other's mark away, and a copy would go on unseen.
    #[test]
    fn a_cpu_has_one_view_at_a_time() {
        with_view(|memory, tracker, marks| {
            let view = View::new(memory, tracker, marks, 0).unwrap();
            assert!(View::new(memory, tracker, marks, 0).is_none());
            // Nor while, or after, it copies.
            view.with(Frame::new(0x1_0000).unwrap(), |memory| {
                assert!(View::new(memory, tracker, marks, 0).is_none());
                Ok(())
            })
            .unwrap();
            assert!(View::new(memory, tracker, marks, 0).is_none());
            assert!(View::new(memory, tracker, marks, 1).is_some());
            drop(view);
            assert!(View::new(memory, tracker, marks, 0).is_some());
        });
    }

    #[test]
    #[cfg_attr(
        miri,
        ignore = "the fake memory zeroes by words what it copies by bytes, which Miri does not follow"
    )]
    fn zeroes_go_where_copies_go() {
        with_view(|memory, tracker, marks| {
            let view = View::new(memory, tracker, marks, 0).unwrap();
            // The last bytes before the page and in it, the first ones in it and behind it.
            for gpa in [0x1_0FFF, 0x1_1FFF] {
                view.write(gpa, &[7; 2]).unwrap();
            }
            view.zero(Frame::new(0x1_1000).unwrap()).unwrap();
            assert_eq!(view.read_value(0x1_0FFF), Ok([7u8, 0]));
            assert_eq!(view.read_value(0x1_1FFF), Ok([0u8, 7]));
            assert_eq!(view.zero(Frame::new(0x2_0000).unwrap()), Err(Fault));
        });
    }

    /// One CPU copies while another takes the page: when the taker has it, no copy is under way.
    #[test]
    fn who_takes_a_page_and_who_copies_see_each_other() {
        let rounds = if cfg!(miri) { 30 } else { 5_000 };
        with_guest(|platform, tracker, marks| {
            let frame = Frame::new(0x1_2000).unwrap();
            let taken = AtomicBool::new(false);
            let stop = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    let memory = platform.fake_memory();
                    let view = View::new(memory, tracker, marks, 3).unwrap();
                    while !stop.load(Ordering::Relaxed) {
                        let _ = view.with(frame, |_| {
                            assert!(
                                !taken.load(Ordering::Relaxed),
                                "a copy from a page that was taken"
                            );
                            Ok(())
                        });
                    }
                });
                for _ in 0..rounds {
                    let Ok(page) = Taken::take(platform, tracker, marks, frame) else {
                        continue;
                    };
                    taken.store(true, Ordering::Relaxed);
                    core::hint::spin_loop();
                    taken.store(false, Ordering::Relaxed);
                    drop(page);
                }
                stop.store(true, Ordering::Relaxed);
            });
        });
    }
}
