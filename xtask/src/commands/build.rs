// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask build`: writes the image and what belongs to it into `out/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::cache::Cache;
use crate::failure::Failure;
use crate::image_store;
use crate::options::{MachineArgs, Platform};
use crate::workspace;
use crate::{cache, setup};

pub(crate) const ABOUT: &str = "Build the image, and say what lies where in it";
pub(crate) const LONG_ABOUT: &str = "\
Build the emulator, the SVSM, and an image in which the SVSM, the guest's kernel, initramfs and
command line, ACPI tables and page tables all lie at their final places.

Writes into out/ and prints the paths:
  parapet-snp.igvm   the image, as `run` loads it and as a host loads it
  parapet-snp.elf    the SVSM, with symbols
  parapet-snp.map    the table of what lies where
  emulator.elf       what QEMU starts

With --no-svsm the files are called snp-shim.*, after the shim that stands in for the SVSM.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask build
  cargo xtask build --cpus 4 --memory 4G --append 'mitigations=off'";

/// Builds the image.
#[derive(Debug, Args)]
pub(crate) struct Build {
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

impl Build {
    /// Builds; returns the status to end with.
    pub(crate) fn run(self) -> Result<i32> {
        self.machine.check()?;
        if self.machine.platform == Platform::None {
            return Err(
                Failure::usage("--platform none: a plain machine has no image")
                    .hint("leave --platform out")
                    .into(),
            );
        }
        setup::ensure_target()?;
        let machine = self.machine.resolve(&Cache::open()?)?;
        let binaries = machine.build()?;
        let image = image_store::image_for(&machine, &binaries)?;
        let out = workspace::out()?;
        let name = if machine.svsm {
            "parapet-snp"
        } else {
            "snp-shim"
        };
        for (from, to) in [
            (image.clone(), format!("{name}.igvm")),
            (image.with_extension("map"), format!("{name}.map")),
            (binaries.file(name)?.to_owned(), format!("{name}.elf")),
            (
                binaries.file("emulator")?.to_owned(),
                "emulator.elf".to_owned(),
            ),
        ] {
            println!("{}", shown(&put(&from, &out.join(to))?));
        }
        Ok(0)
    }
}

/// Copies a file unless the copy is there.
fn put(from: &Path, to: &Path) -> Result<PathBuf> {
    let content = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    if fs::read(to).ok().as_ref() != Some(&content) {
        cache::write_whole(to, &content)?;
    }
    Ok(to.to_owned())
}

/// The path as one would type it here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here)
        .unwrap_or(path)
        .display()
        .to_string()
}
