// SPDX-License-Identifier: MIT OR Apache-2.0
//! Vectors of the real local APICs: those of the emulator lie below those that a guest may choose.

/// Vector by which one processor makes another look at its requests.
pub(crate) const VECTOR_KICK: u8 = 0x1C;
/// Vector of the real local APIC's timer.
pub(crate) const VECTOR_TIMER: u8 = 0x1E;
/// Spurious vector of the real local APIC.
pub(crate) const VECTOR_SPURIOUS: u8 = 0x1F;
/// First vector that is a guest's.
pub(crate) const FIRST_GUEST_VECTOR: u8 = 0x20;
