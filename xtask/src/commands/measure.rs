// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask measure`: the launch digest that a report has to show.

use anyhow::Result;
use clap::Args;

use crate::cache::Cache;
use crate::failure::Failure;
use crate::hex::hex;
use crate::image::{self, EPYC_V4, Vmsas};
use crate::options::{MachineArgs, Platform};
use crate::{image_store, setup};

pub(crate) const ABOUT: &str = "Print the launch digest that an attestation report must show";
pub(crate) const LONG_ABOUT: &str = "\
Print the launch digest (SHA-384, in hexadecimal) of the image that `run` with the same options
loads. The firmware measures what is loaded and puts the digest into every attestation report, so
whoever knows the digest beforehand knows what runs.

Which vCPUs count depends on the host. The image holds the first vCPU's state, and a host that
follows it measures that one, as the emulator does. Linux with KVM measures a state for every vCPU,
at an address of its own: --vmsas kvm says what a report shows there.

Options that do not change the image (disks, network, traces, ...) do not change the digest.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask measure
  cargo xtask measure --cpus 4 --vmsas kvm
  cargo xtask measure --kernel vmlinuz --initrd initrd.img --append 'root=/dev/vda'";

/// Measures the image.
#[derive(Debug, Args)]
pub(crate) struct Measure {
    #[command(flatten)]
    pub(crate) machine: MachineArgs,

    /// Which vCPUs' states the host measures
    #[arg(long, value_enum, default_value_t)]
    pub(crate) vmsas: Vmsas,

    /// With --vmsas kvm: family, model and stepping of the host's processors, as CPUID shows them
    #[arg(long, value_name = "HEX", default_value_t = EPYC_V4, value_parser = hexadecimal)]
    pub(crate) signature: u32,
}

impl Measure {
    /// Measures; returns the status to end with.
    pub(crate) fn run(self) -> Result<i32> {
        self.machine.check()?;
        if self.machine.platform == Platform::None {
            return Err(
                Failure::usage("--platform none: a plain machine measures nothing")
                    .hint("leave --platform out")
                    .into(),
            );
        }
        setup::ensure_target()?;
        let machine = self.machine.resolve(&Cache::open()?)?;
        let binaries = machine.build()?;
        let igvm = image_store::image_placed(&machine, &binaries, self.vmsas)?;
        let measured = image::measure(&igvm, self.vmsas, machine.cpus, self.signature)?;
        println!("{}", hex(&measured.digest));
        eprintln!(
            "{} pages with their contents, {} by their place alone, and {}",
            measured.pages - measured.vmsas.len() as u64,
            measured.places,
            match measured.vmsas.len() {
                1 => "the first vCPU's state".to_owned(),
                count => format!("the states of all {count} vCPUs"),
            }
        );
        Ok(0)
    }
}

fn hexadecimal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text.trim_start_matches("0x"), 16)
        .map_err(|_| format!("`{text}` is no hexadecimal number"))
}
