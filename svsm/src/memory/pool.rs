// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pages that the SVSM allocates from: those of its own region, and those that the guest deposited.
//!
//! # Soundness
//! A page is in one place at a time: in a list of the pool, or in a [`PageBox`], or back with
//! the guest. Free pages are linked through their first bytes; only the pool touches them, under its lock.
//! Whoever adds a page says that nobody else has access to it, for as long as it is here.
//!
//! That a page is still there can't be known: a host that takes one ends the machine at the
//! next touch, as with all memory of the SVSM's.

use super::{Frame, PageSize};
use crate::cpu::Lock;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// Bytes of a page.
pub const PAGE: usize = PageSize::Size4K.bytes() as usize;

/// What a free page holds at its start.
struct Free {
    frame: Frame,
    next: Option<NonNull<Free>>,
}

/// A list of free pages.
struct List {
    first: Option<NonNull<Free>>,
    length: usize,
}

// SAFETY: the pages in a list are reachable through it only.
unsafe impl Send for List {}

impl List {
    const EMPTY: Self = Self {
        first: None,
        length: 0,
    };

    /// # Safety
    /// The page is mapped, writable, aligned, and reachable in no other way.
    unsafe fn push(&mut self, frame: Frame, page: NonNull<u8>) {
        let page = page.cast::<Free>();
        // SAFETY: as the caller says.
        unsafe {
            page.write(Free {
                frame,
                next: self.first,
            })
        };
        self.first = Some(page);
        self.length += 1;
    }

    fn pop(&mut self) -> Option<(Frame, NonNull<u8>)> {
        let page = self.first?;
        // SAFETY: a page in the list holds a `Free`, written by `push`.
        let Free { frame, next } = unsafe { page.read() };
        self.first = next;
        self.length -= 1;
        Some((frame, page.cast()))
    }
}

/// The lists: what came from the region and what the guest gave.
struct Lists {
    own: List,
    deposited: List,
}

/// The pool.
pub struct Pool {
    lists: Lock<Lists>,
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("free", &self.free()).finish()
    }
}

/// Whose a page was before it came to the pool, and so to whom it may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Own,
    Deposited,
}

impl Pool {
    /// A pool without pages.
    pub const fn new() -> Self {
        Self {
            lists: Lock::new(Lists {
                own: List::EMPTY,
                deposited: List::EMPTY,
            }),
        }
    }

    /// Adds a page of the SVSM's own region.
    ///
    /// # Safety
    /// `address` is where the page is mapped, readable and writable for good; nobody else uses it.
    pub unsafe fn add_own(&self, frame: Frame, address: NonNull<u8>) {
        // SAFETY: as the caller says.
        unsafe { self.lists.lock().own.push(frame, address) };
    }

    /// Adds a page that the guest deposited.
    ///
    /// # Safety
    /// As for [`Pool::add_own`], until a box with the page is leaked to give it back: the guest has lost access, no CPU
    /// has an old translation, and no copy to or from the page is under way.
    pub unsafe fn add_deposited(&self, frame: Frame, address: NonNull<u8>) {
        // SAFETY: as the caller says.
        unsafe { self.lists.lock().deposited.push(frame, address) };
    }

    /// Takes a page that the guest deposited, zeroed: nothing of the SVSM's leaves with it when it
    /// goes back.
    pub fn take_deposited(&self) -> Option<PageBox<'_>> {
        let page = self.lists.lock().deposited.pop()?;
        Some(self.zeroed(page, Origin::Deposited))
    }

    /// Takes a page, zeroed. Pages of the region go first, so that the guest gets its own back sooner.
    pub fn allocate(&self) -> Option<PageBox<'_>> {
        let (page, origin) = {
            let mut lists = self.lists.lock();
            match lists.own.pop() {
                Some(page) => (page, Origin::Own),
                None => (lists.deposited.pop()?, Origin::Deposited),
            }
        };
        Some(self.zeroed(page, origin))
    }

    /// A page that was popped from a list.
    fn zeroed(&self, (frame, page): (Frame, NonNull<u8>), origin: Origin) -> PageBox<'_> {
        // SAFETY: the page was in a list, so it is mapped and nobody else's.
        unsafe { page.write_bytes(0, PAGE) };
        PageBox {
            pool: self,
            frame,
            page: page.cast(),
            origin,
        }
    }

    /// Number of free pages.
    pub fn free(&self) -> usize {
        let lists = self.lists.lock();
        lists.own.length + lists.deposited.length
    }

    /// Number of free pages that the guest could withdraw.
    pub fn withdrawable(&self) -> usize {
        self.lists.lock().deposited.length
    }
}

/// A page of the SVSM's, which returns to its pool when dropped.
pub struct PageBox<'p> {
    pool: &'p Pool,
    frame: Frame,
    page: NonNull<[u8; PAGE]>,
    origin: Origin,
}

// SAFETY: the box is the only way to its page.
unsafe impl Send for PageBox<'_> {}
// SAFETY: a shared box gives shared access to bytes only.
unsafe impl Sync for PageBox<'_> {}

impl PageBox<'_> {
    /// The page's name.
    pub fn frame(&self) -> Frame {
        self.frame
    }

    /// Keeps the page for good; returns its name and where it is mapped.
    pub fn leak(self) -> (Frame, NonNull<u8>) {
        let page = ManuallyDrop::new(self);
        (page.frame, page.page.cast())
    }
}

