// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loads and stores at guest-physical addresses that must work; [`super::instructions`] has those that may fault.

use zerocopy::FromBytes;

use super::tables;

/// A load that must work, through the private mapping.
pub(crate) fn load<T: FromBytes>(gpa: u64) -> T {
    // SAFETY: guest memory is mapped at its own address, any bytes are a `T`, and the probe keeps
    // no reference to memory that it loads from.
    unsafe { (gpa as *const T).read_unaligned() }
}

/// A store that must work, to scratch memory or the calling area, through the private mapping.
pub(crate) fn store<T: Copy>(gpa: u64, value: T) {
    // SAFETY: scratch pages and calling areas belong to nobody else, and no reference to them exists.
    unsafe { (gpa as *mut T).write_unaligned(value) }
}

/// A load through the shared mapping.
pub(crate) fn load_shared<T: FromBytes>(gpa: u64) -> T {
    load(tables::SHARED + gpa)
}

/// A store through the shared mapping.
pub(crate) fn store_shared<T: Copy>(gpa: u64, value: T) {
    store(tables::SHARED + gpa, value);
}

/// Fills a scratch page.
pub(crate) fn fill(gpa: u64, byte: u8) {
    for offset in (0..0x1000).step_by(8) {
        store(gpa + offset, u64::from_ne_bytes([byte; 8]));
    }
}

/// Whether all eight-byte words of a page have the same value.
pub(crate) fn page_is(gpa: u64, value: u64) -> bool {
    (0..0x1000)
        .step_by(8)
        .all(|offset| load::<u64>(gpa + offset) == value)
}

/// Swaps a byte of a calling area.
pub(crate) fn swap_byte(gpa: u64, value: u8) -> u8 {
    // SAFETY: the calling area is a page that probe and SVSM share for this, one byte is always aligned.
    unsafe { core::sync::atomic::AtomicU8::from_ptr(gpa as *mut u8) }
        .swap(value, core::sync::atomic::Ordering::SeqCst)
}
