// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attestation as the stock kernel's user space has it: reports by `attest` over configfs-tsm and by
//! the ioctls of `/dev/sev-guest`, each verified by `verify-report` down to the emulated root, with
//! the launch digest that `cargo xtask measure` says.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use super::context::Finished;
use super::{Context, Guest, MachineTest, Outcome, seconds};
use crate::hex::hex;
use crate::image::{self, EPYC_V4, Vmsas};
use crate::image_store;
use crate::options::Machine;
use crate::workspace::{Binaries, Profile, REPORT_PROGRAM, cargo};

pub(super) const TESTS: &[MachineTest] = &[
    MachineTest {
        name: "attestation::measure_predicts",
        limit: seconds(360),
        run: measure_predicts,
    },
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
        name: "attestation::sev_guest_at_vmpl0",
        limit: seconds(120),
        run: sev_guest_at_vmpl0,
    },
    MachineTest {
        name: "attestation::svsm_report",
        limit: seconds(240),
        run: svsm_report,
    },
    MachineTest {
        name: "attestation::the_guest_gets_no_report_of_vmpl0",
        limit: seconds(240),
        run: no_report_of_vmpl0,
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

/// What the line that starts with `title` has after it.
fn value<'a>(text: &'a str, title: &str) -> Result<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(title)?.strip_prefix(' '))
        .map(str::trim)
        .with_context(|| format!("the guest printed no `{title}`:\n{}", short(text)))
}

/// The beginning of each line.
fn short(text: &str) -> String {
    let lines = text.lines().take(20);
    lines
        .map(|line| line.chars().take(100).collect::<String>() + "\n")
        .collect()
}

/// The launch digest of `machine`, as `cargo xtask measure` computes it.
fn measured(machine: &Machine) -> Result<String> {
    let igvm = image_store::image_for(machine, &machine.build()?)?;
    let measured = image::measure(&igvm, Vmsas::First, machine.cpus, EPYC_V4)?;
    Ok(hex(&measured.digest))
}

/// The launch digest that the emulator computed while it loaded the image.
fn logged(finished: &Finished) -> Result<String> {
    let log = fs::read_to_string(finished.ended.logs.join("emulator.log"))?;
    Ok(value(&log, "I launch digest")?.to_owned())
}

/// Has `verify-report` look at `evidence`, which a guest printed for `vmpl`. It has to hold, and to
/// be refused for another VMPL.
fn verify(context: &Context, machine: &Machine, evidence: &str, vmpl: u32) -> Result<()> {
    let file = context.folder().join("report.txt");
    fs::write(&file, evidence)?;
    let digest = measured(machine)?;
    let say = |vmpl: u32| -> Result<(Option<i32>, String)> {
        let output = cargo()
            .args(["run", "--quiet", "--package", "verify-report", "--"])
            .arg(&file)
            .args(["--digest", &digest, "--vmpl", &vmpl.to_string()])
            .args(["--nonce", &hex(&nonce())])
            .output()
            .context("starting cargo")?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        Ok((output.status.code(), said))
    };
    let (status, said) = say(vmpl)?;
    ensure!(status == Some(0), "the report does not verify:\n{said}");
    ensure!(said.contains("The report holds."), "no verdict:\n{said}");
    let (status, said) = say(vmpl ^ 1)?;
    ensure!(
        status == Some(1) && said.contains("REFUSED"),
        "the report is good for VMPL {} too:\n{said}",
        vmpl ^ 1
    );
    Ok(())
}

/// The digest is known before the machine starts, and the emulator comes to the same.
fn measure_predicts(context: &mut Context) -> Result<Outcome> {
    for (cpus, svsm) in [(1, true), (4, true), (1, false), (4, false)] {
        let guest = Guest {
            cpus,
            svsm,
            ..Guest::default()
        };
        let expected = measured(&context.machine(&guest))?;
        let finished = context.run(&guest, &["true"])?;
        let found = logged(&finished)?;
        ensure!(
            found == expected,
            "with {cpus} vCPUs, SVSM {svsm}: the emulator computed {found}, not {expected}"
        );
    }
    Ok(Outcome::Passed)
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

/// Runs `snp-report` in `machine`, with the nonce and then `more` as its standard input.
fn snp_report(
    context: &mut Context,
    machine: &Machine,
    guest: &Guest,
    more: &str,
) -> Result<String> {
    let script = format!("printf '{}{more}' | snp-report", nonce_in_octal());
    let finished = context.run_machine(machine.clone(), &guest.extras, &["sh", "-ec", &script])?;
    let text = finished.stdout_text();
    ensure!(
        finished.status() == Some(0),
        "snp-report ended with status {:?}: {}{}",
        finished.status(),
        short(&text),
        finished.stderr_text()
    );
    Ok(text)
}

/// The machine of `guest` with snp-report in its initramfs.
fn with_snp_report(context: &Context, guest: &Guest) -> Result<Machine> {
    let binaries = Binaries::build(Profile::Release, Some(REPORT_PROGRAM))?;
    with_program(context, guest, "snp-report", binaries.file(REPORT_PROGRAM)?)
}

/// `/dev/sev-guest`: a report for the guest's own VMPL, the certificates, a derived key twice.
fn driver(context: &mut Context, svsm: bool) -> Result<Outcome> {
    let guest = Guest {
        svsm,
        ..Guest::default()
    };
    let machine = with_snp_report(context, &guest)?;
    let text = snp_report(context, &machine, &guest, "")?;
    let keys: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("key "))
        .collect();
    match keys.as_slice() {
        [one, two] => ensure!(one == two, "a derived key changed from call to call"),
        _ => bail!("{} derived keys came, not 2", keys.len()),
    }
    ensure!(
        value(&text, "key")?.contains(|digit| digit != '0'),
        "the derived key is zero"
    );
    let evidence = format!(
        "nonce: {}\nreport: {}\ncertificates: {}\n",
        hex(&nonce()),
        value(&text, "report")?,
        value(&text, "certificates")?
    );
    verify(context, &machine, &evidence, if svsm { 2 } else { 0 })?;
    Ok(Outcome::Passed)
}

