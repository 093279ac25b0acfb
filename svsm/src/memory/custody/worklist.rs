// SPDX-License-Identifier: MIT OR Apache-2.0
//! The entries of a list, and the pages of those that wait for a flush, in one buffer: a page that waits
//! takes the place of an entry that was read. So nothing has to be read twice to know which pages wait, and
//! nothing has to be allocated to remember it.
#![forbid(unsafe_code)]

use crate::memory::{Page, PageSize};

/// The buffer. Entries from `read` on are to be read; before `waiting` there are pages.
#[derive(Debug)]
pub(super) struct Worklist<'s> {
    words: &'s mut [u64],
    read: usize,
    waiting: usize,
}

/// There are as many pages as there were entries.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// In the word of a page that waits: it is one of 2M. Addresses of pages have zero there.
const LARGE: u64 = 1;

impl<'s> Worklist<'s> {
    pub(super) const fn new(words: &'s mut [u64]) -> Self {
        Self {
            words,
            read: 0,
            waiting: 0,
        }
    }

    /// The next entry.
    #[inline]
    pub(super) fn next(&mut self) -> Option<u64> {
        let word = *self.words.get(self.read)?;
        self.read += 1;
        Some(word)
    }

    /// Whether [`Worklist::wait`] has room.
    #[inline]
    pub(super) const fn has_room(&self) -> bool {
        self.waiting < self.read
    }

    /// Lets a page wait.
    #[inline]
    pub(super) fn wait(&mut self, page: Page) -> Result<(), Full> {
        if !self.has_room() {
            return Err(Full);
        }
        let large = page.size() == PageSize::Size2M;
        *self.words.get_mut(self.waiting).ok_or(Full)? = page.gpa() | if large { LARGE } else { 0 };
        self.waiting += 1;
        Ok(())
    }

    /// Takes the pages that wait, in order.
    pub(super) fn take_waiting(&mut self) -> impl Iterator<Item = Page> {
        let waiting = core::mem::take(&mut self.waiting);
        self.words.iter().take(waiting).filter_map(|&word| {
            let size = match word & LARGE {
                0 => PageSize::Size4K,
                _ => PageSize::Size2M,
            };
            Page::new(word & !LARGE, size)
        })
    }

    /// Whether no page waits.
    pub(super) const fn is_settled(&self) -> bool {
        self.waiting == 0
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn pages_take_the_place_of_entries_that_were_read() {
        let mut words = [7, 8, 9];
        let mut list = Worklist::new(&mut words);
        let small = Page::new(0x5000, PageSize::Size4K).unwrap();
        let large = Page::new(0x20_0000, PageSize::Size2M).unwrap();
        assert_eq!(list.wait(small), Err(Full));
        assert_eq!(list.next(), Some(7));
        assert_eq!(list.wait(large), Ok(()));
        assert_eq!(list.wait(small), Err(Full));
        assert_eq!(
            (list.next(), list.next(), list.next()),
            (Some(8), Some(9), None)
        );
        assert_eq!(list.wait(small), Ok(()));
        assert!(!list.is_settled());
        assert_eq!(list.take_waiting().collect::<Vec<_>>(), [large, small]);
        assert!(list.is_settled());
        assert_eq!(list.take_waiting().count(), 0);
    }
}
