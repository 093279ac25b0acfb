// SPDX-License-Identifier: MIT OR Apache-2.0
//! KVM's paravirtual clock: how a guest learns the rate of its time-stamp counter (Linux
//! `Documentation/virt/kvm/x86/msr.rst` and `cpuid.rst`).
//!
//! An SNP guest reads a timer by #VC and VMGEXIT. Under TCG that takes so long that Linux gives its
//! calibration up and falls back to the HPET for its clock, a VMGEXIT for each reading. Real
//! SNP hosts are KVM, which tells its guests the rate; so does the emulator.
//!
//! The counter runs at one rate and is equal on all vCPUs, so what is written once stays true.

use zerocopy::{Immutable, IntoBytes};

/// Twelve bytes that name KVM in CPUID leaf 0x40000000, EBX to EDX.
pub const SIGNATURE: &[u8; 12] = b"KVMKVMKVM\0\0\0";
/// CPUID leaf 0x40000001, EAX: no delay is needed after port I/O; the clock at the newer numbers; it
/// is consistent over all vCPUs.
pub const FEATURES: u32 = 1 << 1 | 1 << 3 | 1 << 24;
/// MSR: the guest-physical address where the wall clock at the machine's start is to be written.
pub const MSR_WALL_CLOCK: u32 = 0x4B56_4D00;
/// MSR: the guest-physical address of this vCPU's clock; bit 0 enables it.
pub const MSR_SYSTEM_TIME: u32 = 0x4B56_4D01;

const NANOSECONDS: u64 = 1_000_000_000;
/// [`SystemTime::flags`]: consistent over all vCPUs.
const TSC_STABLE: u8 = 1 << 0;

/// The clock of a vCPU: the time is `system_time` plus the ticks since `tsc_timestamp`, shifted left
/// by `tsc_shift` and multiplied by `tsc_to_system_mul / 2^32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C)]
pub struct SystemTime {
    /// Odd while it changes.
    pub version: u32,
    /// Zero.
    pub pad0: u32,
    /// Time-stamp counter at `system_time`.
    pub tsc_timestamp: u64,
    /// Nanoseconds since the machine's start.
    pub system_time: u64,
    /// Nanoseconds for a shifted tick, in 1 / 2^32.
    pub tsc_to_system_mul: u32,
    /// Bits to shift left, or right if negative.
    pub tsc_shift: i8,
    /// Bit 0: consistent over all vCPUs.
    pub flags: u8,
    /// Zero.
    pub pad: [u8; 2],
}

/// The wall clock at the machine's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C)]
pub struct WallClock {
    /// Odd while it changes.
    pub version: u32,
    /// Seconds since 1970.
    pub seconds: u32,
    /// Nanoseconds.
    pub nanoseconds: u32,
}

/// The clock of a machine whose counter runs at `tsc_hz` and stood at `start` when it started.
pub const fn system_time(tsc_hz: u64, start: u64) -> SystemTime {
    // The multiplier has 32 bits and is largest where the shifted rate lies between one and two
    // ticks a nanosecond.
    let mut shift = 0;
    let mut scaled = if tsc_hz == 0 { 1 } else { tsc_hz };
    while scaled > 2 * NANOSECONDS {
        scaled >>= 1;
        shift -= 1;
    }
    while scaled <= NANOSECONDS {
        scaled <<= 1;
        shift += 1;
    }
    SystemTime {
        version: 2,
        pad0: 0,
        tsc_timestamp: start,
        system_time: 0,
        tsc_to_system_mul: ((NANOSECONDS << 32) / scaled) as u32,
        tsc_shift: shift,
        flags: TSC_STABLE,
        pad: [0; 2],
    }
}

/// The wall clock of a machine that started at this time.
pub const fn wall_clock(seconds: u32) -> WallClock {
    WallClock {
        version: 2,
        seconds,
        nanoseconds: 0,
    }
}

/// Seconds since 1970 at a date of the Gregorian calendar (UTC, from 1970 on).
pub const fn seconds_since_1970(year: u32, month: u32, day: u32, time: [u32; 3]) -> u64 {
    // Days to the 1st of March of the year that the month belongs to, counted from March on.
    let (year, month) = if month <= 2 {
        (year as u64 - 1, month as u64 + 9)
    } else {
        (year as u64, month as u64 - 3)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day as u64;
    // 719,469 days lie between that count's origin and 1970.
    (days - 719_469) * 86_400 + time[0] as u64 * 3600 + time[1] as u64 * 60 + time[2] as u64
}

const _: () = assert!(size_of::<SystemTime>() == 32);
const _: () = assert!(size_of::<WallClock>() == 12);

#[cfg(test)]
mod tests {
    use super::*;

    /// As a guest computes it (Linux `pvclock_scale_delta`).
    fn nanoseconds(clock: &SystemTime, tsc: u64) -> u64 {
        let delta = tsc - clock.tsc_timestamp;
        let shifted = if clock.tsc_shift >= 0 {
            delta << clock.tsc_shift
        } else {
            delta >> -clock.tsc_shift
        };
        ((u128::from(shifted) * u128::from(clock.tsc_to_system_mul)) >> 32) as u64
            + clock.system_time
    }

    /// As a guest computes it (Linux `pvclock_tsc_khz`).
    fn khz(clock: &SystemTime) -> u64 {
        let khz = (1_000_000_u64 << 32) / u64::from(clock.tsc_to_system_mul);
        if clock.tsc_shift < 0 {
            khz << -clock.tsc_shift
        } else {
            khz >> clock.tsc_shift
        }
    }

    #[test]
    fn an_hour_is_an_hour_at_every_rate() {
        for hz in [
            50_000_000,
            999_999_999,
            1_000_000_000,
            2_617_808_903,
            5_700_000_000,
        ] {
            let clock = system_time(hz, 12345);
            let hour = nanoseconds(&clock, 12345 + 3600 * hz);
            assert!(hour.abs_diff(3600 * NANOSECONDS) < 10_000, "{hz}: {hour}");
            assert!(
                khz(&clock).abs_diff(hz / 1000) <= 2,
                "{hz}: {}",
                khz(&clock)
            );
        }
    }

    #[test]
    fn dates() {
        assert_eq!(seconds_since_1970(1970, 1, 1, [0, 0, 0]), 0);
        assert_eq!(seconds_since_1970(2000, 2, 29, [12, 0, 0]), 951_825_600);
        assert_eq!(seconds_since_1970(2026, 11, 24, [9, 30, 15]), 1_795_512_615);
    }
}
