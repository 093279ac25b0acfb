// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who called, by the chain of frame pointers that the image is built with.
//!
//! # Soundness
//! A frame is read only if it lies whole and aligned on the stack of this CPU, which is mapped. What is
//! read is a number; it need not be right.

use super::block::stack;

/// The most calls that are told.
const DEPTH: usize = 16;

/// Calls `each` with the return addresses from the frame at `frame` on, the innermost first.
pub(crate) fn walk(frame: u64, mut each: impl FnMut(u64)) {
    let stack = stack();
    let mut frame = frame;
    for _ in 0..DEPTH {
        let inside =
            frame.is_multiple_of(8) && stack.contains(&frame) && stack.contains(&(frame + 15));
        if !inside {
            return;
        }
        let at: *const u64 = core::ptr::with_exposed_provenance(frame as usize);
        // SAFETY: both words are on the stack, which is mapped; volatile, since the compiler knows them as other objects.
        let (next, caller) = unsafe { (at.read_volatile(), at.add(1).read_volatile()) };
        if caller == 0 {
            return;
        }
        each(caller);
        // Callers are further up; a chain that is broken can't loop.
        if next <= frame {
            return;
        }
        frame = next;
    }
}

/// The frame of the function that this is inlined into.
#[inline(always)]
pub(crate) fn here() -> u64 {
    let frame: u64;
    // SAFETY: reads a register.
    unsafe {
        core::arch::asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack, preserves_flags))
    };
    frame
}
