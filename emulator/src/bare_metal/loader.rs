// SPDX-License-Identifier: MIT OR Apache-2.0
//! The launch: the image's directives, in the order of the file, become guest memory, RMP entries
//! and the firmware's launch digest, as QEMU and KVM do it.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use emulator::igvm::{Directive, Error, IdBlock, Image, PAGE_SIZE, Page, PageKind};
use emulator::snp::firmware::{Launch, Measured, Status, contents_digest};
use emulator::snp::rmp::HostError;
use emulator_defs::layout::SVSM_BASE;
use igvm_defs::{IGVM_VHS_MEMORY_MAP_ENTRY, MemoryMapEntryType};
use snp_defs::launch::KVM_VMSA_GPA;
use snp_defs::rmp::{Permissions, RmpSize};
use zerocopy::IntoBytes;

use crate::host::instructions::cpuid;
use crate::host::physical;
use crate::machine::{Machine, Order};
use crate::memory::backings::View;

/// No rights for VMPL1 to VMPL3, as KVM launches.
const NO_RIGHTS: [Permissions; 3] = [Permissions::empty(); 3];

/// Why an image can't be launched.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The file is wrong.
    Image(Error),
    /// A page is not in guest memory, or is loaded twice.
    Place(u64, HostError),
    /// The firmware refuses a page, or the launch as a whole (no address).
    Firmware(Option<u64>, Status),
    /// Memory that the image requires is not there.
    Memory(u64),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(error) => write!(f, "the image is wrong: {error}"),
            Self::Place(gpa, why) => {
                write!(f, "the image's page at {gpa:#x} can't be loaded: {why:?}")
            }
            Self::Firmware(Some(gpa), status) => {
                write!(f, "the firmware refuses the page at {gpa:#x}: {status:?}")
            }
            Self::Firmware(None, status) => {
                write!(f, "the firmware refuses the launch: {status:?}")
            }
            Self::Memory(gpa) => write!(f, "the image requires memory at {gpa:#x}: none is there"),
        }
    }
}

/// A launch in progress.
struct Loader<'a> {
    machine: &'static Machine,
    launch: Launch,
    /// Parameter areas by index.
    areas: Vec<(u32, Vec<u8>)>,
    /// The first vCPU's VMSA: where it lies.
    first: Option<u64>,
    id_block: Option<&'a IdBlock>,
}

/// Launches the image: afterwards vCPU 0 has the order to run its VMSA.
pub(crate) fn load(machine: &'static Machine, file: &[u8]) -> Result<(), Refused> {
    let image = Image::parse(file).map_err(Refused::Image)?;
    let launch = Launch::start(image.policy(), machine.config.seed)
        .map_err(|status| Refused::Firmware(None, status))?;
    let mut loader = Loader {
        machine,
        launch,
        areas: Vec::new(),
        first: None,
        id_block: None,
    };
    for directive in image.directives() {
        loader.apply(directive)?;
    }
    loader.finish()
}

impl<'a> Loader<'a> {
    fn apply(&mut self, directive: Directive<'a>) -> Result<(), Refused> {
        match directive {
            Directive::Page(page) => self.page(&page)?,
            Directive::ParameterArea {
                index,
                size,
                contents,
            } => {
                let mut area = vec![0; size];
                if let Some(contents) = contents {
                    let length = contents.len().min(size);
                    area[..length].copy_from_slice(&contents[..length]);
                }
                self.areas.push((index, area));
            }
            Directive::VpCount(place) => {
                let count = self.machine.config.cpus;
                self.write(place.index, place.offset, &count.to_le_bytes());
            }
            Directive::EnvironmentInfo(place) => {
                // Memory starts out private.
                self.write(place.index, place.offset, &[0; 4]);
            }
            Directive::MemoryMap(place) => self.memory_map(place.index, place.offset),
            Directive::ParameterInsert { gpa, index } => {
                let Some(at) = self.areas.iter().position(|(number, _)| *number == index) else {
                    return Ok(());
                };
                let (_, area) = self.areas.swap_remove(at);
                for (number, bytes) in area.chunks_exact(PAGE_SIZE).enumerate() {
                    let gpa = gpa + (number * PAGE_SIZE) as u64;
                    self.place(gpa, bytes, false)?;
                    self.measure(Measured::Unmeasured, gpa)?;
                }
            }
            Directive::RequiredMemory { gpa, size } => {
                let missing = (0..size / PAGE_SIZE as u64)
                    .map(|page| gpa + page * PAGE_SIZE as u64)
                    .find(|gpa| self.machine.memory.host(*gpa, View::Private).is_none());
                if let Some(gpa) = missing {
                    return Err(Refused::Memory(gpa));
                }
            }
            Directive::VpContext {
                gpa,
                vp_index,
                vmsa,
            } => self.context(gpa, vp_index, vmsa)?,
            Directive::IdBlock(block) => self.id_block = Some(block),
        }
        Ok(())
    }