/// `attest` in `guest` says who answered, and its report holds.
fn attest(context: &mut Context, guest: &Guest, options: &[&str], vmpl: u32) -> Result<String> {
    let nonce = hex(&nonce());
    let command = [&["attest"], options, &[&nonce]].concat();
    let finished = context.run(guest, &command)?;
    let text = finished.stdout_text();
    ensure!(
        finished.status() == Some(0),
        "attest ended with status {:?}: {}{}",
        finished.status(),
        short(&text),
        finished.stderr_text()
    );
    ensure!(
        value(&text, "provider:")? == "sev_guest",
        "{}",
        short(&text)
    );
    let (told, logged) = (value(&text, "measurement:")?, logged(&finished)?);
    ensure!(
        told == logged,
        "the report shows {told}, and the emulator computed {logged}"
    );
    verify(context, &context.machine(guest), &text, vmpl)?;
    Ok(text)
}

/// A guest alone asks the firmware with the key of VMPL0.
fn sev_guest_at_vmpl0(context: &mut Context) -> Result<Outcome> {
    let guest = Guest {
        svsm: false,
        ..Guest::default()
    };
    let text = attest(context, &guest, &[], 0)?;
    ensure!(value(&text, "service:")? == "none", "{}", short(&text));
    Ok(Outcome::Passed)
}

/// The SVSM answers for VMPL0, and binds the nonce to the manifest of its services; asked past it,
/// the firmware answers for VMPL2.
fn svsm_report(context: &mut Context) -> Result<Outcome> {
    let guest = Guest::default();
    let text = attest(context, &guest, &[], 0)?;
    ensure!(value(&text, "service:")? == "svsm", "{}", short(&text));
    ensure!(
        text.lines().any(|line| line == "manifest:"),
        "the SVSM gave no manifest"
    );
    let text = attest(context, &guest, &["--sev-guest"], 2)?;
    ensure!(value(&text, "service:")? == "none", "{}", short(&text));
    Ok(Outcome::Passed)
}

/// Three ways to a report of VMPL0 past the SVSM, and who stops each: the kernel knows its own
/// VMPL; the firmware knows whose key a message was encrypted with; keys of higher privilege are
/// not in the guest's secrets page.
fn no_report_of_vmpl0(context: &mut Context) -> Result<Outcome> {
    let guest = Guest::default();
    let machine = with_snp_report(context, &guest)?;
    let script = format!(
        "r=/sys/kernel/config/tsm/report/test
         mkdir $r
         printf '{nonce}' >$r/inblob
         echo 2 >$r/privlevel && echo 'own privlevel accepted'
         echo 0 >$r/privlevel || echo 'privlevel 0 refused'
         rmdir $r
         echo vmpl2; printf '{nonce}2' | snp-report | cut -c 1-200
         echo vmpl0; printf '{nonce}0' | snp-report | cut -c 1-200
         rmmod sev_guest
         for key in 0 1; do
             modprobe sev_guest vmpck_id=$key
             [ -e /dev/sev-guest ] || echo \"key $key is missing\"
             rmmod sev_guest
         done
         modprobe sev_guest vmpck_id=2
         [ -e /dev/sev-guest ] && echo 'key 2 is there'
         true",
        nonce = nonce_in_octal()
    );
    let finished = context.run_machine(machine, &guest.extras, &["sh", "-c", &script])?;
    let text = finished.stdout_text();
    let (own, others) = text
        .split_once("vmpl0\n")
        .with_context(|| format!("the script ended early: {}", short(&text)))?;
    // Status of the firmware's answer: 0x16 is an invalid parameter (56860, table "MSG_REPORT_RSP").
    for (what, holds) in [
        (
            "own privlevel accepted",
            own.contains("own privlevel accepted"),
        ),
        ("privlevel 0 refused", own.contains("privlevel 0 refused")),
        ("own report", value(own, "status")? == "00000000"),
        ("report refused", value(others, "status")? == "16000000"),
        (
            "no report",
            value(others, "report")?.chars().all(|digit| digit == '0'),
        ),
        ("key 0 is missing", others.contains("key 0 is missing")),
        ("key 1 is missing", others.contains("key 1 is missing")),
        ("key 2 is there", others.contains("key 2 is there")),
    ] {
        ensure!(
            holds,
            "not so: {what}\n{}{}",
            short(&text),
            finished.stderr_text()
        );
    }
    Ok(Outcome::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_title() {
        let text = "noise\nreport 00ff10\nkey 01\n";
        assert_eq!(value(text, "report").unwrap(), "00ff10");
        assert!(value(text, "manifest").is_err());
        assert!(value("reports 00", "report").is_err());
    }
}
