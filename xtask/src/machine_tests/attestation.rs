// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attestation as the stock kernel's user space has it: reports through `/dev/sev-guest` and
//! configfs-tsm, each verified by the `sev` crate down to the emulated root, with the launch digest
//! that `cargo xtask measure` says.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha512};

use super::{Context, Guest, MachineTest, Outcome, seconds};
use crate::image::{self, EPYC_V4, Vmsas};
use crate::image_store;
use crate::options::Machine;
use crate::workspace::{Binaries, Profile, REPORT_PROGRAM, cargo};

pub(super) const TESTS: &[MachineTest] = &[
    MachineTest {
        name: "attestation::driver_alone",
        limit: seconds(120),
        run: |context| driver(context, false),
    },
    MachineTest {
        name: "attestation::driver_under_svsm",
        limit: seconds(120),
        run: |context| driver(context, true),
    },
    MachineTest {
        name: "attestation::configfs_alone",
        limit: seconds(120),
        run: configfs_alone,
    },
    MachineTest {
        name: "attestation::configfs_from_svsm",
        limit: seconds(120),
        run: configfs_from_svsm,
    },
];

/// What the guest asks to have signed.
fn nonce() -> [u8; 64] {
    core::array::from_fn(|index| (index as u8).wrapping_mul(37).wrapping_add(1))
}

/// The nonce as printf(1) takes it.
fn nonce_in_octal() -> String {
    nonce().iter().map(|byte| format!("\\{byte:03o}")).collect()
}

/// A report and what has to be true of it.
struct Evidence {
    report: Vec<u8>,
    certificates: Vec<u8>,
    data: Vec<u8>,
    vmpl: u32,
}

/// The bytes after `title` on a line of its own.
fn bytes_of(text: &str, title: &str) -> Result<Vec<u8>> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(title)?.strip_prefix(' '))
        .with_context(|| format!("the guest printed no `{title}`:\n{}", short(text)))?;
    let digits = line.trim();
    ensure!(digits.len().is_multiple_of(2), "`{title}` has half a byte");
    (0..digits.len())
        .step_by(2)
        .map(|at| {
            let pair = digits.get(at..at + 2).context("not hexadecimal")?;
            u8::from_str_radix(pair, 16).context("not hexadecimal")
        })
        .collect()
}

/// The beginning of each line.
fn short(text: &str) -> String {
    let lines = text.lines().take(20);
    lines
        .map(|line| line.chars().take(100).collect::<String>() + "\n")
        .collect()
}

/// Has the `sev` crate verify `evidence`, with the digest of the image of `machine`.
fn verify(context: &Context, machine: &Machine, evidence: &Evidence) -> Result<()> {
    let igvm = image_store::image_for(machine, &machine.build()?)?;
    let measured = image::measure(&igvm, Vmsas::First, machine.cpus, EPYC_V4)?;
    let folder = context.folder().join("evidence");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("report"), &evidence.report)?;
    fs::write(folder.join("certificates"), &evidence.certificates)?;
    fs::write(folder.join("data"), &evidence.data)?;
    fs::write(folder.join("measurement"), measured.digest)?;
    fs::write(folder.join("vmpl"), evidence.vmpl.to_string())?;
    let output = cargo()
        .args([
            "test",
            "--quiet",
            "--package",
            "xtask",
            "--test",
            "attestation",
            "--",
            "--ignored",
        ])
        .env("PARAPET_ATTESTATION", &folder)
        .output()
        .context("starting cargo")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && said.contains("1 passed"),
        "the report does not verify:\n{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// The machine of `guest` with one program more in its initramfs: the kernel unpacks one archive
/// after the other.
fn with_program(context: &Context, guest: &Guest, name: &str, program: &Path) -> Result<Machine> {
    let machine = context.machine(guest);
    let mut archive = fs::read(&machine.initrd)?;
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(crate::guest::initramfs::with_program(
        name,
        &fs::read(program)?,
    ));
    let initrd = context.folder().join("initramfs.cpio");
    fs::write(&initrd, archive)?;
    Ok(Machine { initrd, ..machine })
}

