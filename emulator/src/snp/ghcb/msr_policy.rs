// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which model-specific registers exist behind the GHCB's MSR event, and what they hold.
//!
//! Most of a guest's registers are in its VMSA and cause no exit (EFER, PAT, STAR and its like, FS and GS
//! bases, SYSENTER, TSC_AUX, XSS, GHCB, SEV_STATUS). What is left is listed here; everything else is #GP,
//! as on a processor without it. The list is what a stock Linux or OVMF reads or writes without having
//! asked CPUID, with the values that KVM gives to an AMD guest.

use crate::kvm_clock::{MSR_SYSTEM_TIME, MSR_WALL_CLOCK};

use super::services::{HostServices, Note, Refused};

/// Registers that keep what is written to them.
#[derive(Debug, Clone)]
pub struct Registers {
    mtrr_default: u64,
    mtrr_fixed: [u64; MTRR_FIXED.len()],
    mtrr_variable: [u64; 2 * MTRR_VARIABLE_COUNT],
    misc_enable: u64,
    hwcr: u64,
    debug_control: u64,
    clock: [u64; 2],
}

const TSC: u32 = 0x10;
const APIC_BASE: u32 = 0x1B;
const PATCH_LEVEL: u32 = 0x8B;
const MTRR_CAP: u32 = 0xFE;
const MCG_CAP: u32 = 0x179;
const MCG_STATUS: u32 = 0x17A;
const MISC_ENABLE: u32 = 0x1A0;
const DEBUG_CONTROL: u32 = 0x1D9;
const MTRR_VARIABLE: u32 = 0x200;
const MTRR_VARIABLE_COUNT: usize = 8;
const MTRR_VARIABLE_LAST: u32 = MTRR_VARIABLE + 2 * MTRR_VARIABLE_COUNT as u32 - 1;
const MTRR_FIXED: [u32; 11] = [
    0x250, 0x258, 0x259, 0x268, 0x269, 0x26A, 0x26B, 0x26C, 0x26D, 0x26E, 0x26F,
];
const MTRR_DEFAULT: u32 = 0x2FF;
const TSC_DEADLINE: u32 = 0x6E0;
const HWCR: u32 = 0xC001_0015;
const DE_CFG: u32 = 0xC001_1029;

/// MTRRcap: write combining, fixed ranges, and the number of variable ones.
const MTRR_CAP_VALUE: u64 = (1 << 10) | (1 << 8) | MTRR_VARIABLE_COUNT as u64;
/// MTRR_DEFAULT: enable, fixed enable, type.
const MTRR_DEFAULT_BITS: u64 = (1 << 11) | (1 << 10) | 0xFF;
/// What KVM gives to a guest that asks for the microcode's patch level.
const PATCH_LEVEL_VALUE: u64 = 0x0100_0065;
/// HWCR.TscFreqSel: the TSC counts at the P0 frequency.
const HWCR_RESET: u64 = 1 << 24;
/// DE_CFG: LFENCE is dispatch serialising.
const DE_CFG_VALUE: u64 = 1 << 1;

/// Registers of AMD processors that read as zero, and whose writes are dropped, as under KVM: perfmon
/// event selects and counters, SYSCFG, top of memory, SMM, VM_HSAVE_PA, northbridge, MMIO configuration,
/// interrupt pending, and the configuration registers of load-store, caches, bus unit and table walker.
const ZERO: [u32; 30] = [
    0xC001_0000,
    0xC001_0001,
    0xC001_0002,
    0xC001_0003,
    0xC001_0004,
    0xC001_0005,
    0xC001_0006,
    0xC001_0007,
    0xC001_0010,
    0xC001_001A,
    0xC001_001D,
    0xC001_001F,
    0xC001_0055,
    0xC001_0058,
    0xC001_0112,
    0xC001_0113,
    0xC001_0117,
    0xC001_0140,
    0xC001_0141,
    0xC001_1020,
    0xC001_1021,
    0xC001_1022,
    0xC001_1023,
    0xC001_102A,
    0xC001_102B,
    0xC001_102C,
    0xC001_102D,
    0xC001_1030,
    0xC001_103A,
    0x17B,
];

