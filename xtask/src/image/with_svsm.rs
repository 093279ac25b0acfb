// SPDX-License-Identifier: MIT OR Apache-2.0
//! The image with the SVSM: at VMPL0, in a region of its own, on the page tables that lie in it; the
//! guest, which it enters at VMPL2, beside it.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use emulator_defs::layout::{SVSM_BASE, SVSM_MAX_SIZE};
use snp_defs::launch::KVM_VMSA_GPA;
use snp_defs::vmsa::sev_features;
use svsm_launch::{GuestStart, LaunchInfo, MAGIC, REGION_VA, VERSION, per_cpu, tracker};
use zerocopy::{FromZeros, IntoBytes};

use super::contents::{Contents, Kind, PAGE};
use super::elf::Elf;
use super::guest_memory::{Machine, area};
use super::igvm::Launch;
use super::layout::Region;
use super::page_tables::{PageTables, Rights, Size};
use super::vmsa::{self, Entry, GDT_LIMIT};
use super::{ImageOptions, POLICY, SvsmSize, VmsaPlace, guest};
use crate::failure::Failure;

/// The VMPL of the guest.
const GUEST_VMPL: u32 = 2;
/// The second serial port takes the SVSM's log.
const LOG_PORT: u16 = 0x2F8;

/// Puts everything into the image; returns too what the SVSM costs.
pub(crate) fn place(
    contents: &mut Contents,
    machine: &Machine,
    options: &ImageOptions,
    elf: &Path,
    log_level: u8,
) -> Result<(Launch, SvsmSize)> {
    let svsm = Elf::read(elf)?;
    check(&svsm).with_context(|| format!("{} is no SVSM", elf.display()))?;
    let image_size = svsm
        .segments
        .last()
        .map_or(0, |last| last.pages().end - REGION_VA);
    let guest_memory = to_ranges(&machine.ram()).context("the guest's memory is too scattered")?;
    let tracker_size = tracker::bytes(&guest_memory);
    let region = Region::new(SVSM_BASE, image_size, tracker_size, machine);
    let whole = region.whole();
    let size = whole.end - whole.start;
    ensure!(
        size <= SVSM_MAX_SIZE,
        "the SVSM's region is larger than {SVSM_MAX_SIZE:#x} bytes"
    );

    let start = guest::place(contents, machine, &options.payload, Some(size))?;
    contents.name(
        "guest: secrets page (filled by the SVSM)",
        area::SECRETS,
        PAGE,
    );
    contents.name("guest: CPUID page (filled by the SVSM)", area::CPUID, PAGE);
    let calling_areas = u64::from(machine.vcpus) * PAGE;
    contents.name("guest: calling areas", area::CALLING_AREAS, calling_areas);
    let preloaded = contents.runs(0..SVSM_BASE);

    load_image(contents, &region, &svsm)?;
    load_page_tables(contents, &region, machine, &svsm)?;
    contents.filled_by_loader("SVSM: CPUID page", region.cpuid.start, Kind::Cpuid)?;
    contents.filled_by_loader("SVSM: secrets page", region.secrets.start, Kind::Secrets)?;
    let (tracker, heap) = (&region.tracker, &region.heap);
    contents.zeros(
        "SVSM: page tracker",
        tracker.start,
        tracker.end - tracker.start,
    )?;
    contents.zeros("SVSM: heap", heap.start, heap.end - heap.start)?;
    // The host has these pages: they are no part of the image and are never validated.
    let mut unloaded = vec![region.shared.clone()];
    for (range, rights, name) in region.per_cpu_parts() {
        let cpu = (range.start - region.per_cpu.start) / per_cpu::SIZE;
        let name = format!("SVSM: CPU {cpu}, {name}");
        let bytes = range.end - range.start;
        let first_vmsa = range.start == region.vmsa(0) && options.vmsa == VmsaPlace::Memory;
        if rights.shared || first_vmsa {
            contents.name(&name, range.start, bytes);
        } else {
            contents.zeros(&name, range.start, bytes)?;
        }
        if rights.shared {
            unloaded.push(range);
        }
    }
    let shared = &region.shared;
    contents.name(
        "SVSM: pages for messages",
        shared.start,
        shared.end - shared.start,
    );
    let map = &region.host_memory_map;
    contents.name(
        "SVSM: the host's memory map",
        map.start,
        map.end - map.start,
    );

    let launch_info = LaunchInfo {
        magic: MAGIC,
        version: VERSION,
        vcpus: machine.vcpus,
        region: to_range(&whole),
        image: to_range(&region.image),
        page_tables: to_range(&region.page_tables),
        per_cpu: to_range(&region.per_cpu),
        shared: to_range(&region.shared),
        tracker: to_range(&region.tracker),
        heap: to_range(&region.heap),
        cpuid_page: region.cpuid.start,
        secrets_page: region.secrets.start,
        host_memory_map: to_range(&region.host_memory_map),
        guest_memory,
        preloaded: to_ranges(&preloaded).context("the guest's image is too scattered")?,
        guest: GuestStart {
            vmpl: GUEST_VMPL,
            secrets_page: area::SECRETS,
            cpuid_page: area::CPUID,
            calling_areas: svsm_launch::Range {
                base: area::CALLING_AREAS,
                size: calling_areas,
            },
            rip: start.rip,
            rsi: start.rsi,
            rsp: start.rsp,
            cr3: start.cr3,
            gdt_base: start.gdt,
            gdt_limit: GDT_LIMIT.into(),
            ..GuestStart::default()
        },
        log_port: LOG_PORT,
        log_level,
        ..LaunchInfo::new_zeroed()
    };
    contents.load(
        "SVSM: launch page",
        region.launch.start,
        launch_info.as_bytes(),
    )?;

    let stack = region.virt(region.per_cpu.start) + per_cpu::STACK + per_cpu::STACK_SIZE;
    let entry = Entry {
        rip: svsm.entry,
        rsp: stack,
        rdi: region.virt(region.launch.start),
        rsi: 0,
        cr3: region.page_tables.start,
        // Its segments are loaded already; it makes tables of its own before it loads others.
        gdt: None,
        features: sev_features::RESTRICTED_INJECTION,
    };
    let launch = Launch {
        policy: POLICY,
        memory_map: Some(region.host_memory_map.clone()),
        required: unloaded,
        vmsa_gpa: match options.vmsa {
            VmsaPlace::Memory => region.vmsa(0),
            VmsaPlace::Kvm => KVM_VMSA_GPA,
        },
        vmsa: vmsa::boot(&entry),
        svsm: true,
    };
    let loaded: u64 = contents
        .runs(whole)
        .iter()
        .map(|run| run.end - run.start)
        .sum();
    let others: u64 = launch
        .required
        .iter()
        .chain(&launch.memory_map)
        .map(|range| range.end - range.start)
        .sum();
    let first_vmsa = if options.vmsa == VmsaPlace::Memory {
        PAGE
    } else {
        0
    };
    let memory = loaded + others + first_vmsa;
    Ok((
        launch,
        SvsmSize {
            loaded: svsm.loaded_bytes(),
            memory,
        },
    ))
}

