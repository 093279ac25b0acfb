// SPDX-License-Identifier: MIT OR Apache-2.0
//! The image without an SVSM: the guest at VMPL0, entered by the shim.

use std::path::Path;

use anyhow::{Result, ensure};
use snp_defs::launch::KVM_VMSA_GPA;
use snp_shim::{BootList, MAX_RANGES, SHIM_BASE, SHIM_SIZE};
use zerocopy::{FromZeros, IntoBytes};

use super::contents::{Contents, Kind, PAGE, without};
use super::elf::Elf;
use super::guest_memory::{Machine, area};
use super::igvm::Launch;
use super::vmsa::{self, Entry};
use super::{ImageOptions, POLICY, VmsaPlace, guest};

/// Puts everything into the image.
pub(crate) fn place(
    contents: &mut Contents,
    machine: &Machine,
    options: &ImageOptions,
    shim: &Path,
) -> Result<Launch> {
    let shim = Elf::read(shim)?;
    for segment in &shim.segments {
        let room = SHIM_BASE..=SHIM_BASE + SHIM_SIZE;
        let pages = segment.pages();
        ensure!(
            room.contains(&pages.start) && room.contains(&pages.end),
            "the shim is not linked to {SHIM_BASE:#x}"
        );
        let mut bytes = segment.bytes.clone();
        bytes.resize(segment.size as usize, 0);
        contents.load("shim", segment.address, &bytes)?;
    }
    let start = guest::place(contents, machine, &options.payload, None)?;
    contents.filled_by_loader("secrets page", area::SECRETS, Kind::Secrets)?;
    contents.filled_by_loader("CPUID page", area::CPUID, Kind::Cpuid)?;

    let ram = machine.ram();
    let mut loaded = contents.runs(0..u64::MAX);
    loaded.push(area::SHIM_LIST..area::SHIM_LIST + PAGE);
    let vmsa_gpa = match options.vmsa {
        VmsaPlace::Memory => {
            loaded.push(area::VMSA..area::VMSA + PAGE);
            contents.name("first vCPU's VMSA", area::VMSA, PAGE);
            area::VMSA
        }
        VmsaPlace::Kvm => KVM_VMSA_GPA,
    };
    loaded.sort_by_key(|range| range.start);
    let unvalidated = without(&ram, &loaded);
    ensure!(
        unvalidated.len() <= MAX_RANGES,
        "the guest's memory is too scattered for the shim"
    );
    let mut list = BootList::new_zeroed();
    list.entry = start.rip;
    list.count = unvalidated.len() as u64;
    for (slot, range) in list.ranges.iter_mut().zip(&unvalidated) {
        slot.base = range.start;
        slot.size = range.end - range.start;
    }
    contents.load("shim: memory to validate", area::SHIM_LIST, list.as_bytes())?;

    let entry = Entry {
        rip: shim.entry,
        rsp: start.rsp,
        rdi: area::SHIM_LIST,
        rsi: start.rsi,
        cr3: start.cr3,
        gdt: Some(start.gdt),
        features: 0,
    };
    let vmsa = vmsa::boot(&entry);
    Ok(Launch {
        policy: POLICY,
        memory_map: None,
        required: Vec::new(),
        vmsa_gpa,
        vmsa,
        svsm: false,
    })
}
