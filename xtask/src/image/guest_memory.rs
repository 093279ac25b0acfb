// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's memory: which guest-physical addresses are RAM, and the places of what a guest
//! without firmware needs beside its kernel. They are the same with and without an SVSM.

use std::ops::Range;

use anyhow::Result;
use emulator_defs::layout;
use svsm_launch::MAX_VCPUS;

use super::contents::PAGE;
use crate::failure::Failure;

/// The area in low memory for everything but kernel and initramfs.
pub(crate) mod area {
    /// Its start: the first byte above the range of video memory and ROMs.
    pub(crate) const BASE: u64 = 0x10_0000;
    /// ACPI tables.
    pub(crate) const ACPI: u64 = BASE;
    /// Bytes for ACPI tables.
    pub(crate) const ACPI_SIZE: u64 = 0xF000;
    /// List of `setup_data`, and what it points to. It belongs to the ACPI range of the memory map:
    /// what is merely reserved Linux maps as shared with the host when it reads the list again for sysfs.
    pub(crate) const SETUP_DATA: u64 = ACPI + ACPI_SIZE;
    /// End of the ACPI range.
    pub(crate) const ACPI_END: u64 = SETUP_DATA + 0x1000;
    /// The shim (without an SVSM).
    pub(crate) const SHIM: u64 = snp_shim::SHIM_BASE;
    /// The shim's list of ranges (without an SVSM).
    pub(crate) const SHIM_LIST: u64 = SHIM + snp_shim::SHIM_SIZE;
    /// Descriptor table.
    pub(crate) const GDT: u64 = SHIM_LIST + 0x1000;
    /// Page tables: two pages.
    pub(crate) const PAGE_TABLES: u64 = GDT + 0x1000;
    /// Linux's boot parameters.
    pub(crate) const BOOT_PARAMS: u64 = PAGE_TABLES + 0x2000;
    /// Command line.
    pub(crate) const COMMAND_LINE: u64 = BOOT_PARAMS + 0x1000;
    /// Stack.
    pub(crate) const STACK: u64 = COMMAND_LINE + 0x1000;
    /// Bytes of the stack.
    pub(crate) const STACK_SIZE: u64 = 0x2000;
    /// The first vCPU's VMSA (without an SVSM).
    pub(crate) const VMSA: u64 = STACK + STACK_SIZE;
    /// Secrets page.
    pub(crate) const SECRETS: u64 = VMSA + 0x1000;
    /// CPUID page.
    pub(crate) const CPUID: u64 = SECRETS + 0x1000;
    /// Calling areas (under an SVSM): a page for each vCPU.
    pub(crate) const CALLING_AREAS: u64 = CPUID + 0x1000;
    /// Where kernels and other payloads may lie.
    pub(crate) const PAYLOAD: u64 = 0x20_0000;

    const _: () = assert!(SHIM == ACPI_END);
    const _: () = assert!(CALLING_AREAS + super::MAX_VCPUS as u64 * 0x1000 <= PAYLOAD);
    // An erratum of several processors forbids a VMSA at the start of a 2M page.
    const _: () = assert!(!VMSA.is_multiple_of(0x20_0000));
}

/// Size of memory and number of vCPUs, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Bytes of guest memory.
    pub(crate) memory: u64,
    /// Number of vCPUs.
    pub(crate) vcpus: u32,
}

impl Machine {
    /// Checks what the user asked for.
    pub(crate) fn new(memory: u64, vcpus: u32) -> Result<Self> {
        if vcpus == 0 || vcpus > MAX_VCPUS {
            return Err(Failure::usage(format!("a guest can't have {vcpus} vCPUs"))
                .hint(format!("choose from 1 to {MAX_VCPUS}, with --cpus"))
                .into());
        }
        let (least, most) = (layout::MIN_GUEST_MEMORY, layout::MAX_GUEST_MEMORY);
        if memory < least || memory > most {
            let asked = memory / layout::MIB;
            let (least, most) = (least / layout::MIB, most / layout::GIB);
            return Err(
                Failure::usage(format!("a guest can't have {asked} MiB of memory"))
                    .hint(format!("choose from {least}M to {most}G, with --memory"))
                    .into(),
            );
        }
        if !memory.is_multiple_of(2 * layout::MIB) {
            return Err(
                Failure::usage("the guest's memory is not a multiple of 2 MiB")
                    .hint("for example --memory 2G")
                    .into(),
            );
        }
        Ok(Self { memory, vcpus })
    }

    /// The guest's memory, ascending.
    pub(crate) fn ram(&self) -> Vec<Range<u64>> {
        let hole = layout::ISA_HOLE;
        let mut ram = vec![0..hole.start, hole.end..layout::guest_low(self.memory)];
        let high = layout::guest_high(self.memory);
        if high > 0 {
            ram.push(layout::GUEST_HIGH..layout::GUEST_HIGH + high);
        }
        ram
    }

    /// End of the memory below 4 GiB.
    pub(crate) fn low_end(&self) -> u64 {
        layout::guest_low(self.memory)
    }

    /// End of the area that [`area`] lays out.
    pub(crate) fn area_end(&self) -> u64 {
        area::CALLING_AREAS + u64::from(self.vcpus) * PAGE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_guest_can_not_have_is_refused() {
        assert!(Machine::new(layout::GIB, 0).is_err());
        assert!(Machine::new(layout::GIB, MAX_VCPUS + 1).is_err());
        assert!(Machine::new(layout::MIB, 1).is_err());
        assert!(Machine::new(1 << 50, 1).is_err());
        assert!(Machine::new(layout::GIB + 4096, 1).is_err());
        assert!(Machine::new(layout::GIB, MAX_VCPUS).is_ok());
    }

    proptest! {
        #[test]
        fn ram_is_all_of_the_memory_but_the_hole(steps in 128u64..32768) {
            let machine = Machine::new(steps * 2 * layout::MIB, 1).unwrap();
            let ram = machine.ram();
            let sum: u64 = ram.iter().map(|range| range.end - range.start).sum();
            let hole = layout::ISA_HOLE;
            prop_assert_eq!(sum + (hole.end - hole.start), machine.memory);
            prop_assert!(ram.windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert!(ram.iter().all(|range| range.start < range.end));
        }
    }
}
