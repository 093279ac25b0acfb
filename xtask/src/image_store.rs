// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images that were built already, by what they were built from: the second run of a machine
//! builds nothing, and two runs with different options do not disturb each other.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use anyhow::{Context as _, Result};

use crate::cache;
use crate::image::{self, ImageFiles, ImageOptions, Monitor, Payload, SvsmSize, VmsaPlace, Vmsas};
use crate::options::Machine;
use crate::run_folder::RunFolder;
use crate::workspace::{self, Binaries, Profile};

/// Images that are kept; the oldest go.
const KEPT: usize = 12;

/// What the image of `machine` is made from. It has no place yet.
fn options(machine: &Machine, binaries: &Binaries, vmsa: VmsaPlace) -> Result<ImageOptions> {
    let monitor = if machine.svsm {
        Monitor::Svsm {
            elf: binaries.file("parapet-snp")?.to_owned(),
            // Errors only, or all but the finest detail.
            log_level: match machine.profile {
                Profile::Release => 1,
                Profile::Debug => 4,
            },
        }
    } else {
        Monitor::None {
            shim: binaries.file("snp-shim")?.to_owned(),
        }
    };
    Ok(ImageOptions {
        monitor,
        payload: machine.payload(binaries)?,
        vcpus: machine.cpus,
        memory: machine.memory,
        vmsa,
        out: PathBuf::new(),
    })
}

/// The image of `machine`, built if it is not there.
pub(crate) fn image_for(machine: &Machine, binaries: &Binaries) -> Result<PathBuf> {
    image_of(options(machine, binaries, VmsaPlace::Memory)?)
}

/// The same for a host that measures `vmsas`.
pub(crate) fn image_placed(
    machine: &Machine,
    binaries: &Binaries,
    vmsas: Vmsas,
) -> Result<PathBuf> {
    let place = match vmsas {
        Vmsas::First => VmsaPlace::Memory,
        Vmsas::Kvm => VmsaPlace::Kvm,
    };
    image_of(options(machine, binaries, place)?)
}

/// What the SVSM of `machine` costs. The image is built for it.
pub(crate) fn svsm_size(machine: &Machine, binaries: &Binaries) -> Result<Option<SvsmSize>> {
    let mut options = options(machine, binaries, VmsaPlace::Memory)?;
    let folder = RunFolder::create()?;
    options.out = folder.path().join("image.igvm");
    Ok(image::build(&options)?.svsm)
}

fn image_of(mut options: ImageOptions) -> Result<PathBuf> {
    let folder = workspace::target_folder().join("parapet-images");
    let path = folder.join(format!("{}.igvm", key(&options)?));
    if path.exists() {
        // Its time says when it was last of use.
        if let Ok(file) = fs::File::options().append(true).open(&path) {
            let _ = file.set_modified(SystemTime::now());
        }
        return Ok(path);
    }
    let step = crate::progress::Step::start("building the image");
    options.out = path;
    let ImageFiles { igvm, .. } = image::build(&options)?;
    step.done();
    remove_oldest(&folder)?;
    Ok(igvm)
}

/// Names all that an image depends on.
fn key(options: &ImageOptions) -> Result<String> {
    let mut parts: Vec<Vec<u8>> = vec![format!("{options:?}").into_bytes()];
    // The builder itself.
    parts.push(builder_stamp()?);
    match &options.monitor {
        Monitor::Svsm { elf, .. } => parts.push(content(elf)?),
        Monitor::None { shim } => parts.push(content(shim)?),
    }
    match &options.payload {
        Payload::Linux {
            kernel, initramfs, ..
        } => {
            parts.push(stamp(kernel)?);
            if let Some(initramfs) = initramfs {
                parts.push(stamp(initramfs)?);
            }
        }
        Payload::Elf { path, .. } => parts.push(content(path)?),
    }
    let key = cache::sha256_parts(parts.iter().map(Vec::as_slice));
    Ok(key[..32].to_owned())
}

fn content(path: &Path) -> Result<Vec<u8>> {
    Ok(cache::sha256_of(path)?.into_bytes())
}

/// Changes when the image builder does, which is a part of this program; as it was at the start.
fn builder_stamp() -> Result<Vec<u8>> {
    static STAMP: OnceLock<Vec<u8>> = OnceLock::new();
    match STAMP.get() {
        Some(stamp) => Ok(stamp.clone()),
        None => {
            let fresh = stamp(workspace::this_program()?)?;
            Ok(STAMP.get_or_init(|| fresh).clone())
        }
    }
}

/// Changes when the file does: its length and its time.
fn stamp(path: &Path) -> Result<Vec<u8>> {
    let data = fs::metadata(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(format!("{} {:?}", data.len(), data.modified()?).into_bytes())
}

fn remove_oldest(folder: &Path) -> Result<()> {
    let mut images = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|name| name == "igvm") {
            images.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    images.sort();
    let excess = images.len().saturating_sub(KEPT);
    for (_, path) in images.into_iter().take(excess) {
        // Another run may have removed it first.
        let _ = fs::remove_file(&path);
        let _ = fs::remove_file(path.with_extension("map"));
    }
    Ok(())
}
