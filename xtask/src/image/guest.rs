// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's part of an image: kernel, initramfs, command line, ACPI tables and whatever else it
//! finds in memory when it starts, each at its final place.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use emulator_defs::layout;

use super::acpi;
use super::boot_params::{self, E820, Kernel, Parameters};
use super::contents::{Contents, PAGE, without};
use super::elf::Elf;
use super::guest_memory::{Machine, area};
use super::page_tables::{PageTables, Rights, Size};
use super::vmsa;
use crate::failure::Failure;

/// What runs as the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Payload {
    /// A stock Linux kernel.
    Linux {
        /// Its bzImage.
        kernel: PathBuf,
        /// Its initramfs.
        initramfs: Option<PathBuf>,
        /// Its command line.
        command_line: String,
    },
    /// A static ELF file, entered as Linux is: 64-bit mode, RSI = boot parameters, which have no
    /// kernel's header but memory map, RSDP, command line and `setup_data`.
    Elf {
        /// The file.
        path: PathBuf,
        /// Its command line.
        command_line: String,
    },
}

/// Where the guest starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    /// Instruction pointer.
    pub(crate) rip: u64,
    /// RSI: the boot parameters.
    pub(crate) rsi: u64,
    /// Stack pointer.
    pub(crate) rsp: u64,
    /// Root of the page tables.
    pub(crate) cr3: u64,
    /// Descriptor table.
    pub(crate) gdt: u64,
}

/// Puts the guest into the image. `svsm` is the size of the SVSM's region, if there is one.
pub(crate) fn place(
    contents: &mut Contents,
    machine: &Machine,
    payload: &Payload,
    svsm: Option<u64>,
) -> Result<Start> {
    let devices = acpi::Devices {
        second_serial: svsm.is_none(),
    };
    let tables = acpi::build(area::ACPI, machine, devices);
    ensure!(
        tables.bytes.len() as u64 <= area::ACPI_SIZE,
        "the ACPI tables are too large"
    );
    contents.load("ACPI tables", area::ACPI, &tables.bytes)?;
    contents.load("guest: descriptor table", area::GDT, &vmsa::gdt())?;
    // The first 512 GiB at their own addresses: the guest builds finer tables at once.
    let mut page_tables = PageTables::new(area::PAGE_TABLES);
    page_tables.map(0, 0, 512 * layout::GIB, Size::Giant, Rights::ALL)?;
    contents.load(
        "guest: page tables",
        area::PAGE_TABLES,
        &page_tables.to_bytes(),
    )?;
    contents.load(
        "guest: setup_data",
        area::SETUP_DATA,
        &boot_params::setup_data(),
    )?;
    contents.zeros("guest: stack", area::STACK, area::STACK_SIZE)?;

    let memory_map = memory_map(machine, svsm);
    let mut parameters = Parameters {
        kernel: None,
        initramfs: None,
        rsdp: tables.rsdp,
        e820: &memory_map,
    };
    let (rip, command_line) = match payload {
        Payload::Linux {
            kernel,
            initramfs,
            command_line,
        } => {
            let kernel = Kernel::read(kernel)?;
            kernel.check_room(machine)?;
            contents.load("kernel", kernel.address, &kernel.code)?;
            if let Some(path) = initramfs {
                parameters.initramfs = Some(place_initramfs(contents, machine, &kernel, path)?);
            }
            let text = boot_params::command_line(command_line, Some(&kernel))?;
            contents.load(
                "boot parameters",
                area::BOOT_PARAMS,
                &Parameters {
                    kernel: Some(&kernel),
                    ..parameters
                }
                .to_page(),
            )?;
            (kernel.entry(), text)
        }
        Payload::Elf { path, command_line } => {
            contents.load("boot parameters", area::BOOT_PARAMS, &parameters.to_page())?;
            let rip = place_elf(contents, machine, path)?;
            (rip, boot_params::command_line(command_line, None)?)
        }
    };
    contents.load("command line", area::COMMAND_LINE, &command_line)?;
    Ok(Start {
        rip,
        rsi: area::BOOT_PARAMS,
        rsp: area::STACK + area::STACK_SIZE,
        cr3: area::PAGE_TABLES,
        gdt: area::GDT,
    })
}

