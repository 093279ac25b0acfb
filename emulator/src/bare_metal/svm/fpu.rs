// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registers that VMRUN does not swap and that the emulator itself does not use: x87, SSE, debug
//! addresses, TSC_AUX. They stay in the processor while one VMPL runs and are swapped with it.

use core::arch::asm;

use crate::host::instructions::{rdmsr, wrmsr};

const MSR_TSC_AUX: u32 = 0xC000_0103;

/// An FXSAVE image in the 64-bit format.
#[repr(C, align(16))]
pub(crate) struct Image(pub(crate) [u8; 512]);

/// Stores x87 and SSE registers.
pub(crate) fn save() -> Image {
    let mut image = Image([0; 512]);
    // SAFETY: 512 bytes, aligned to 16; CR4.OSFXSR is set and CR0.TS clear in the emulator.
    unsafe { asm!("fxsave64 [{}]", in(reg) &raw mut image, options(nostack)) };
    image
}

/// Loads x87 and SSE registers. Bits of MXCSR that do not exist are dropped: they would fault.
pub(crate) fn load(bytes: &[u8; 512]) {
    let mut image = Image(*bytes);
    image.0[26] = 0;
    image.0[27] = 0;
    // SAFETY: as for `save`; the emulator is compiled without floating point, so no value of Rust's
    // is in these registers, and MXCSR has no reserved bit.
    unsafe { asm!("fxrstor64 [{}]", in(reg) &raw const image, options(nostack)) };
}

/// DR0 to DR3.
pub(crate) fn debug_addresses() -> [u64; 4] {
    let [mut d0, mut d1, mut d2, mut d3] = [0_u64; 4];
    // SAFETY: reads registers.
    unsafe {
        asm!("mov {}, dr0", "mov {}, dr1", "mov {}, dr2", "mov {}, dr3",
            inout(reg) d0, inout(reg) d1, inout(reg) d2, inout(reg) d3, options(nomem, nostack));
    }
    [d0, d1, d2, d3]
}

/// Loads DR0 to DR3.
pub(crate) fn set_debug_addresses(addresses: &[u64; 4]) {
    // SAFETY: the emulator's own DR7 enables no breakpoint.
    unsafe {
        asm!("mov dr0, {}", "mov dr1, {}", "mov dr2, {}", "mov dr3, {}",
            in(reg) addresses[0], in(reg) addresses[1], in(reg) addresses[2], in(reg) addresses[3],
            options(nomem, nostack));
    }
}

/// TSC_AUX.
pub(crate) fn tsc_aux() -> u32 {
    rdmsr(MSR_TSC_AUX) as u32
}

/// Loads TSC_AUX.
pub(crate) fn set_tsc_aux(value: u32) {
    // SAFETY: read by RDTSCP and RDPID only, which the emulator does not use.
    unsafe { wrmsr(MSR_TSC_AUX, u64::from(value)) };
}
