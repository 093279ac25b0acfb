// SPDX-License-Identifier: MIT OR Apache-2.0
//! A value that is set once, at start, and only read from then on.
//!
//! # Soundness
//! `state` goes EMPTY, SETTING, SET and never back. The one caller that moved it to SETTING writes the
//! value; references are given out only when it is SET, and then nobody writes.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, Ordering};

const EMPTY: u8 = 0;
const SETTING: u8 = 1;
const SET: u8 = 2;

/// Nothing, and later a value for good.
#[derive(Debug)]
pub struct Once<T> {
    state: AtomicU8,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is moved in by one CPU (`Send`) and read by all of them (`Sync`).
unsafe impl<T: Send + Sync> Sync for Once<T> {}

impl<T> Once<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self {
            state: AtomicU8::new(EMPTY),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Sets the value, if none was set before; gives it back otherwise.
    pub fn set(&self, value: T) -> Result<&T, T> {
        let taken =
            self.state
                .compare_exchange(EMPTY, SETTING, Ordering::Relaxed, Ordering::Relaxed);
        if taken.is_err() {
            return Err(value);
        }
        // SAFETY: this caller alone moved the state to SETTING, and nobody reads before SET.
        let value = unsafe { (*self.value.get()).write(value) };
        self.state.store(SET, Ordering::Release);
        Ok(value)
    }

    /// The value, if it was set.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        if self.state.load(Ordering::Acquire) == SET {
            // SAFETY: SET says that the value was written, and that nobody writes it again.
            Some(unsafe { (*self.value.get()).assume_init_ref() })
        } else {
            None
        }
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn first_wins() {
        let once = Once::new();
        assert_eq!(once.get(), None);
        let winners = std::thread::scope(|scope| {
            let threads: [_; 3] = core::array::from_fn(|i| {
                scope.spawn({
                    let once = &once;
                    move || once.set(i).is_ok()
                })
            });
            threads.map(|thread| thread.join().unwrap())
        });
        let winner = winners.iter().position(|&won| won).unwrap();
        assert_eq!(winners.iter().filter(|&&won| won).count(), 1);
        assert_eq!(once.get(), Some(&winner));
        assert_eq!(once.set(9), Err(9));
    }
}
