// SPDX-License-Identifier: MIT OR Apache-2.0
//! The launch page: by it the image builder tells the SVSM what lies where. It is part of the
//! measured image, so the SVSM believes it; what the host says is held against it.
//!
//! # The SVSM's region
//! One run of guest-physical memory, page by page part of the image and so validated at launch, but for
//! the pages that are shared with the host: the image leaves them out, so that they are never validated,
//! and the SVSM asks the host to share them. The
//! builder maps the region at [`REGION_VA`], each part with the rights it needs and no more, and
//! all of the guest's memory at [`GUEST_VA`] plus its guest-physical address, readable and
//! writable, in pages of 1 GiB. No later stage moves anything.
#![no_std]
#![forbid(unsafe_code)]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Virtual address at which the SVSM's region is mapped; the image is linked to it.
pub const REGION_VA: u64 = 0xFFFF_FFFF_8000_0000;
/// Bytes that the region can have: up to the end of all addresses.
pub const REGION_MAX: u64 = REGION_VA.wrapping_neg();
/// Virtual address of guest-physical address 0 in the map of the guest's memory.
pub const GUEST_VA: u64 = 0xFFFF_8000_0000_0000;
/// Bytes that this map can have: up to the region.
pub const GUEST_MAX: u64 = REGION_VA - GUEST_VA;
/// [`LaunchInfo::magic`].
pub const MAGIC: [u8; 8] = *b"PARAPET\0";
/// [`LaunchInfo::version`]; it moves with every change of this crate's layouts.
pub const VERSION: u32 = 2;
/// The most vCPUs.
pub const MAX_VCPUS: u32 = 64;

/// A range of guest-physical memory, page-aligned; empty where `size` is 0.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Range {
    /// First address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

/// The page.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
pub struct LaunchInfo {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: u32,
    /// Number of vCPUs; their APIC ids are 0 to this minus 1.
    pub vcpus: u32,
    /// The SVSM's region.
    pub region: Range,
    /// The loaded ELF file: text, read-only data, read-only-after-init data, data, zeroed data.
    pub image: Range,
    /// The page tables that are in force at entry, the root first.
    pub page_tables: Range,
    /// Per-CPU blocks, [`per_cpu::SIZE`] bytes for each vCPU.
    pub per_cpu: Range,
    /// Pages that are mapped shared and left out of the image, for messages to the firmware: one for
    /// the request, one for the answer, the others for certificates.
    pub shared: Range,
    /// Storage of the page tracker, zeroed.
    pub tracker: Range,
    /// Pages that the SVSM allocates from, zeroed.
    pub heap: Range,
    /// Guest-physical address of the CPUID page, in the region.
    pub cpuid_page: u64,
    /// Guest-physical address of the secrets page, in the region.
    pub secrets_page: u64,
    /// The parameter area that the host fills with its memory map (IGVM), in the region. Not measured.
    pub host_memory_map: Range,
    /// The guest's memory, ascending.
    pub guest_memory: [Range; 4],
    /// Parts of the guest's memory that the image fills and that are validated at launch, ascending.
    pub preloaded: [Range; 32],
    /// How the guest starts.
    pub guest: GuestStart,
    /// I/O port of the 16550 UART that takes the SVSM's log; 0 for none.
    pub log_port: u16,
    /// Least severe level that is logged: 0 none, 1 error, 2 warn, 3 info, 4 debug, 5 trace.
    pub log_level: u8,
    /// Zero.
    pub reserved: [u8; 5 + 3264],
}

