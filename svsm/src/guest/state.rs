// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page that holds a guest vCPU's registers, to the core an opaque one (on SNP: a VMSA).
//!
//! # Soundness
//! A platform's verbs put atomics on the page. So a state is made only of a page that is mapped, and that is
//! the SVSM's for as long as the vCPU is there (`memory::custody`); and what the core hands to a verb it has from
//! whoever keeps the vCPU meanwhile: a [`super::Lease`], a [`super::Deletion`], or the page itself, just taken.

use crate::memory::Frame;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VcpuState {
    frame: Frame,
    address: usize,
}

impl VcpuState {
    /// The page `frame`, which is mapped at `address`.
    ///
    /// # Safety
    /// It is, private, readable and writable, and no object of Rust's but atomics lies in it for as long as
    /// verbs of the platform's are handed this.
    pub(crate) const unsafe fn new(frame: Frame, address: usize) -> Self {
        Self { frame, address }
    }

    /// A state that no platform ever sees.
    #[cfg(test)]
    pub(super) const fn unseen(frame: Frame) -> Self {
        Self { frame, address: 0 }
    }

    /// The page.
    pub const fn frame(self) -> Frame {
        self.frame
    }

    /// Virtual address at which the SVSM has it mapped, private, readable and writable.
    pub const fn address(self) -> usize {
        self.address
    }
}

/// A place for a state in memory that CPUs share. Who may write it, and when it can be read, the word of
/// its entry says (`vcpus`).
#[derive(Debug)]
pub(super) struct StateCell {
    /// Its address plus 1, or 0.
    frame: AtomicU64,
    address: AtomicUsize,
}

impl StateCell {
    /// Nothing; zeroes, so that a table of these takes no room in the image.
    pub(super) const fn empty() -> Self {
        Self {
            frame: AtomicU64::new(0),
            address: AtomicUsize::new(0),
        }
    }

    pub(super) fn store(&self, state: VcpuState) {
        self.frame.store(state.frame.gpa() + 1, Ordering::Relaxed);
        self.address.store(state.address, Ordering::Relaxed);
    }

    /// What was stored last.
    pub(super) fn load(&self) -> Option<VcpuState> {
        let gpa = self.frame.load(Ordering::Relaxed).checked_sub(1)?;
        Some(VcpuState {
            frame: Frame::new(gpa)?,
            address: self.address.load(Ordering::Relaxed),
        })
    }
}