    fn page(&mut self, page: &Page<'_>) -> Result<(), Refused> {
        const ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];
        let mut changed = ZEROS;
        let contents = page.contents.unwrap_or(&ZEROS);
        let contents = match &self.machine.hostile {
            None => contents,
            // The firmware fills in all others itself, or checks them.
            Some(hostile) if page.kind == PageKind::Normal => {
                hostile
                    .engine()
                    .image_page(page.gpa, contents, &mut changed)
            }
            Some(hostile) => {
                hostile.engine().placed(page.gpa);
                contents
            }
        };
        let measured = match page.kind {
            PageKind::Normal => Measured::Normal(contents_digest(contents)),
            PageKind::Zero => Measured::Zero,
            PageKind::Unmeasured => Measured::Unmeasured,
            PageKind::Secrets => Measured::Secrets,
            PageKind::Cpuid => Measured::Cpuid,
        };
        match page.kind {
            PageKind::Cpuid => {
                let mut table = self.machine.cpuid.page(&cpuid);
                if let Some(hostile) = &self.machine.hostile {
                    hostile.engine().cpuid_page(&mut table);
                }
                self.machine
                    .cpuid
                    .check(&cpuid, &mut table)
                    .map_err(|status| Refused::Firmware(Some(page.gpa), status))?;
                self.place(page.gpa, table.as_bytes(), false)?;
            }
            PageKind::Secrets => {
                let secrets = self.launch.secrets_page(cpuid(1, 0)[0]);
                self.place(page.gpa, secrets.as_bytes(), false)?;
            }
            _ => self.place(page.gpa, contents, false)?,
        }
        self.measure(measured, page.gpa)
    }

    fn measure(&mut self, measured: Measured, gpa: u64) -> Result<(), Refused> {
        self.launch
            .update(measured, gpa, NO_RIGHTS)
            .map_err(|status| Refused::Firmware(Some(gpa), status))
    }

    /// Makes a page private and validated, and writes it.
    fn place(&self, gpa: u64, contents: &[u8], vmsa: bool) -> Result<(), Refused> {
        let refused = |why| Refused::Place(gpa, why);
        let memory = &self.machine.memory;
        let host = memory
            .host(gpa, View::Private)
            .ok_or(refused(HostError::NotMemory))?;
        self.machine
            .rmp
            .launch(gpa, RmpSize::Size4K, NO_RIGHTS, vmsa)
            .map_err(refused)?;
        physical::write(host, contents);
        Ok(())
    }

    fn context(&mut self, gpa: u64, vp_index: u16, vmsa: &[u8; PAGE_SIZE]) -> Result<(), Refused> {
        let digest = contents_digest(vmsa);
        if gpa == KVM_VMSA_GPA {
            self.launch.update_vmsa(digest);
        } else {
            self.measure(Measured::Vmsa(digest), gpa)?;
        }
        // All others are started by AP creation.
        if gpa != KVM_VMSA_GPA || vp_index == 0 {
            self.place(gpa, vmsa, true)?;
        }
        if vp_index == 0 {
            self.first = Some(gpa);
        }
        Ok(())
    }

    fn write(&mut self, index: u32, offset: usize, bytes: &[u8]) {
        if let Some((_, area)) = self.areas.iter_mut().find(|(number, _)| *number == index)
            && let Some(place) = area.get_mut(offset..offset + bytes.len())
        {
            place.copy_from_slice(bytes);
        }
    }

    /// The guest's RAM, in order. The SVSM's region is no part of it.
    fn memory_map(&mut self, index: u32, offset: usize) {
        let pieces = self.machine.memory.pieces();
        let mut map: Vec<_> = pieces
            .iter()
            .filter(|piece| !piece.is_empty() && piece.start < SVSM_BASE)
            .map(|piece| IGVM_VHS_MEMORY_MAP_ENTRY {
                starting_gpa_page_number: piece.start / PAGE_SIZE as u64,
                number_of_pages: (piece.end - piece.start) / PAGE_SIZE as u64,
                entry_type: MemoryMapEntryType::MEMORY,
                flags: 0,
                reserved: 0,
            })
            .collect();
        if let Some(hostile) = &self.machine.hostile {
            hostile.engine().memory_map(&mut map);
        }
        self.write(index, offset, map.as_bytes());
    }

    fn finish(self) -> Result<(), Refused> {
        let digest = *self.launch.digest();
        let guest = self
            .launch
            .finish(self.id_block, [0; 32])
            .map_err(|status| Refused::Firmware(None, status))?;
        *self.machine.firmware.lock() = Some(guest);
        log::info!("launch digest {}", Hex(&digest));
        if let Some(gpa) = self.first {
            let vcpu = &self.machine.vcpus[0];
            *vcpu.levels[0].order.lock() = Some(Order::Create(gpa));
            vcpu.request(crate::machine::Request::ORDER);
        }
        Ok(())
    }
}

/// Bytes in hexadecimal.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
