// SPDX-License-Identifier: MIT OR Apache-2.0
//! Verifies what the guest's `attest` printed, and says in words what it checked.
//!
//! Everything in the file comes from the guest, so nothing in it is believed: the root of the
//! certificates, the launch digest, the VMPL and the nonce are the caller's. Certificates and
//! signatures are checked by the `sev` crate, which this project did not write. This is a program
//! of its own so that `cargo xtask` need not be built with that crate.
//!
//! | module | holds |
//! |---|---|
//! | `evidence` | the file: from text to bytes |
//! | `certificates` | the host's certificate table, and what the chip's certificate says of the chip |
//! | `manifest` | the services that the SVSM vouches for |
//! | `verify` | the checks, in order |
#![forbid(unsafe_code)]

mod certificates;
mod evidence;
mod hex;
mod manifest;
mod verify;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::evidence::Evidence;
use crate::verify::Expected;

/// The root of the emulated firmware's certificates. Everybody can have its private key.
const EMULATED_ROOT: &[u8] = include_bytes!("../../../emulator/keys/ark.der");

/// Status if the report does not hold.
const REFUSED: u8 = 1;
/// Status if the report could not be looked at.
const FAILED: u8 = 2;

/// Verify an attestation report that a guest fetched with `attest`
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  cargo xtask run -- attest > report.txt
  cargo run -p verify-report -- report.txt --digest $(cargo xtask measure)

The nonce is what shows that the report is not an old one. Choose it yourself:
  nonce=$(head -c 64 /dev/urandom | od -An -tx1 | tr -d ' \\n')
  cargo xtask run -- attest $nonce > report.txt
  cargo run -p verify-report -- report.txt --digest $(cargo xtask measure) --nonce $nonce

Status: 0 if all checks hold, 1 if one does not, 2 if the report can't be looked at.")]
struct Options {
    /// What `attest` printed; `-` is standard input
    file: PathBuf,

    /// The launch digest to find in the report: `cargo xtask measure` prints it
    #[arg(long, value_name = "HEX", value_parser = hex::array::<48>)]
    digest: [u8; 48],

    /// The privilege level to find in the report: 0 for the SVSM or for a guest alone
    #[arg(long, value_name = "VMPL", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..4))]
    vmpl: u32,

    /// What the guest was given to sign; zeros are added to 64 bytes, as `attest` does
    #[arg(long, value_name = "HEX", value_parser = hex::nonce)]
    nonce: Option<[u8; 64]>,

    /// The certificate (DER) of the root to trust instead of the emulator's, such as AMD's ARK
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(REFUSED),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

/// Says whether the report holds.
fn run(options: &Options) -> Result<bool> {
    let text = read(&options.file)?;
    let evidence = Evidence::parse(&text).context("this is not what `attest` prints")?;
    let own_root = match &options.root {
        Some(path) => {
            Some(std::fs::read(path).with_context(|| format!("reading {}", path.display()))?)
        }
        None => None,
    };
    let expected = Expected {
        root: own_root.as_deref().unwrap_or(EMULATED_ROOT),
        digest: options.digest,
        vmpl: options.vmpl,
        nonce: options.nonce,
    };
    let verdict = verify::verify(&evidence, &expected);
    for line in &verdict.held {
        println!("ok      {line}");
    }
    for line in &verdict.unchecked {
        println!("note    {line}");
    }
    if own_root.is_none() {
        println!(
            "note    the root is the emulator's, whose key everybody has: this proves how things work, \
             and nothing about a machine"
        );
    }
    match verdict.refused {
        None => {
            println!("The report holds.");
            Ok(true)
        }
        Some(reason) => {
            println!("REFUSED {reason:#}");
            Ok(false)
        }
    }
}

fn read(path: &Path) -> Result<String> {
    // Reports, certificates and manifests of any sort stay far below this.
    const LIMIT: u64 = 16 << 20;
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().take(LIMIT).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes))
    }
    .with_context(|| format!("reading {}", path.display()))?;
    String::from_utf8(bytes).context("the file is no text")
}
