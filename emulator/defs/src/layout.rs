// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where guest memory, its private backing and the emulator lie in QEMU's memory.
//!
//! The shared view of guest memory is the identity, so that QEMU's devices, whose DMA cannot be
//! trapped, reach shared pages and nothing else. The private view has a backing of its own.

/// One KiB, in bytes.
pub const KIB: u64 = 1 << 10;
/// One MiB, in bytes.
pub const MIB: u64 = 1 << 20;
/// One GiB, in bytes.
pub const GIB: u64 = 1 << 30;

/// First host-physical address of the emulator's image.
pub const EMULATOR_BASE: u64 = 0x7000_0000;
/// End (exclusive) of the low memory that the emulator keeps for itself.
///
/// QEMU's q35 splits memory at 2 GiB once `-m` is large enough, which [`qemu_memory`] sees to.
pub const EMULATOR_END: u64 = 0x8000_0000;

/// End (exclusive) of the guest's memory below 4 GiB; the rest of it starts at [`GUEST_HIGH`].
pub const GUEST_LOW_END: u64 = EMULATOR_BASE;
/// Guest-physical start of the memory that does not fit below [`GUEST_LOW_END`].
pub const GUEST_HIGH: u64 = 4 * GIB;
/// The range that a PC keeps for video memory: no RAM of the guest lies there.
///
/// What follows up to 1 MiB is memory, as with QEMU, which has its ROMs there: Linux reads it as
/// private memory (`reserve_ibft_region`), whatever the memory map says.
pub const ISA_HOLE: core::ops::Range<u64> = 0xA_0000..0xC_0000;
/// The range that is no RAM to a kernel: video memory, option ROMs, BIOS.
pub const ISA_RANGE: core::ops::Range<u64> = 0xA_0000..0x10_0000;

/// Guest-physical base of the SVSM's region, outside of the guest's RAM.
pub const SVSM_BASE: u64 = 0x80_0000_0000;
/// The most that the SVSM's region can span, in bytes.
pub const SVSM_MAX_SIZE: u64 = 16 * MIB;

/// The position of the C-bit, as on all hardware so far.
pub const C_BIT: u32 = 51;

/// The fewest bytes of guest memory with which a stock kernel still boots.
pub const MIN_GUEST_MEMORY: u64 = 256 * MIB;
/// The most guest memory that the emulator's tables are made for.
pub const MAX_GUEST_MEMORY: u64 = 64 * GIB;
/// The most vCPUs that the emulator starts.
pub const MAX_VCPUS: u32 = 64;

/// Bytes of guest memory that lie below 4 GiB when the guest has `memory` bytes.
pub const fn guest_low(memory: u64) -> u64 {
    if memory < GUEST_LOW_END {
        memory
    } else {
        GUEST_LOW_END
    }
}

/// Bytes of guest memory that lie from [`GUEST_HIGH`] on when the guest has `memory` bytes.
pub const fn guest_high(memory: u64) -> u64 {
    memory - guest_low(memory)
}

/// Host-physical address at which the emulator's own high memory starts: above the identity view
/// of the guest's high memory, at a multiple of 1 GiB.
///
/// In order: private backing of the low guest memory, private backing of the high guest memory,
/// then private and shared backing of the SVSM's region, then RMP and nested page tables.
pub const fn emulator_high(memory: u64) -> u64 {
    GUEST_HIGH + guest_high(memory).next_multiple_of(GIB)
}

/// What to give to QEMU as `-m`, in bytes, for a guest with `memory` bytes. Most of it is never
/// touched, and QEMU's host backs only what is.
pub const fn qemu_memory(memory: u64) -> u64 {
    let above_4g = emulator_high(memory) - GUEST_HIGH
        + memory.next_multiple_of(GIB)
        + 2 * SVSM_MAX_SIZE
        + 256 * MIB
        + memory / 64;
    2 * GIB + above_4g.next_multiple_of(GIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_split_without_loss() {
        for memory in [MIN_GUEST_MEMORY, GUEST_LOW_END, 2 * GIB, 8 * GIB] {
            assert_eq!(guest_low(memory) + guest_high(memory), memory);
            assert!(qemu_memory(memory) >= 4 * GIB || memory < GUEST_LOW_END);
            assert!(2 * GIB + qemu_memory(memory) >= emulator_high(memory) + memory);
        }
    }
}