/// `/dev/sev-guest`: a report for the guest's own VMPL, the certificates, a derived key twice.
fn driver(context: &mut Context, svsm: bool) -> Result<Outcome> {
    let guest = Guest {
        svsm,
        ..Guest::default()
    };
    let binaries = Binaries::build(Profile::Release, Some(REPORT_PROGRAM))?;
    let program = binaries.file(REPORT_PROGRAM)?;
    let machine = with_program(context, &guest, "snp-report", program)?;
    let script = format!("printf '{}' | snp-report", nonce_in_octal());
    let finished = context.run_machine(machine.clone(), &guest.extras, &["sh", "-ec", &script])?;
    let text = finished.stdout_text();
    ensure!(
        finished.status() == Some(0),
        "snp-report ended with status {:?}: {}{}",
        finished.status(),
        short(&text),
        finished.stderr_text()
    );
    let keys: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("key "))
        .collect();
    match keys.as_slice() {
        [one, two] => ensure!(one == two, "a derived key changed from call to call"),
        _ => bail!("{} derived keys came, not 2", keys.len()),
    }
    ensure!(
        bytes_of(&text, "key")?.iter().any(|&byte| byte != 0),
        "the derived key is zero"
    );
    let evidence = Evidence {
        report: bytes_of(&text, "report")?,
        certificates: bytes_of(&text, "certificates")?,
        data: nonce().to_vec(),
        vmpl: if svsm { 2 } else { 0 },
    };
    verify(context, &machine, &evidence)?;
    Ok(Outcome::Passed)
}

/// A report through configfs-tsm; `prepare` chooses the provider.
fn configfs_script(prepare: &str, also: &str) -> String {
    format!(
        "r=/sys/kernel/config/tsm/report/test
         mkdir $r
         {prepare}
         printf '{}' >$r/inblob
         show() {{ printf '%s ' \"$1\"; xxd -p <\"$r/$2\" | tr -d '\\n'; echo; }}
         show report outblob
         show certificates auxblob
         {also}
         echo provider $(cat $r/provider)",
        nonce_in_octal()
    )
}

fn configfs_alone(context: &mut Context) -> Result<Outcome> {
    let guest = Guest {
        svsm: false,
        ..Guest::default()
    };
    let text = context.script(&guest, &configfs_script("", ""))?;
    ensure!(text.contains("provider sev_guest"), "{}", short(&text));
    let evidence = Evidence {
        report: bytes_of(&text, "report")?,
        certificates: bytes_of(&text, "certificates")?,
        data: nonce().to_vec(),
        vmpl: 0,
    };
    verify(context, &context.machine(&guest), &evidence)?;
    Ok(Outcome::Passed)
}

/// The SVSM answers: the report is VMPL0's, and binds the nonce to the manifest of its services
/// (58019, 7.1: report data is the SHA-512 of nonce and manifest).
fn configfs_from_svsm(context: &mut Context) -> Result<Outcome> {
    let guest = Guest::default();
    let script = configfs_script(
        "echo svsm >$r/service_provider",
        "show manifest manifestblob",
    );
    let text = context.script(&guest, &script)?;
    let manifest = bytes_of(&text, "manifest")?;
    let data = Sha512::new()
        .chain_update(nonce())
        .chain_update(&manifest)
        .finalize();
    let evidence = Evidence {
        report: bytes_of(&text, "report")?,
        certificates: bytes_of(&text, "certificates")?,
        data: data.to_vec(),
        vmpl: 0,
    };
    verify(context, &context.machine(&guest), &evidence)?;
    Ok(Outcome::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_by_their_title() {
        let text = "noise\nreport 00ff10\nkey 01\n";
        assert_eq!(bytes_of(text, "report").unwrap(), [0, 255, 16]);
        assert!(bytes_of(text, "manifest").is_err());
        assert!(bytes_of("report 0g", "report").is_err());
    }
}