/// What the SVSM's ELF file must be like.
fn check(svsm: &Elf) -> Result<()> {
    let first = svsm.segments.first().map(|segment| segment.address);
    let hint = "build it with `cargo xtask build`";
    let refuse = |why: String| Err(Failure::usage(why).hint(hint).into());
    if first != Some(REGION_VA) {
        return refuse(format!("it is not linked to {REGION_VA:#x}"));
    }
    if let Some(both) = svsm
        .segments
        .iter()
        .find(|segment| segment.write && segment.execute)
    {
        return refuse(format!(
            "its part at {:#x} is writable and executable",
            both.address
        ));
    }
    let entered = |segment: &&super::elf::Segment| segment.pages().contains(&svsm.entry);
    if !svsm
        .segments
        .iter()
        .find(entered)
        .is_some_and(|segment| segment.execute)
    {
        return refuse("its entry point is not executable".into());
    }
    Ok(())
}

fn load_image(contents: &mut Contents, region: &Region, svsm: &Elf) -> Result<()> {
    for segment in &svsm.segments {
        let name = match (segment.execute, segment.write) {
            (true, _) => "SVSM: code",
            (_, true) => "SVSM: data",
            _ => "SVSM: constants",
        };
        let gpa = region.image.start + (segment.address - REGION_VA);
        let mut bytes = segment.bytes.clone();
        bytes.resize(segment.size as usize, 0);
        contents.load(name, gpa, &bytes)?;
    }
    Ok(())
}

fn load_page_tables(
    contents: &mut Contents,
    region: &Region,
    machine: &Machine,
    svsm: &Elf,
) -> Result<()> {
    let mut tables = PageTables::new(region.page_tables.start);
    for segment in &svsm.segments {
        let rights = Rights {
            write: segment.write,
            execute: segment.execute,
            ..Rights::READ
        };
        let pages = segment.pages();
        let gpa = region.image.start + (pages.start - REGION_VA);
        tables.map(
            pages.start,
            gpa,
            pages.end - pages.start,
            Size::Small,
            rights,
        )?;
    }
    for mapping in region.mappings(machine) {
        let (virt, phys) = (mapping.virt, mapping.phys);
        tables.map(virt, phys, mapping.bytes, mapping.size, mapping.rights)?;
    }
    let room = region.page_tables.end - region.page_tables.start;
    let mut bytes = tables.to_bytes();
    ensure!(
        bytes.len() as u64 <= room,
        "the SVSM's page tables are larger than planned"
    );
    bytes.resize(room as usize, 0);
    contents.load("SVSM: page tables", region.page_tables.start, &bytes)
}

fn to_range(range: &std::ops::Range<u64>) -> svsm_launch::Range {
    svsm_launch::Range {
        base: range.start,
        size: range.end - range.start,
    }
}

fn to_ranges<const N: usize>(ranges: &[std::ops::Range<u64>]) -> Result<[svsm_launch::Range; N]> {
    ensure!(
        ranges.len() <= N,
        "{} ranges, and {N} fit the launch page",
        ranges.len()
    );
    let mut all = [svsm_launch::Range::default(); N];
    for (slot, range) in all.iter_mut().zip(ranges) {
        *slot = to_range(range);
    }
    Ok(all)
}