fn place_initramfs(
    contents: &mut Contents,
    machine: &Machine,
    kernel: &Kernel,
    path: &Path,
) -> Result<(u64, u64)> {
    let bytes = std::fs::read(path).map_err(|error| {
        Failure::usage(format!(
            "can't read the initramfs {}: {error}",
            path.display()
        ))
        .hint("--initrd wants the path of a file, such as /boot/initrd.img-VERSION")
    })?;
    let size = bytes.len() as u64;
    let address = kernel.place_initramfs(size, machine)?;
    contents.load("initramfs", address, &bytes)?;
    Ok((address, size))
}

fn place_elf(contents: &mut Contents, machine: &Machine, path: &Path) -> Result<u64> {
    let elf = Elf::read(path)?;
    for segment in &elf.segments {
        let end = segment.load_address + segment.pages().end - segment.address;
        if segment.load_address < area::PAYLOAD || end > machine.low_end() {
            let low = area::PAYLOAD / layout::MIB;
            return Err(
                Failure::usage(format!("{} does not lie in guest memory", path.display()))
                    .hint(format!(
                        "link it to an address between {low} MiB and the end of low memory"
                    ))
                    .into(),
            );
        }
        contents.load("bare-metal guest", segment.load_address, &segment.bytes)?;
        let loaded = (segment.bytes.len() as u64).next_multiple_of(PAGE);
        let zeros = end - segment.load_address - loaded;
        contents.zeros(
            "bare-metal guest: zeros",
            segment.load_address + loaded,
            zeros,
        )?;
    }
    Ok(elf.entry)
}

/// The memory map that the guest gets: its RAM, what in it is taken, and what else lies around.
fn memory_map(machine: &Machine, svsm: Option<u64>) -> Vec<(u64, u64, E820)> {
    let mut map = Vec::new();
    // To the kernel the first MiB ends with video memory and ROMs, though part of that range is RAM.
    let ram = without(&machine.ram(), std::slice::from_ref(&layout::ISA_RANGE));
    for range in ram {
        if range.start == area::BASE {
            let end = machine.area_end();
            map.push((area::ACPI, area::ACPI_END - area::ACPI, E820::Acpi));
            map.push((area::ACPI_END, end - area::ACPI_END, E820::Reserved));
            map.push((end, range.end - end, E820::Ram));
        } else {
            map.push((range.start, range.end - range.start, E820::Ram));
        }
    }
    let (ecam, ecam_size) = acpi::ECAM;
    map.push((ecam, ecam_size, E820::Reserved));
    if let Some(size) = svsm {
        map.push((layout::SVSM_BASE, size, E820::Reserved));
    }
    map.sort_by_key(|entry| entry.0);
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_map_is_ascending_and_leaves_the_hole_out() {
        for memory in [256 * layout::MIB, 2 * layout::GIB, 8 * layout::GIB] {
            let machine = Machine::new(memory, 4).unwrap();
            let map = memory_map(&machine, Some(2 * layout::MIB));
            assert!(
                map.windows(2)
                    .all(|pair| pair[0].0 + pair[0].1 <= pair[1].0),
                "{map:x?}"
            );
            let hole = layout::ISA_RANGE;
            assert!(
                map.iter()
                    .all(|(base, size, _)| base + size <= hole.start || *base >= hole.end)
            );
            let free: u64 = map
                .iter()
                .filter(|entry| entry.2 == E820::Ram)
                .map(|entry| entry.1)
                .sum();
            let taken = machine.area_end() - hole.start;
            assert_eq!(free, memory - taken);
            assert!(map.iter().all(|(_, size, _)| *size > 0), "{map:x?}");
        }
    }
}
