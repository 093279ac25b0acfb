// SPDX-License-Identifier: MIT OR Apache-2.0
//! The options that describe a machine, shared by the commands that build, run or measure one.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, ValueEnum};
use emulator_defs::layout;

use crate::cache::Cache;
use crate::failure::Failure;
use crate::guest::initramfs;
use crate::guest::kernel::{self, GuestKernel};
use crate::image::Payload;
use crate::size::MemorySize;
use crate::workspace::{Binaries, Profile};

/// What every guest's command line begins with. `quiet` because each character on the console
/// costs the guest an exit; a panic ends the run instead of hanging it. Without `pci=lastbus` Linux
/// looks for peer bridges on all 256 buses, port by port: 16,000 VMGEXITs. Bridges that ACPI
/// names are found all the same.
pub(crate) const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 pci=lastbus=0";

/// The security machine under the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Platform {
    /// AMD SEV-SNP: the SVSM at VMPL0, the guest at VMPL2
    Snp,
    /// QEMU's own machine with the same kernel, to compare with
    None,
}

/// What the measured image is made from.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Machine")]
pub(crate) struct MachineArgs {
    /// The security machine that is emulated
    #[arg(long, value_enum, default_value = "snp")]
    pub(crate) platform: Platform,

    /// Number of vCPUs
    ///
    /// Two by default: enough to show that several work, and no more than the smallest machines
    /// have cores, so that all of them really run at once.
    #[arg(
        long,
        value_name = "N",
        default_value = "2",
        allow_negative_numbers = true
    )]
    pub(crate) cpus: i64,

    /// Memory of the guest, like 512M or 2G
    #[arg(long, value_name = "SIZE", default_value = "2G")]
    pub(crate) memory: MemorySize,

    /// Kernel to boot, a bzImage [default: Debian's newest 6.12 cloud kernel, fetched once]
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: Option<PathBuf>,

    /// Modules of that kernel, a lib/modules/VERSION folder [default: looked for beside the kernel
    /// and in /lib/modules]
    #[arg(long, value_name = "FOLDER", requires = "kernel")]
    pub(crate) modules: Option<PathBuf>,

    /// Initial RAM disk [default: busybox and the modules that the checks need]
    ///
    /// With one of your own, COMMAND works only if its init does what the default one does: see
    /// xtask/src/guest/init.sh.
    #[arg(long, value_name = "FILE")]
    pub(crate) initrd: Option<PathBuf>,

    /// Words to add to the kernel's command line, which begins with
    /// `console=ttyS0 quiet panic=-1 pci=lastbus=0`
    #[arg(
        long,
        value_name = "STR",
        default_value = "",
        allow_hyphen_values = true
    )]
    pub(crate) append: String,

    /// Run the guest alone, at VMPL0, without the SVSM
    #[arg(long)]
    pub(crate) no_svsm: bool,

    /// The SVSM as it is shipped: small and quiet (the default)
    #[arg(long, overrides_with = "debug")]
    pub(crate) release: bool,

    /// The SVSM with assertions, overflow checks and a talkative log; measures otherwise
    #[arg(long)]
    pub(crate) debug: bool,
}

/// A machine whose options have been checked and whose files are there.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// Number of vCPUs.
    pub(crate) cpus: u32,
    /// Bytes of guest memory.
    pub(crate) memory: u64,
    /// The guest's kernel.
    pub(crate) kernel: GuestKernel,
    /// The guest's initramfs.
    pub(crate) initrd: PathBuf,
    /// The kernel's command line.
    pub(crate) command_line: String,
    /// The package of a bare-metal guest that runs in the kernel's place.
    pub(crate) bare_metal: Option<&'static str>,
    /// The security machine under it.
    pub(crate) platform: Platform,
    /// Is the SVSM there?
    pub(crate) svsm: bool,
    /// How the binaries are built.
    pub(crate) profile: Profile,
}

impl Machine {
    /// What the guest boots, for the image builder.
    pub(crate) fn payload(&self, binaries: &Binaries) -> Result<Payload> {
        Ok(match self.bare_metal {
            None => Payload::Linux {
                kernel: self.kernel.image.clone(),
                initramfs: Some(self.initrd.clone()),
                command_line: self.command_line.clone(),
            },
            Some(package) => Payload::Elf {
                path: binaries.file(package)?.to_owned(),
                command_line: self.command_line.clone(),
            },
        })
    }

    /// Builds what the machine is made of.
    pub(crate) fn build(&self) -> Result<Binaries> {
        Binaries::build(self.profile, self.bare_metal)
    }
}