/// How the guest starts: what the SVSM fills in memory, and the first vCPU's registers.
/// All other registers are as the 64-bit boot protocol of Linux wants them.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct GuestStart {
    /// VMPL of the guest.
    pub vmpl: u32,
    /// Zero.
    pub reserved: u32,
    /// Page that the SVSM fills with the guest's secrets, in the guest's memory.
    pub secrets_page: u64,
    /// Page that the SVSM fills with the guest's CPUID table, in the guest's memory.
    pub cpuid_page: u64,
    /// Calling areas, one page for each vCPU, in the guest's memory.
    pub calling_areas: Range,
    /// Instruction pointer.
    pub rip: u64,
    /// RSI: guest-physical address of the boot parameters.
    pub rsi: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// CR3, without the C-bit, which the platform adds.
    pub cr3: u64,
    /// Guest-physical address of a GDT with code at 0x10 and data at 0x18.
    pub gdt_base: u64,
    /// Limit of that GDT.
    pub gdt_limit: u64,
}

/// A block for each vCPU in the SVSM's region: offsets and sizes in bytes. Pages that are not named are
/// not mapped, so that a stack that overflows faults.
pub mod per_cpu {
    /// Lowest address of the stack.
    pub const STACK: u64 = 0x1000;
    /// Bytes of the stack.
    pub const STACK_SIZE: u64 = 0x4000;
    /// Lowest address of the double-fault stack.
    pub const DOUBLE_FAULT_STACK: u64 = 0x6000;
    /// Bytes of the double-fault stack.
    pub const DOUBLE_FAULT_STACK_SIZE: u64 = 0x1000;
    /// Lowest address of the stack for NMI and #MC.
    pub const EVENT_STACK: u64 = 0x8000;
    /// Bytes of that stack.
    pub const EVENT_STACK_SIZE: u64 = 0x2000;
    /// The CPU's data: TSS, GDT, pointers.
    pub const DATA: u64 = 0xB000;
    /// Bytes of the data.
    pub const DATA_SIZE: u64 = 0x1000;
    /// The vCPU state page of the SVSM itself on this vCPU (SNP: its VMSA).
    pub const STATE: u64 = 0xC000;
    /// The page shared with the host (SNP: the GHCB); mapped shared, left out of the image.
    pub const HOST_PAGE: u64 = 0xD000;
    /// Bytes of the block.
    pub const SIZE: u64 = 0xE000;
}

const _: () = assert!(size_of::<LaunchInfo>() == 4096);

/// Storage of the page tracker ([`LaunchInfo::tracker`]): how much the image builder sets aside.
pub mod tracker {
    use super::Range;

    /// Bytes of guest memory that one run describes; runs are aligned to their size.
    pub const RUN: u64 = 2 << 20;
    /// 64-bit words of storage for a run.
    pub const WORDS_PER_RUN: u64 = 17;

    /// Number of runs that `memory` touches, each counted once. `memory` is ascending, without
    /// overlaps; empty ranges are left out. Saturates where a range ends beyond 2^64.
    pub fn runs(memory: &[Range]) -> u64 {
        let mut runs = 0;
        let mut covered = 0;
        for range in memory.iter().filter(|range| range.size != 0) {
            let first = (range.base / RUN).max(covered);
            let end = range.base.saturating_add(range.size).div_ceil(RUN);
            runs += end.saturating_sub(first);
            covered = end.max(covered);
        }
        runs
    }

    /// Bytes of storage for `memory`.
    pub fn bytes(memory: &[Range]) -> u64 {
        runs(memory).saturating_mul(WORDS_PER_RUN * 8)
    }
}

#[cfg(test)]
mod tests {
    use super::{Range, tracker};

    #[test]
    fn a_run_that_two_ranges_touch_counts_once() {
        let range = |base, end| Range {
            base,
            size: end - base,
        };
        let low = [
            range(0, 0xA_0000),
            range(0x10_0000, 0x7000_0000),
            Range::default(),
        ];
        assert_eq!(tracker::runs(&low), 0x7000_0000 / tracker::RUN);
        let high = [range(0, 0x1000), range(0x1_0000_0000, 0x1_0000_1000)];
        assert_eq!(tracker::runs(&high), 2);
        assert_eq!(tracker::bytes(&high), 2 * 17 * 8);
        assert_eq!(tracker::runs(&[range(0x1F_F000, 0x20_1000)]), 2);
        assert_eq!(tracker::runs(&[]), 0);
    }
}
