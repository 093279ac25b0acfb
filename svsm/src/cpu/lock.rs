// SPDX-License-Identifier: MIT OR Apache-2.0
//! A ticket lock, for what is rare: creating vCPUs, a request to the firmware, the log.
//!
//! # Soundness
//! The value is reached only through a guard, and a ticket is served by one guard at a time.
//! Releasing a guard publishes all that was done under it to the next one.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering};

/// A value that one CPU at a time uses. First come, first served: no CPU can be starved by the others.
#[derive(Debug, Default)]
pub struct Lock<T> {
    next: AtomicU32,
    serving: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the value moves between CPUs with the lock, one at a time, so `Send` is what it needs.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    /// An open lock.
    pub const fn new(value: T) -> Self {
        Self {
            next: AtomicU32::new(0),
            serving: AtomicU32::new(0),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits for its turn. A CPU that takes the same lock twice waits forever.
    pub fn lock(&self) -> LockGuard<'_, T> {
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        while self.serving.load(Ordering::Acquire) != ticket {
            core::hint::spin_loop();
        }
        LockGuard { lock: self }
    }

    /// Takes the lock if nobody has it or waits for it.
    pub fn try_lock(&self) -> Option<LockGuard<'_, T>> {
        let serving = self.serving.load(Ordering::Acquire);
        self.next
            .compare_exchange(
                serving,
                serving.wrapping_add(1),
                Ordering::Acquire,
                Ordering::Relaxed,
            )
            .ok()
            .map(|_| LockGuard { lock: self })
    }
}

/// The value, until dropped.
#[derive(Debug)]
pub struct LockGuard<'a, T> {
    lock: &'a Lock<T>,
}

// SAFETY: a shared guard gives shared access to the value only.
unsafe impl<T: Sync> Sync for LockGuard<'_, T> {}

impl<T> Deref for LockGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this guard holds the ticket that is served, so no other guard exists.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for LockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard holds the ticket that is served, so no other guard exists.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for LockGuard<'_, T> {
    fn drop(&mut self) {
        // Only the holder writes this.
        let serving = self.lock.serving.load(Ordering::Relaxed);
        self.lock
            .serving
            .store(serving.wrapping_add(1), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::thread;

    #[test]
    fn excludes() {
        // Not many: threads without a processor of their own hand a ticket on only when scheduled.
        let rounds = if cfg!(miri) { 50 } else { 300 };
        let lock = Lock::new((0u64, 0u64));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..rounds {
                        let mut pair = lock.lock();
                        assert_eq!(pair.0, pair.1);
                        pair.0 += 1;
                        core::hint::spin_loop();
                        pair.1 += 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), (3 * rounds, 3 * rounds));
    }

    #[test]
    fn try_lock_does_not_wait() {
        let lock = Lock::new(1);
        let guard = lock.lock();
        assert!(lock.try_lock().is_none());
        drop(guard);
        *lock.try_lock().unwrap() += 1;
        assert_eq!(*lock.lock(), 2);
    }
}