impl MachineArgs {
    /// Checks the numbers, without touching a file.
    pub(crate) fn check(&self) -> Result<(u32, u64), Failure> {
        let MemorySize(memory) = self.memory;
        let cpus = match u32::try_from(self.cpus) {
            Ok(cpus) if (1..=layout::MAX_VCPUS).contains(&cpus) => cpus,
            _ => {
                return Err(Failure::usage(format!(
                    "--cpus {}: a guest has 1 to {} vCPUs",
                    self.cpus,
                    layout::MAX_VCPUS
                ))
                .hint("more vCPUs than this machine has cores work, but slowly"));
            }
        };
        let size = MemorySize;
        if memory < layout::MIN_GUEST_MEMORY {
            return Err(Failure::usage(format!(
                "--memory {}: too little, the kernel and its initramfs need {} at least",
                self.memory,
                size(layout::MIN_GUEST_MEMORY)
            ))
            .hint("2G is the default; memory that the guest does not touch costs this machine nothing"));
        }
        if memory > layout::MAX_GUEST_MEMORY {
            return Err(Failure::usage(format!(
                "--memory {}: too much, the emulator's tables are made for up to {}",
                self.memory,
                size(layout::MAX_GUEST_MEMORY)
            ))
            .hint("2G is the default"));
        }
        if !memory.is_multiple_of(2 * layout::MIB) {
            return Err(Failure::usage(format!(
                "--memory {}: not a multiple of 2M, the size of a large page",
                self.memory
            ))
            .hint("round it to a multiple of 2M"));
        }
        if self.append.contains(['\n', '\0']) {
            return Err(
                Failure::usage("--append: a command line has no line breaks")
                    .hint("put the words on one line"),
            );
        }
        Ok((cpus, memory))
    }

    /// Checks everything and finds, makes or fetches the files.
    pub(crate) fn resolve(&self, cache: &Cache) -> Result<Machine> {
        let (cpus, memory) = self.check()?;
        let kernel = match &self.kernel {
            Some(image) => kernel::given(image, self.modules.as_deref())?,
            None => kernel::default(cache)?,
        };
        let initrd = match &self.initrd {
            Some(file) => given_initrd(file)?,
            None => initramfs::default_for(&kernel, cache)?,
        };
        let command_line = [COMMAND_LINE, self.append.trim()]
            .join(" ")
            .trim_end()
            .to_owned();
        Ok(Machine {
            cpus,
            memory,
            kernel,
            initrd,
            command_line,
            bare_metal: None,
            platform: self.platform,
            svsm: !self.no_svsm && self.platform != Platform::None,
            profile: if self.debug {
                Profile::Debug
            } else {
                Profile::Release
            },
        })
    }
}

fn given_initrd(file: &Path) -> Result<PathBuf> {
    let shown = file.display();
    let failure = |why: String| {
        Failure::usage(format!("the initramfs {shown} {why}"))
            .hint("--initrd takes a cpio archive, compressed or not; without it, one is made")
    };
    let data =
        std::fs::metadata(file).map_err(|error| failure(format!("cannot be read: {error}")))?;
    if !data.is_file() {
        return Err(failure("is not a file".to_owned()).into());
    }
    if data.len() == 0 {
        return Err(failure("is empty".to_owned()).into());
    }
    Ok(std::path::absolute(file)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        machine: MachineArgs,
    }

    fn check(words: &[&str]) -> Result<(u32, u64), String> {
        let words = ["xtask"].iter().chain(words);
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        cli.machine.check().map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_defaults_are_two_of_each() {
        assert_eq!(check(&[]), Ok((2, 2 << 30)));
    }

    #[test]
    fn wrong_numbers_get_a_sentence() {
        assert_eq!(
            check(&["--cpus", "0"]).unwrap_err(),
            "--cpus 0: a guest has 1 to 64 vCPUs"
        );
        assert_eq!(
            check(&["--cpus", "-1"]).unwrap_err(),
            "--cpus -1: a guest has 1 to 64 vCPUs"
        );
        assert_eq!(
            check(&["--memory", "16M"]).unwrap_err(),
            "--memory 16M: too little, the kernel and its initramfs need 256M at least"
        );
        assert_eq!(
            check(&["--memory", "1T"]).unwrap_err(),
            "--memory 1T: too much, the emulator's tables are made for up to 64G"
        );
        assert!(
            check(&["--memory", "513M"])
                .unwrap_err()
                .contains("multiple of 2M")
        );
        assert!(
            check(&["--memory", "lots"])
                .unwrap_err()
                .contains("no size of memory")
        );
    }

    #[test]
    fn the_last_of_release_and_debug_wins() {
        let debug = |words: &[&str]| Cli::parse_from(["xtask"].iter().chain(words)).machine.debug;
        assert!(!debug(&[]));
        assert!(debug(&["--debug"]));
        assert!(!debug(&["--debug", "--release"]));
    }
}
