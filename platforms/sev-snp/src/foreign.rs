// SPDX-License-Identifier: MIT OR Apache-2.0
//! A page that somebody else may write at any moment: the host (a page shared with it) or the
//! processor on behalf of another CPU (a VMSA).
//!
//! Such a page is never seen as plain memory. It is an array of atomic words: each read is one
//! read, made once and kept as a value, so that nothing can change between its check and its use.

use core::sync::atomic::{AtomicU64, Ordering};

use snp_defs::PAGE_SIZE;

const WORDS: usize = PAGE_SIZE / 8;

/// The page. Offsets are in bytes; fields lie at multiples of their size.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct ForeignPage([AtomicU64; WORDS]);

impl ForeignPage {
    /// A page of zeros.
    pub const fn zeroed() -> Self {
        Self([const { AtomicU64::new(0) }; WORDS])
    }

    /// The word that holds the byte at `offset`, to read it and to change it in one step.
    ///
    /// # Panics
    /// Where `offset` is not in the page; it is a constant in every call.
    #[inline(always)]
    pub fn word(&self, offset: usize) -> &AtomicU64 {
        &self.0[offset / 8]
    }

    /// Reads the eight bytes at `offset`.
    #[inline(always)]
    pub fn read(&self, offset: usize) -> u64 {
        self.word(offset).load(Ordering::Relaxed)
    }

    /// Writes the eight bytes at `offset`.
    #[inline(always)]
    pub fn write(&self, offset: usize, value: u64) {
        self.word(offset).store(value, Ordering::Relaxed);
    }

    /// Copies bytes out, from the word at `offset` on; those that lie beyond the page are left
    /// alone.
    pub fn read_bytes(&self, offset: usize, to: &mut [u8]) {
        for (word, bytes) in self.0.iter().skip(offset / 8).zip(to.chunks_mut(8)) {
            let value = word.load(Ordering::Relaxed).to_le_bytes();
            bytes.copy_from_slice(&value[..bytes.len()]);
        }
    }

    /// Copies bytes in, from the word at `offset` on. A last word that is not full is filled up
    /// with zeros; what does not fit in the page is left out.
    pub fn write_bytes(&self, offset: usize, from: &[u8]) {
        for (word, bytes) in self.0.iter().skip(offset / 8).zip(from.chunks(8)) {
            let mut value = [0; 8];
            value[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(value), Ordering::Relaxed);
        }
    }

    /// Fills the page with zeros.
    pub fn clear(&self) {
        for word in &self.0 {
            word.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back() {
        let page = ForeignPage::zeroed();
        page.write_bytes(0x10, b"hello, world");
        let mut bytes = [0xFF; 13];
        page.read_bytes(0x10, &mut bytes);
        assert_eq!(&bytes, b"hello, world\0");
        assert_eq!(page.read(0x10), u64::from_le_bytes(*b"hello, w"));
    }

    #[test]
    fn a_copy_ends_with_the_page() {
        let page = ForeignPage::zeroed();
        page.write_bytes(0xFF8, &[1; 64]);
        let mut bytes = [7; 64];
        page.read_bytes(0xFF8, &mut bytes);
        assert_eq!(bytes[..8], [1; 8]);
        assert_eq!(bytes[8..], [7; 56]);
    }
}
