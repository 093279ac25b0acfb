// SPDX-License-Identifier: MIT OR Apache-2.0
//! A few pages of the pool's at once, for what does not fit in one.
#![cfg_attr(not(test), forbid(unsafe_code))]

use super::{PAGE, PageBox, Pool};

/// The most pages in [`Pages`].
pub const MAX_PAGES: usize = 16;

/// Some pages, in order.
#[derive(Debug, Default)]
pub struct Pages<'p> {
    pages: [Option<PageBox<'p>>; MAX_PAGES],
}

impl<'p> Pages<'p> {
    /// No page.
    pub const NONE: Self = Self {
        pages: [const { None }; MAX_PAGES],
    };

    /// Takes `count` pages, at most [`MAX_PAGES`]; else says how many more there would have to be.
    pub fn allocate(pool: &'p Pool, count: usize) -> Result<Self, usize> {
        let mut pages = Self::NONE;
        for (index, place) in pages.pages.iter_mut().take(count).enumerate() {
            *place = Some(pool.allocate().ok_or(count - index)?);
        }
        Ok(pages)
    }

    /// Number of pages.
    pub fn len(&self) -> usize {
        self.pages.iter().flatten().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pages.
    pub fn iter(&self) -> impl Iterator<Item = &[u8; PAGE]> {
        self.pages.iter().flatten().map(|page| &**page)
    }

    /// The pages, to be written.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut [u8; PAGE]> {
        self.pages.iter_mut().flatten().map(|page| &mut **page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Frame;
    use core::ptr::NonNull;

    #[repr(C, align(4096))]
    struct Memory([u8; PAGE]);

    #[test]
    fn several_pages_or_how_many_are_missing() {
        let pool = Pool::new();
        let mut memory = [const { Memory([0; PAGE]) }; 3];
        for (index, page) in memory.iter_mut().enumerate() {
            let frame = Frame::new((index * PAGE) as u64).unwrap();
            // SAFETY: the pages are this test's and used through the pool only.
            unsafe { pool.add_own(frame, NonNull::from(page).cast()) };
        }
        let mut two = Pages::allocate(&pool, 2).unwrap();
        assert_eq!((two.len(), two.iter_mut().count(), pool.free()), (2, 2, 1));
        assert_eq!(Pages::allocate(&pool, 3).err(), Some(2));
        // What was taken meanwhile is back.
        assert_eq!(pool.free(), 1);
        drop(two);
        assert_eq!(pool.free(), 3);
        assert!(Pages::allocate(&pool, 0).unwrap().is_empty());
    }
}
