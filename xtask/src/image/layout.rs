// SPDX-License-Identifier: MIT OR Apache-2.0
//! The SVSM's region: what lies where in it, from sizes alone.
//!
//! Every part is followed by a page that is not mapped where something could run over its end.
//! Such pages, like those between the stacks of a CPU's block, are addresses only: no memory
//! is spent on them.

use std::ops::Range;

use svsm_launch::{GUEST_VA, REGION_VA, per_cpu};

use super::contents::PAGE;
use super::guest_memory::Machine;
use super::page_tables::{Rights, Size};

/// Pages shared with the host for messages to the firmware: one for a request, one for the answer,
/// and as many for certificates as Linux hosts hand out at most (16 KiB).
const MESSAGE_PAGES: u64 = 2 + 4;
/// Bytes to allocate from, whatever the number of vCPUs ...
const HEAP: u64 = 128 << 10;
/// ... and for each vCPU.
const HEAP_PER_VCPU: u64 = 32 << 10;
/// Hosts describe memory in less entries of 24 bytes than fit a page.
const HOST_MEMORY_MAP: u64 = PAGE;
/// Where the boundary of a 2M page lies.
const HUGE: u64 = 2 << 20;

/// The parts, in order of their guest-physical addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Region {
    /// The loaded ELF file.
    pub(crate) image: Range<u64>,
    /// The launch page.
    pub(crate) launch: Range<u64>,
    /// CPUID page.
    pub(crate) cpuid: Range<u64>,
    /// Secrets page.
    pub(crate) secrets: Range<u64>,
    /// What the host says about memory.
    pub(crate) host_memory_map: Range<u64>,
    /// Pages for messages, shared with the host.
    pub(crate) shared: Range<u64>,
    /// Blocks of the CPUs.
    pub(crate) per_cpu: Range<u64>,
    /// Storage of the page tracker.
    pub(crate) tracker: Range<u64>,
    /// Pages to allocate from.
    pub(crate) heap: Range<u64>,
    /// Page tables.
    pub(crate) page_tables: Range<u64>,
}

/// One mapping: virtual address, guest-physical address, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// Virtual address.
    pub(crate) virt: u64,
    /// Guest-physical address.
    pub(crate) phys: u64,
    /// Bytes.
    pub(crate) bytes: u64,
    /// Size of its entries.
    pub(crate) size: Size,
    /// What may be done with it.
    pub(crate) rights: Rights,
}

impl Region {
    /// Lays out the region at guest-physical `base` for an ELF file of `image_size` bytes.
    pub(crate) fn new(base: u64, image_size: u64, tracker_size: u64, machine: &Machine) -> Self {
        let vcpus = u64::from(machine.vcpus);
        let mut end = base;
        let mut take = |size: u64| {
            let range = end..end + size.next_multiple_of(PAGE);
            end = range.end;
            range
        };
        let image = take(image_size);
        let _guard = take(PAGE);
        let launch = take(PAGE);
        let cpuid = take(PAGE);
        let secrets = take(PAGE);
        let host_memory_map = take(HOST_MEMORY_MAP);
        let shared = take(MESSAGE_PAGES * PAGE);
        // An erratum of several processors forbids a VMSA at the start of a 2M page.
        let mut per_cpu = take(vcpus * per_cpu::SIZE);
        while (0..vcpus).any(|cpu| vmsa(&per_cpu, cpu).is_multiple_of(HUGE)) {
            take(PAGE);
            per_cpu = per_cpu.start + PAGE..per_cpu.end + PAGE;
        }
        let tracker = take(tracker_size);
        let heap = take(HEAP + vcpus * HEAP_PER_VCPU);
        let _guard = take(PAGE);
        // Root, and two tables on the way to the region's last; one for the guest's memory.
        let last_tables = (heap.end + PAGE - base).div_ceil(HUGE) + 1;
        let page_tables = take((4 + last_tables) * PAGE);
        Self {
            image,
            launch,
            cpuid,
            secrets,
            host_memory_map,
            shared,
            per_cpu,
            tracker,
            heap,
            page_tables,
        }
    }

    /// All of it.
    pub(crate) fn whole(&self) -> Range<u64> {
        self.image.start..self.page_tables.end
    }

    /// Virtual address of what lies at `gpa`.
    pub(crate) fn virt(&self, gpa: u64) -> u64 {
        REGION_VA + (gpa - self.image.start)
    }

    /// Guest-physical address of the VMSA page of a CPU.
    pub(crate) fn vmsa(&self, cpu: u64) -> u64 {
        vmsa(&self.per_cpu, cpu)
    }

    /// What of the CPUs' blocks is memory, with its rights and a name.
    pub(crate) fn per_cpu_parts(&self) -> impl Iterator<Item = (Range<u64>, Rights, &'static str)> {
        const PARTS: [(u64, u64, Rights, &str); 6] = [
            (per_cpu::STACK, per_cpu::STACK_SIZE, Rights::WRITE, "stack"),
            (
                per_cpu::DOUBLE_FAULT_STACK,
                per_cpu::DOUBLE_FAULT_STACK_SIZE,
                Rights::WRITE,
                "double-fault stack",
            ),
            (
                per_cpu::EVENT_STACK,
                per_cpu::EVENT_STACK_SIZE,
                Rights::WRITE,
                "event stack",
            ),
            (per_cpu::DATA, per_cpu::DATA_SIZE, Rights::WRITE, "data"),
            (per_cpu::STATE, PAGE, Rights::WRITE, "VMSA"),
            (per_cpu::HOST_PAGE, PAGE, Rights::SHARED, "GHCB"),
        ];
        self.per_cpu
            .clone()
            .step_by(per_cpu::SIZE as usize)
            .flat_map(|block| {
                PARTS.into_iter().map(move |(offset, size, rights, name)| {
                    (block + offset..block + offset + size, rights, name)
                })
            })
    }

