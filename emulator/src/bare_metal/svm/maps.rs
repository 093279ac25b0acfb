// SPDX-License-Identifier: MIT OR Apache-2.0
//! Permission maps: all I/O is intercepted, and all model-specific registers but those that VMRUN
//! or VMLOAD swap, or that are the guest's alone.

use crate::host::heap::LOW;
use crate::host::physical;

/// Registers that the guest reads and writes itself: those that KVM leaves to SEV-ES guests, as far
/// as TCG keeps them in the VMCB.
const PASSED: [u32; 11] = [
    0x174,       // SYSENTER_CS
    0x175,       // SYSENTER_ESP
    0x176,       // SYSENTER_EIP
    0xC000_0081, // STAR
    0xC000_0082, // LSTAR
    0xC000_0083, // CSTAR
    0xC000_0084, // SFMASK
    0xC000_0100, // FS_BASE
    0xC000_0101, // GS_BASE
    0xC000_0102, // KERNEL_GS_BASE
    0xC000_0103, // TSC_AUX: swapped at a switch of the VMPL
];

const IO_BYTES: usize = 3 * 4096;
const MSR_BYTES: usize = 2 * 4096;

/// Host-physical addresses of the maps, which all control blocks share.
pub(crate) struct Maps {
    /// I/O permission map.
    pub(crate) io: u64,
    /// MSR permission map.
    pub(crate) msr: u64,
}

impl Maps {
    /// Builds the maps (24593, 15.10.1 and 15.11).
    pub(crate) fn new() -> Self {
        let io = LOW.allocate(IO_BYTES as u64, 4096);
        physical::fill(io, IO_BYTES, u64::MAX);
        let mut bits = [0xFF_u8; MSR_BYTES];
        for number in PASSED {
            let (start, first) = if number < 0x2000 {
                (0, 0)
            } else {
                (0x800, 0xC000_0000)
            };
            let bit = 2 * (number - first) as usize;
            bits[start + bit / 8] &= !(3 << (bit % 8));
        }
        let msr = LOW.allocate(MSR_BYTES as u64, 4096);
        physical::write(msr, &bits);
        Self { io, msr }
    }
}
