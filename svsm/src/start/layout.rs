// SPDX-License-Identifier: MIT OR Apache-2.0
//! The launch page held against itself. It is measured, so that a mistake here is one of the
//! image builder's; but what comes later relies on it.
#![forbid(unsafe_code)]

use super::StartError;
use crate::log::LAST_REGISTER;
use crate::memory::{Frame, PAGE, Page, PageSize};
use svsm_launch::{
    GUEST_MAX, LaunchInfo, MAGIC, MAX_VCPUS, REGION_MAX, Range, VERSION, per_cpu, tracker,
};

/// Privilege levels that a guest may have: all but the SVSM's own, which is 0.
const GUEST_LEVELS: core::ops::RangeInclusive<u32> = 1..=3;

/// Address behind the last byte of a range that was checked.
fn end(range: &Range) -> u64 {
    range.base.saturating_add(range.size)
}

fn is_page_range(range: &Range) -> bool {
    let page = PAGE as u64;
    range.base.is_multiple_of(page)
        && range.size.is_multiple_of(page)
        && (range.size == 0
            || range
                .base
                .checked_add(range.size - page)
                .and_then(Frame::new)
                .is_some())
}

fn holds(outer: &Range, inner: &Range) -> bool {
    outer.base <= inner.base && end(inner) <= end(outer)
}

fn used(ranges: &[Range]) -> impl Iterator<Item = &Range> + Clone {
    ranges.iter().filter(|range| range.size != 0)
}

/// Whether ranges are aligned, ascending and apart from each other.
fn in_order(ranges: &[Range]) -> bool {
    let pairs = used(ranges).zip(used(ranges).skip(1));
    ranges.iter().all(is_page_range) && pairs.into_iter().all(|(a, b)| end(a) <= b.base)
}

/// Checks what the rest of the start relies on.
pub(crate) fn check(launch: &LaunchInfo) -> Result<(), StartError> {
    let is = |holds: bool, what| {
        if holds {
            Ok(())
        } else {
            Err(StartError::Layout(what))
        }
    };
    is(
        launch.magic == MAGIC && launch.version == VERSION,
        "another version",
    )?;
    is((1..=MAX_VCPUS).contains(&launch.vcpus), "number of vCPUs")?;

    let region = &launch.region;
    is(is_page_range(region) && region.size <= REGION_MAX, "region")?;
    for (range, what) in [
        (&launch.image, "image"),
        (&launch.page_tables, "page tables"),
        (&launch.per_cpu, "CPU blocks"),
        (&launch.shared, "shared pages"),
        (&launch.tracker, "tracker"),
        (&launch.heap, "heap"),
        (&launch.host_memory_map, "host memory map"),
    ] {
        is(
            is_page_range(range) && (range.size == 0 || holds(region, range)),
            what,
        )?;
    }
    let page_at = |base| Range {
        base,
        size: PAGE as u64,
    };
    for (gpa, what) in [
        (launch.cpuid_page, "CPUID page"),
        (launch.secrets_page, "secrets page"),
    ] {
        is(
            is_page_range(&page_at(gpa)) && holds(region, &page_at(gpa)),
            what,
        )?;
    }
    let vcpus = u64::from(launch.vcpus);
    is(launch.per_cpu.size / per_cpu::SIZE >= vcpus, "CPU blocks")?;
    // One page for each CPU's copies and one for the first vCPU.
    is(launch.heap.size / PAGE as u64 > vcpus, "heap")?;

    let memory = &launch.guest_memory;
    is(
        in_order(memory) && used(memory).all(|range| end(range) <= GUEST_MAX),
        "guest memory",
    )?;
    is(
        used(memory).all(|range| end(range) <= region.base || end(region) <= range.base),
        "region",
    )?;
    is(launch.tracker.size >= tracker::bytes(memory), "tracker")?;
    is(in_order(&launch.preloaded), "preloaded ranges")?;
    let in_memory = |inner: &Range| used(memory).any(|range| holds(range, inner));
    is(used(&launch.preloaded).all(in_memory), "preloaded ranges")?;

    is(
        launch.log_port.checked_add(LAST_REGISTER).is_some(),
        "log port",
    )?;

    let guest = &launch.guest;
    // At the SVSM's own the guest would keep all keys, and its rights would be the SVSM's.
    is(GUEST_LEVELS.contains(&guest.vmpl), "guest's VMPL")?;
    let areas = &guest.calling_areas;
    is(
        is_page_range(areas) && areas.size / PAGE as u64 >= vcpus,
        "calling areas",
    )?;
    is(in_memory(areas), "calling areas")?;
    for (gpa, what) in [
        (guest.secrets_page, "guest's secrets page"),
        (guest.cpuid_page, "guest's CPUID page"),
    ] {
        is(
            is_page_range(&page_at(gpa)) && in_memory(&page_at(gpa)),
            what,
        )?;
    }
    Ok(())
}

/// The pages of a range, as large as they can be.
pub(crate) fn pages(range: Range) -> impl Iterator<Item = Page> {
    let mut at = range.base;
    let end = end(&range);
    core::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let large = Page::new(at, PageSize::Size2M).filter(|page| page.end() <= end);
        let page = large.or_else(|| Page::new(at, PageSize::Size4K))?;
        at = page.end();
        Some(page)
    })
}

