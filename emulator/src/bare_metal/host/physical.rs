// SPDX-License-Identifier: MIT OR Apache-2.0
//! Host-physical memory: the identity mapping as copies and volatile accesses.
//!
//! Guest memory changes under our hands (other vCPUs, DMA). It is never borrowed: it is copied
//! by instructions that the compiler can't see into, or accessed through atomics.
//!
//! Invariant of the module: an address below [`IDENTITY_END`] is mapped; addresses that hold the
//! emulator's own data come from [`super::heap`] only, and guests are given none of those.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64};

use super::boot::IDENTITY_END;

fn check(address: u64, length: usize) {
    let end = address.checked_add(length as u64);
    assert!(
        end.is_some_and(|end| end <= IDENTITY_END),
        "host-physical range {address:#x} + {length:#x} is not mapped"
    );
}

/// Copies `length` bytes in ascending order. TCG executes string instructions an item at a time, and
/// each item as slowly as any instruction: eight moves of eight bytes in a row are much faster.
///
/// # Safety
/// Both ranges are mapped; the destination is nothing that Rust has a reference to, but for the one
/// that the caller holds exclusively.
unsafe fn move_bytes(from: u64, to: u64, length: usize) {
    // SAFETY: the caller's contract. The copy is made by the processor, so that a concurrent writer
    // gives torn bytes, never undefined behaviour.
    unsafe {
        asm!(
            "sub {length}, 64",
            "jb 3f",
            "2:",
            "mov {a}, [{from}]",
            "mov {b}, [{from} + 8]",
            "mov [{to}], {a}",
            "mov [{to} + 8], {b}",
            "mov {a}, [{from} + 16]",
            "mov {b}, [{from} + 24]",
            "mov [{to} + 16], {a}",
            "mov [{to} + 24], {b}",
            "mov {a}, [{from} + 32]",
            "mov {b}, [{from} + 40]",
            "mov [{to} + 32], {a}",
            "mov [{to} + 40], {b}",
            "mov {a}, [{from} + 48]",
            "mov {b}, [{from} + 56]",
            "mov [{to} + 48], {a}",
            "mov [{to} + 56], {b}",
            "add {from}, 64",
            "add {to}, 64",
            "sub {length}, 64",
            "jae 2b",
            "3:",
            "add {length}, 56",
            "js 5f",
            "4:",
            "mov {a}, [{from}]",
            "mov [{to}], {a}",
            "add {from}, 8",
            "add {to}, 8",
            "sub {length}, 8",
            "jns 4b",
            "5:",
            "add {length}, 8",
            "jz 7f",
            "6:",
            "mov {a:l}, [{from}]",
            "mov [{to}], {a:l}",
            "inc {from}",
            "inc {to}",
            "dec {length}",
            "jnz 6b",
            "7:",
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            length = inout(reg) length => _,
            a = out(reg) _,
            b = out(reg) _,
            options(nostack),
        );
    }
}

/// Copies out of memory that anyone may write meanwhile.
pub(crate) fn read(address: u64, into: &mut [u8]) {
    check(address, into.len());
    // SAFETY: the source is mapped (checked above), the destination is ours.
    unsafe { move_bytes(address, into.as_mut_ptr() as u64, into.len()) };
}

/// Copies into guest memory or memory of a device.
pub(crate) fn write(address: u64, from: &[u8]) {
    check(address, from.len());
    // SAFETY: as for `read`, the other way; callers pass addresses outside of the emulator's own
    // data (module invariant).
    unsafe { move_bytes(from.as_ptr() as u64, address, from.len()) };
}

/// Copies between two places of physical memory that do not overlap.
pub(crate) fn copy(from: u64, to: u64, length: usize) {
    check(from, length);
    check(to, length);
    // SAFETY: as for `read` and `write`.
    unsafe { move_bytes(from, to, length) };
}

/// Fills memory with copies of `pattern`; address and length are multiples of eight.
pub(crate) fn fill(address: u64, length: usize, pattern: u64) {
    check(address, length);
    assert!(address.is_multiple_of(8) && length.is_multiple_of(8));
    // SAFETY: as for `write`; the length is a multiple of eight.
    unsafe {
        asm!(
            "sub {length}, 64",
            "jb 3f",
            "2:",
            "mov [{to}], {pattern}",
            "mov [{to} + 8], {pattern}",
            "mov [{to} + 16], {pattern}",
            "mov [{to} + 24], {pattern}",
            "mov [{to} + 32], {pattern}",
            "mov [{to} + 40], {pattern}",
            "mov [{to} + 48], {pattern}",
            "mov [{to} + 56], {pattern}",
            "add {to}, 64",
            "sub {length}, 64",
            "jae 2b",
            "3:",
            "add {length}, 64",
            "jz 5f",
            "4:",
            "mov [{to}], {pattern}",
            "add {to}, 8",
            "sub {length}, 8",
            "jnz 4b",
            "5:",
            to = inout(reg) address => _,
            length = inout(reg) length => _,
            pattern = in(reg) pattern,
            options(nostack),
        );
    }
}

/// Reads a register of a device, or memory, in one access of the width of `T`.
///
/// # Panics
/// When the address is not mapped.
pub(crate) fn read_volatile<T: zerocopy::FromBytes>(address: u64) -> T {
    check(address, size_of::<T>());
    // SAFETY: mapped (checked), and every bit pattern is a `T`; x86 allows unaligned accesses, for
    // which Rust asks for a pointer type without alignment.
    unsafe {
        if (address as usize).is_multiple_of(align_of::<T>()) {
            (address as *const T).read_volatile()
        } else {
            (address as *const T).read_unaligned()
        }
    }
}

/// Writes a register of a device, or memory, in one access of the width of `T`.
pub(crate) fn write_volatile<T: zerocopy::IntoBytes>(address: u64, value: T) {
    check(address, size_of::<T>());
    // SAFETY: mapped (checked), outside of the emulator's own data (module invariant).
    unsafe {
        if (address as usize).is_multiple_of(align_of::<T>()) {
            (address as *mut T).write_volatile(value);
        } else {
            (address as *mut T).write_unaligned(value);
        }
    }
}

/// Writes a byte that stays as it is: QEMU drops what it has translated from there.
pub(crate) fn touch(address: u64) {
    check(address, 1);
    // SAFETY: mapped (checked); one atomic access that changes nothing.
    unsafe { asm!("lock or byte ptr [{}], 0", in(reg) address, options(nostack)) };
}

/// An aligned word of memory that several processors use.
pub(crate) fn word(address: u64) -> &'static AtomicU64 {
    check(address, 8);
    assert!(address.is_multiple_of(8));
    // SAFETY: mapped for ever and aligned (both checked); atomics allow concurrent access, and
    // whoever else writes there does so with aligned eight-byte accesses or string copies.
    unsafe { &*(address as *const AtomicU64) }
}

/// Aligned words of memory that several processors use.
pub(crate) fn words(address: u64, count: usize) -> &'static [AtomicU64] {
    check(address, 8 * count);
    assert!(address.is_multiple_of(8));
    // SAFETY: as for `word`.
    unsafe { core::slice::from_raw_parts(address as *const AtomicU64, count) }
}

/// An aligned half word of memory that several processors use.
pub(crate) fn half_word(address: u64) -> &'static AtomicU32 {
    check(address, 4);
    assert!(address.is_multiple_of(4));
    // SAFETY: as for `word`.
    unsafe { &*(address as *const AtomicU32) }
}
