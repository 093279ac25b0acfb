// SPDX-License-Identifier: MIT OR Apache-2.0
//! The image builder: from a kernel, an initramfs, a command line and the SVSM to one IGVM file in
//! which everything lies at its final place, and the launch digest that follows from it.
//!
//! [`build`] writes the file and a map of what lies where; [`measure()`] says what the firmware
//! will say about it. The same inputs give the same bytes.
//!
//! | module | holds |
//! |---|---|
//! | `guest_memory` | which addresses are RAM, and the fixed places in low memory |
//! | `guest`, `boot_params`, `acpi` | what the guest finds when it starts |
//! | `page_tables`, `vmsa` | the state in which the first vCPU starts |
//! | `layout`, `with_svsm` | the SVSM's region, and the image with it |
//! | `without_svsm` | the image of a guest alone |
//! | `elf` | reading ELF files |
//! | `contents` | all pages of an image; refuses overlaps |
//! | `igvm`, `measure` | the file and its digest |
#![forbid(unsafe_code)]

mod acpi;
mod boot_params;
mod contents;
mod elf;
mod guest;
mod guest_memory;
mod igvm;
mod layout;
mod measure;
mod page_tables;
mod report;
mod vmsa;
mod with_svsm;
mod without_svsm;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use self::contents::Contents;
pub(crate) use self::guest::Payload;
use self::guest_memory::Machine;
pub(crate) use self::measure::{EPYC_V4, Measurement, Vmsas};

/// Guest policy (56860, 4.3): bit 17 is always set; SMT is allowed.
const POLICY: u64 = 0x3_0000;

/// What stands between host and guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Monitor {
    /// The SVSM at VMPL0, the guest at VMPL2.
    Svsm {
        /// The SVSM's ELF file.
        elf: PathBuf,
        /// What it logs: 0 nothing, 1 errors ... 5 everything.
        log_level: u8,
    },
    /// Nothing: the guest at VMPL0.
    None {
        /// The ELF file of the shim that validates the guest's memory and enters it.
        shim: PathBuf,
    },
}

/// Where the first vCPU's VMSA lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum VmsaPlace {
    /// In the machine's memory.
    #[default]
    Memory,
    /// Where KVM puts it, outside of all memory. QEMU refuses any other place.
    Kvm,
}

/// What goes into an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageOptions {
    /// SVSM or none.
    pub(crate) monitor: Monitor,
    /// The guest.
    pub(crate) payload: Payload,
    /// Number of vCPUs, 1 to 64.
    pub(crate) vcpus: u32,
    /// Bytes of guest memory, a multiple of 2 MiB.
    pub(crate) memory: u64,
    /// Where the first VMSA lies.
    pub(crate) vmsa: VmsaPlace,
    /// The file to write; the map goes beside it, with the extension `map`.
    pub(crate) out: PathBuf,
}

/// What the SVSM costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SvsmSize {
    /// Loadable bytes of its ELF file.
    pub(crate) loaded: u64,
    /// Bytes of memory that it keeps for itself, with page tables, stacks, tracker and heap.
    pub(crate) memory: u64,
}

/// What [`build`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageFiles {
    /// The image.
    pub(crate) igvm: PathBuf,
    /// The table of what lies where.
    pub(crate) map: PathBuf,
    /// What the SVSM costs, if there is one.
    pub(crate) svsm: Option<SvsmSize>,
    /// Whether the image had to be written; it did not where it was there already, byte for byte.
    pub(crate) written: bool,
}

/// Builds an image.
///
/// # Errors
/// A [`Failure`](crate::failure::Failure) with a hint where an option or a file is wrong.
pub(crate) fn build(options: &ImageOptions) -> Result<ImageFiles> {
    let machine = Machine::new(options.memory, options.vcpus)?;
    let mut contents = Contents::default();
    let (launch, svsm) = match &options.monitor {
        Monitor::Svsm { elf, log_level } => {
            let (launch, size) =
                with_svsm::place(&mut contents, &machine, options, elf, *log_level)?;
            (launch, Some(size))
        }
        Monitor::None { shim } => {
            let launch = without_svsm::place(&mut contents, &machine, options, shim)?;
            (launch, None)
        }
    };
    let file = igvm::write(&contents, &launch)?;
    let map = report::map(&contents, &launch, &machine, svsm);
    let map_path = options.out.with_extension("map");
    let written = write_if_new(&options.out, &file)?;
    write_if_new(&map_path, map.as_bytes())?;
    Ok(ImageFiles {
        igvm: options.out.clone(),
        map: map_path,
        svsm,
        written,
    })
}

/// Computes the launch digest of the image in `igvm` on a machine with `vcpus` vCPUs.
///
/// `signature` is family, model and stepping of its processors ([`EPYC_V4`] for example); it counts
/// with [`Vmsas::Kvm`] and more than one vCPU only.
///
/// # Errors
/// The file can't be read, or is no IGVM file for SEV-SNP.
pub(crate) fn measure(
    igvm: &Path,
    vmsas: Vmsas,
    vcpus: u32,
    signature: u32,
) -> Result<Measurement> {
    let file = std::fs::read(igvm).with_context(|| format!("can't read {}", igvm.display()))?;
    measure::measure(&file, vmsas, vcpus, signature)
}

/// Writes a file unless it has these bytes already; says whether it did. It is never seen half
/// written.
fn write_if_new(path: &Path, bytes: &[u8]) -> Result<bool> {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let fail = || format!("can't write {}", path.display());
    std::fs::create_dir_all(folder).with_context(fail)?;
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, bytes).with_context(fail)?;
    std::fs::rename(&unfinished, path).with_context(fail)?;
    Ok(true)
}

#[cfg(test)]
mod tests;
