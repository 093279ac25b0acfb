// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sets of vectors: IRR, ISR and TMR.

/// One bit for each of the 256 vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct VectorSet([u32; 8]);

impl VectorSet {
    pub(super) const fn empty() -> Self {
        Self([0; 8])
    }

    pub(super) const fn contains(&self, vector: u8) -> bool {
        self.0[vector as usize / 32] & (1 << (vector % 32)) != 0
    }

    pub(super) const fn insert(&mut self, vector: u8) {
        self.0[vector as usize / 32] |= 1 << (vector % 32);
    }

    pub(super) const fn remove(&mut self, vector: u8) {
        self.0[vector as usize / 32] &= !(1 << (vector % 32));
    }

    pub(super) const fn set(&mut self, vector: u8, member: bool) {
        if member {
            self.insert(vector);
        } else {
            self.remove(vector);
        }
    }

    /// The highest member: the one of highest priority (SDM vol. 3, 11.8.3).
    pub(super) fn highest(&self) -> Option<u8> {
        let word = self.0.iter().rposition(|word| *word != 0)?;
        // Eight words of 32 bits: the sum is at most 255.
        Some((word as u32 * 32 + self.0[word].ilog2()) as u8)
    }

    /// The 32 vectors from `32 * index` on, as the register at that index shows them.
    pub(super) const fn word(&self, index: usize) -> u32 {
        self.0[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_vector_has_the_highest_priority() {
        let mut set = VectorSet::empty();
        assert_eq!(set.highest(), None);
        for vector in [0, 31, 32, 63, 64, 200, 255] {
            set.insert(vector);
            assert_eq!(set.highest(), Some(vector));
        }
        for vector in [255, 200, 64, 63, 32, 31] {
            set.remove(vector);
            assert!(!set.contains(vector));
            assert!(set.highest().is_some_and(|highest| highest < vector));
        }
        set.remove(0);
        assert_eq!(set, VectorSet::empty());
    }

    #[test]
    fn registers_show_32_vectors_each() {
        let mut set = VectorSet::empty();
        set.insert(0x41);
        assert_eq!(set.word(2), 1 << 1);
        assert_eq!(set.word(1), 0);
    }
}