impl Default for Registers {
    fn default() -> Self {
        Self {
            mtrr_default: 0,
            mtrr_fixed: [0; MTRR_FIXED.len()],
            mtrr_variable: [0; 2 * MTRR_VARIABLE_COUNT],
            misc_enable: 1,
            hwcr: HWCR_RESET,
            debug_control: 0,
            clock: [0; 2],
        }
    }
}

/// RDMSR.
///
/// # Errors
/// #GP(0).
pub fn read<S: HostServices>(
    msr: u32,
    registers: &Registers,
    services: &mut S,
) -> Result<u64, Refused> {
    let value = match msr {
        TSC => services.tsc(),
        APIC_BASE | TSC_DEADLINE | 0x800..=0x8FF => services.apic_msr_read(msr)?,
        PATCH_LEVEL => PATCH_LEVEL_VALUE,
        MTRR_CAP => MTRR_CAP_VALUE,
        // No machine-check banks.
        MCG_CAP | MCG_STATUS => 0,
        MISC_ENABLE => registers.misc_enable,
        DEBUG_CONTROL => registers.debug_control,
        MTRR_VARIABLE..=MTRR_VARIABLE_LAST => {
            registers.mtrr_variable[(msr - MTRR_VARIABLE) as usize]
        }
        MTRR_DEFAULT => registers.mtrr_default,
        HWCR => registers.hwcr,
        MSR_WALL_CLOCK | MSR_SYSTEM_TIME => registers.clock[(msr & 1) as usize],
        DE_CFG => DE_CFG_VALUE,
        _ => match fixed(msr) {
            Some(n) => registers.mtrr_fixed[n],
            None if ZERO.contains(&msr) => 0,
            None => {
                services.note(Note::UnknownMsrRead { msr });
                return Err(Refused);
            }
        },
    };
    Ok(value)
}

/// WRMSR.
///
/// # Errors
/// #GP(0).
pub fn write<S: HostServices>(
    msr: u32,
    value: u64,
    registers: &mut Registers,
    services: &mut S,
) -> Result<(), Refused> {
    let allowed = match msr {
        APIC_BASE | TSC_DEADLINE | 0x800..=0x8FF => return services.apic_msr_write(msr, value),
        // Microcode is loaded by the host, machine checks are cleared by writing zero.
        PATCH_LEVEL => true,
        MCG_STATUS => value == 0,
        MISC_ENABLE => store(&mut registers.misc_enable, value, true),
        DEBUG_CONTROL => store(&mut registers.debug_control, value, value & !0x3F == 0),
        MTRR_VARIABLE..=MTRR_VARIABLE_LAST => {
            let base = msr.is_multiple_of(2);
            let valid = if base {
                value & 0xF00 == 0 && memory_type(value as u8)
            } else {
                value & 0x7FF == 0
            };
            let register = &mut registers.mtrr_variable[(msr - MTRR_VARIABLE) as usize];
            store(register, value, valid)
        }
        MTRR_DEFAULT => {
            let valid = value & !MTRR_DEFAULT_BITS == 0 && memory_type(value as u8);
            store(&mut registers.mtrr_default, value, valid)
        }
        HWCR => store(&mut registers.hwcr, value | HWCR_RESET, true),
        MSR_WALL_CLOCK | MSR_SYSTEM_TIME => {
            let valid = services.clock_msr_write(msr, value).is_ok();
            store(&mut registers.clock[(msr & 1) as usize], value, valid)
        }
        DE_CFG => value & !DE_CFG_VALUE == 0,
        _ => match fixed(msr) {
            Some(n) => {
                let valid = value.to_le_bytes().into_iter().all(memory_type);
                store(&mut registers.mtrr_fixed[n], value, valid)
            }
            None => ZERO.contains(&msr),
        },
    };
    if allowed {
        Ok(())
    } else {
        services.note(Note::UnknownMsrWrite { msr, value });
        Err(Refused)
    }
}

fn store(register: &mut u64, value: u64, allowed: bool) -> bool {
    if allowed {
        *register = value;
    }
    allowed
}

fn fixed(msr: u32) -> Option<usize> {
    MTRR_FIXED.iter().position(|fixed| *fixed == msr)
}

/// UC, WC, WT, WP and WB (APM vol. 2, 7.7.1).
const fn memory_type(value: u8) -> bool {
    matches!(value, 0 | 1 | 4 | 5 | 6)
}