/// The guest's memory that the image does not fill.
pub(crate) fn empty_ranges(launch: &LaunchInfo) -> impl Iterator<Item = Range> {
    used(&launch.guest_memory).flat_map(|memory| {
        let mut at = memory.base;
        let loaded = used(&launch.preloaded).filter(|range| holds(memory, range));
        let gaps = loaded.map(move |range| {
            let gap = Range {
                base: at,
                size: range.base - at,
            };
            at = end(range);
            gap
        });
        let last = used(&launch.preloaded)
            .filter(|range| holds(memory, range))
            .last();
        let rest = last.map_or(memory.base, end);
        gaps.chain([Range {
            base: rest,
            size: end(memory) - rest,
        }])
    })
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::testing::sample_launch_page as sample;
    use std::vec::Vec;

    const MIB: u64 = 1 << 20;

    fn range(base: u64, end: u64) -> Range {
        Range {
            base,
            size: end - base,
        }
    }

    #[test]
    fn the_sample_is_right() {
        assert_eq!(check(&sample()), Ok(()));
    }

    #[test]
    fn each_mistake_is_found() {
        type Mistake = (&'static str, fn(&mut LaunchInfo));
        let mistakes: &[Mistake] = &[
            ("another version", |l| l.magic[0] ^= 1),
            ("another version", |l| l.version += 1),
            ("number of vCPUs", |l| l.vcpus = 0),
            ("number of vCPUs", |l| l.vcpus = MAX_VCPUS + 1),
            ("region", |l| l.region.size += 1),
            ("region", |l| l.region.size = REGION_MAX + 0x1000),
            ("image", |l| l.image.base -= 0x1000),
            ("heap", |l| l.heap.base = u64::MAX - 0xFFF),
            ("heap", |l| l.heap.size = 0x2000),
            ("CPU blocks", |l| l.per_cpu.size = per_cpu::SIZE),
            ("shared pages", |l| l.shared.size = 2 * MIB),
            ("tracker", |l| l.tracker.size = 0x200),
            ("CPUID page", |l| l.cpuid_page = 0x1000),
            ("secrets page", |l| l.secrets_page += 8),
            ("guest memory", |l| l.guest_memory.swap(0, 1)),
            ("guest memory", |l| l.guest_memory[1].base -= 0x7_0000),
            ("guest memory", |l| {
                l.guest_memory[2].size = u64::MAX - 0xFFF
            }),
            // Its last page would be mapped where the region is.
            ("guest memory", |l| {
                l.guest_memory[3] = range(GUEST_MAX - 0x1000, GUEST_MAX + 0x1000)
            }),
            ("guest's VMPL", |l| l.guest.vmpl = 0),
            ("guest's VMPL", |l| l.guest.vmpl = 4),
            // As a byte it would be 2.
            ("guest's VMPL", |l| l.guest.vmpl = 0x102),
            ("log port", |l| l.log_port = 0xFFF9),
            ("region", |l| {
                l.guest_memory[3] = range(l.region.base - 0x1000, l.region.base + 0x1000)
            }),
            ("preloaded ranges", |l| l.preloaded[0].base = 0x9_F000),
            ("preloaded ranges", |l| l.preloaded.swap(0, 1)),
            ("preloaded ranges", |l| l.preloaded[1].size += 0x800),
            ("calling areas", |l| l.guest.calling_areas.size = 0x1000),
            ("calling areas", |l| l.guest.calling_areas.base = 0xA_0000),
            ("guest's secrets page", |l| {
                l.guest.secrets_page = l.region.base
            }),
            ("guest's CPUID page", |l| l.guest.cpuid_page = 0x3_1008),
        ];
        for (index, (what, mistake)) in mistakes.iter().enumerate() {
            let mut launch = sample();
            mistake(&mut launch);
            assert_eq!(
                check(&launch),
                Err(StartError::Layout(what)),
                "mistake {index}"
            );
        }
    }

    #[test]
    fn pages_are_as_large_as_can_be() {
        let sizes = |range| {
            pages(range)
                .map(|page| (page.gpa(), page.size()))
                .collect::<Vec<_>>()
        };
        assert!(sizes(range(0, 0)).is_empty());
        let middle = sizes(range(2 * MIB - 0x1000, 4 * MIB + 0x2000));
        assert_eq!(
            middle,
            [
                (2 * MIB - 0x1000, PageSize::Size4K),
                (2 * MIB, PageSize::Size2M),
                (4 * MIB, PageSize::Size4K),
                (4 * MIB + 0x1000, PageSize::Size4K),
            ]
        );
    }

    #[test]
    fn empty_and_preloaded_are_all_of_the_memory() {
        let launch = sample();
        let mut all: Vec<Range> = empty_ranges(&launch)
            .filter(|range| range.size != 0)
            .collect();
        assert_eq!(
            all,
            [
                range(0, 0x1_0000),
                range(0x2_0000, 0xA_0000),
                range(MIB, 4 * MIB),
                range(9 * MIB + 0x3000, 16 * MIB),
                range(4096 * MIB + 0x1000, 4104 * MIB),
            ]
        );
        all.extend(used(&launch.preloaded));
        let sum = |ranges: &[Range]| ranges.iter().map(|range| range.size).sum::<u64>();
        assert_eq!(sum(&all), sum(&launch.guest_memory));
    }
}