    /// How everything but the loaded ELF file is mapped: the region's parts, and the guest's memory in
    /// pages of 1 GiB.
    pub(crate) fn mappings(&self, machine: &Machine) -> Vec<Mapping> {
        let parts = [
            (&self.launch, Rights::READ),
            (&self.cpuid, Rights::READ),
            (&self.secrets, Rights::WRITE),
            (&self.host_memory_map, Rights::READ),
            (&self.shared, Rights::SHARED),
            (&self.tracker, Rights::WRITE),
            (&self.heap, Rights::WRITE),
            (&self.page_tables, Rights::WRITE),
        ];
        let parts = parts
            .into_iter()
            .map(|(range, rights)| (range.clone(), rights));
        let blocks = self
            .per_cpu_parts()
            .map(|(range, rights, _)| (range, rights));
        let mut mappings: Vec<Mapping> = parts
            .chain(blocks)
            .map(|(range, rights)| Mapping {
                virt: self.virt(range.start),
                phys: range.start,
                bytes: range.end - range.start,
                size: Size::Small,
                rights,
            })
            .collect();
        let giant = Size::Giant.bytes();
        let mut mapped = 0;
        for range in machine.ram() {
            let start = (range.start / giant * giant).max(mapped);
            let end = range.end.next_multiple_of(giant);
            if start < end {
                mapped = end;
                mappings.push(Mapping {
                    virt: GUEST_VA + start,
                    phys: start,
                    bytes: end - start,
                    size: Size::Giant,
                    rights: Rights::WRITE,
                });
            }
        }
        mappings
    }
}

fn vmsa(per_cpu: &Range<u64>, cpu: u64) -> u64 {
    per_cpu.start + cpu * per_cpu::SIZE + per_cpu::STATE
}

#[cfg(test)]
mod tests {
    use super::*;
    use emulator_defs::layout::{MIB, SVSM_BASE, SVSM_MAX_SIZE};
    use proptest::prelude::*;

    fn any_region() -> impl Strategy<Value = (Region, Machine)> {
        let sizes = (1u64..0x40_0000, 1u64..0x40_0000, 128u64..32768, 1u32..=64);
        sizes.prop_map(|(image, tracker, memory, vcpus)| {
            let machine = Machine::new(memory * 2 * MIB, vcpus).unwrap();
            (Region::new(SVSM_BASE, image, tracker, &machine), machine)
        })
    }

    proptest! {
            #[test]
            fn parts_are_apart_and_inside((region, machine) in any_region()) {
                let mut parts = vec![
                    region.image.clone(), region.launch.clone(), region.cpuid.clone(),
                    region.secrets.clone(), region.host_memory_map.clone(), region.shared.clone(),
                    region.tracker.clone(), region.heap.clone(), region.page_tables.clone(),
                ];
                parts.extend(region.per_cpu_parts().map(|part| part.0));
                parts.sort_by_key(|part| part.start);
                prop_assert!(parts.windows(2).all(|pair| pair[0].end <= pair[1].start));
                prop_assert!(parts.iter().all(|part| part.start.is_multiple_of(PAGE)));
                prop_assert_eq!(parts[0].start, region.whole().start);
                prop_assert_eq!(parts.last().unwrap().end, region.whole().end);
                let blocks = u64::from(machine.vcpus) * per_cpu::SIZE;
                prop_assert_eq!(region.per_cpu.end - region.per_cpu.start, blocks);
                prop_assert!(region.whole().end - region.whole().start <= SVSM_MAX_SIZE);
            }

            #[test]
            fn no_vmsa_starts_a_huge_page((region, machine) in any_region()) {
                for cpu in 0..machine.vcpus.into() {
                    prop_assert!(!region.vmsa(cpu).is_multiple_of(HUGE));
                    prop_assert!(region.per_cpu.contains(&region.vmsa(cpu)));
                }
            }

            #[test]
            fn stacks_and_image_have_a_gap_below_and_above((region, machine) in any_region()) {
                let mappings = region.mappings(&machine);
            let mapped = |gpa: u64| {
                let holds = |mapping: &Mapping| {
                    (mapping.phys..mapping.phys + mapping.bytes).contains(&gpa)
                };
                region.image.contains(&gpa) || mappings.iter().any(holds)
            };
            prop_assert!(!mapped(region.image.end));
                prop_assert!(!mapped(region.heap.end));
                for (range, _, name) in region.per_cpu_parts().take(12) {
                    if name.contains("stack") {
                        prop_assert!(!mapped(range.start - PAGE), "below {}", name);
                    }
                }
            }

            #[test]
            fn all_of_the_guests_memory_is_mapped((region, machine) in any_region()) {
                let mappings = region.mappings(&machine);
                for range in machine.ram() {
                    for gpa in [range.start, range.end - 1] {
    let found = mappings.iter().any(|mapping| {
                            mapping.virt.wrapping_sub(mapping.phys) == GUEST_VA
                                && (mapping.phys..mapping.phys + mapping.bytes).contains(&gpa)
                        });
                        prop_assert!(found, "{:#x}", gpa);
                    }
                }
            }
        }
}