impl fmt::Debug for PageBox<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PageBox").field(&self.frame).finish()
    }
}

impl Deref for PageBox<'_> {
    type Target = [u8; PAGE];

    fn deref(&self) -> &[u8; PAGE] {
        // SAFETY: the page is mapped, initialised, and this box is the only way to it.
        unsafe { self.page.as_ref() }
    }
}

impl DerefMut for PageBox<'_> {
    fn deref_mut(&mut self) -> &mut [u8; PAGE] {
        // SAFETY: the page is mapped, initialised, and this box is the only way to it.
        unsafe { self.page.as_mut() }
    }
}

impl Drop for PageBox<'_> {
    fn drop(&mut self) {
        // SAFETY: the page came from this pool, and with the box the only way to it ends.
        unsafe {
            match self.origin {
                Origin::Own => self.pool.add_own(self.frame, self.page.cast()),
                Origin::Deposited => self.pool.add_deposited(self.frame, self.page.cast()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    #[repr(C, align(4096))]
    struct Memory([[u8; PAGE]; 8]);

    /// A pool over `memory`: the first four pages its own, the others to be deposited.
    fn pages(memory: &mut Memory) -> Vec<(Frame, NonNull<u8>)> {
        let base = NonNull::from(&mut memory.0).cast::<u8>();
        (0..8)
            .map(|i| {
                // SAFETY: within the array.
                (Frame::new(i * 4096).unwrap(), unsafe {
                    base.add(i as usize * PAGE)
                })
            })
            .collect()
    }

    /// Takes a page out of the pool, back to the guest.
    fn withdraw(pool: &Pool) -> Option<Frame> {
        pool.take_deposited().map(|page| page.leak().0)
    }

    #[test]
    fn own_pages_go_first_and_never_to_the_guest() {
        let mut memory = Memory([[0xAA; PAGE]; 8]);
        let pages = pages(&mut memory);
        let pool = Pool::new();
        // SAFETY: the pages are this test's and used through the pool only.
        unsafe {
            pool.add_own(pages[0].0, pages[0].1);
            pool.add_deposited(pages[4].0, pages[4].1);
        }
        let first = pool.allocate().unwrap();
        assert_eq!(first.frame(), pages[0].0);
        assert!(first.iter().all(|&byte| byte == 0));
        let mut second = pool.allocate().unwrap();
        second.fill(0x5E);
        assert!(pool.allocate().is_none());
        assert!(pool.take_deposited().is_none());
        drop((first, second));
        assert_eq!((pool.free(), pool.withdrawable()), (2, 1));
        // Taken and not given back, it is where it was.
        drop(pool.take_deposited());
        assert_eq!((pool.free(), pool.withdrawable()), (2, 1));
        assert_eq!(withdraw(&pool), Some(pages[4].0));
        assert_eq!(withdraw(&pool), None);
        assert_eq!(pool.free(), 1);
        // What the SVSM wrote is gone from the page that left.
        assert!(memory.0[4].iter().all(|&byte| byte == 0));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Allocate,
        Free(usize),
        Deposit,
        Withdraw,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Allocate),
            (0usize..8).prop_map(Step::Free),
            Just(Step::Deposit),
            Just(Step::Withdraw),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 2 } else { 256 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// Every page is in one place: free, in use, or with the guest.
        #[test]
        fn pages_are_neither_lost_nor_doubled(steps in prop::collection::vec(step(), 0..64)) {
            let mut memory = Memory([[0; PAGE]; 8]);
            let pages = pages(&mut memory);
            let pool = Pool::new();
            for (frame, page) in &pages[..4] {
                // SAFETY: the pages are this test's and used through the pool only.
                unsafe { pool.add_own(*frame, *page) };
            }
            let mut guest: Vec<Frame> = pages[4..].iter().map(|page| page.0).collect();
            let mut used: Vec<PageBox<'_>> = Vec::new();
            for step in steps {
                match step {
                    Step::Allocate => match pool.allocate() {
                        Some(mut page) => {
                            prop_assert!(page.iter().all(|&byte| byte == 0));
                            page.fill(0xFF);
                            used.push(page);
                        }
                        None => prop_assert_eq!(pool.free(), 0),
                    },
                    Step::Free(index) if index < used.len() => drop(used.swap_remove(index)),
                    Step::Free(_) => {}
                    Step::Deposit => {
                        if let Some(frame) = guest.pop() {
                            let address = pages[(frame.gpa() / 4096) as usize].1;
                            // SAFETY: the page is the guest's, so in no other place.
                            unsafe { pool.add_deposited(frame, address) };
                        }
                    }
                    Step::Withdraw => match withdraw(&pool) {
                        Some(frame) => guest.push(frame),
                        None => prop_assert_eq!(pool.withdrawable(), 0),
                    },
                }
                let in_use: BTreeSet<_> = used.iter().map(PageBox::frame).collect();
                prop_assert_eq!(in_use.len(), used.len());
                prop_assert!(guest.iter().all(|frame| frame.gpa() >= 4 * 4096));
                prop_assert!(guest.iter().all(|frame| !in_use.contains(frame)));
                prop_assert_eq!(pool.free() + used.len() + guest.len(), 8);
            }
        }
    }
}
