// SPDX-License-Identifier: MIT OR Apache-2.0
//! The stock kernel boots: alone at VMPL0, and at VMPL2 under the SVSM, on small and on large
//! machines, and finds nothing to complain about.

use anyhow::{Context as _, Result, bail, ensure};

use super::{Context, Guest, MachineTest, Outcome, seconds};
use crate::qemu::line::Accelerator;
use crate::runner::Extras;
use crate::workspace::Profile;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

pub(super) const TESTS: &[MachineTest] = &[
    MachineTest {
        name: "boot::alone_with_1_vcpu",
        limit: seconds(90),
        run: |context| alone(context, 1),
    },
    MachineTest {
        name: "boot::alone_with_4_vcpus",
        limit: seconds(120),
        run: |context| alone(context, 4),
    },
    MachineTest {
        name: "boot::svsm_with_1_vcpu_512M",
        limit: seconds(90),
        run: |context| under_svsm(context, 1, 512 * MIB),
    },
    MachineTest {
        name: "boot::svsm_with_2_vcpus_2G",
        limit: seconds(90),
        run: |context| under_svsm(context, 2, 2 * GIB),
    },
    MachineTest {
        name: "boot::svsm_with_4_vcpus_4G",
        limit: seconds(120),
        run: |context| under_svsm(context, 4, 4 * GIB),
    },
    MachineTest {
        name: "boot::svsm_with_8_vcpus_8G",
        limit: seconds(240),
        run: |context| under_svsm(context, 8, 8 * GIB),
    },
    MachineTest {
        name: "boot::svsm_with_4K_pages_only",
        limit: seconds(240),
        run: with_small_pages,
    },
    MachineTest {
        name: "boot::svsm_debug_image",
        limit: seconds(240),
        run: debug,
    },
    MachineTest {
        name: "boot::same_twice_by_instruction_count",
        limit: seconds(240),
        run: deterministic,
    },
];

/// Prints what the checks read: the number of processors, the memory, the VMPL, the kernel's log.
const SURVEY: &str = "nproc; grep MemTotal /proc/meminfo; \
    cat /sys/devices/system/cpu/sev/vmpl; dmesg -r";

/// Words that no healthy guest's log has.
const COMPLAINTS: [&str; 12] = [
    "BUG:",
    "WARNING:",
    "Oops",
    "Call Trace",
    "rcu_sched",
    "soft lockup",
    "unhandled",
    "Unsupported exit",
    "#VC",
    "failed to",
    "SNP: ",
    "unchecked MSR",
];

/// A line of the kernel's raw log: level and text.
fn parse(line: &str) -> Option<(u32, &str)> {
    let (level, text) = line.strip_prefix('<')?.split_once('>')?;
    // The facility is in the upper bits.
    Some((level.parse::<u32>().ok()? & 7, text))
}

/// Fails if the kernel's log says that something is wrong with the security machine.
pub(super) fn check_log(log: &str) -> Result<()> {
    let mut lines = 0;
    for (level, text) in log.lines().filter_map(parse) {
        lines += 1;
        let about_sev = ["SEV", "SNP", "GHCB", "SVSM", "sev-guest", "sev_guest"]
            .iter()
            .any(|word| text.contains(word));
        // Level 4 is a warning, and lower ones are worse.
        if about_sev && level <= 4 {
            bail!("the guest complains: {text}");
        }
        if level <= 4 && COMPLAINTS.iter().any(|word| text.contains(word)) {
            bail!("the guest complains: {text}");
        }
    }
    ensure!(lines > 50, "the kernel's log has {lines} lines only");
    Ok(())
}

struct Survey {
    cpus: u32,
    memory_kib: u64,
    vmpl: String,
    log: String,
    /// What the SVSM wrote to its own log.
    svsm: String,
}

fn survey(context: &mut Context, guest: &Guest) -> Result<Survey> {
    let finished = context.run(guest, &["sh", "-ec", SURVEY])?;
    ensure!(
        finished.status() == Some(0),
        "the survey ended with status {:?}\n{}",
        finished.status(),
        finished.stderr_text()
    );
    let text = finished.stdout_text();
    let mut lines = text.lines();
    let mut next = || {
        lines
            .next()
            .context("the survey is short")
            .map(str::to_owned)
    };
    let cpus = next()?.parse()?;
    let memory_kib = next()?
        .split_whitespace()
        .nth(1)
        .context("MemTotal has no number")?
        .parse()?;
    let vmpl = next()?;
    Ok(Survey {
        cpus,
        memory_kib,
        vmpl,
        log: text,
        svsm: finished.ended.svsm,
    })
}

fn check(survey: &Survey, guest: &Guest, vmpl: &str, banner: &str) -> Result<()> {
    ensure!(
        survey.cpus == guest.cpus,
        "{} vCPUs came up, not {}",
        survey.cpus,
        guest.cpus
    );
    ensure!(
        survey.vmpl == vmpl,
        "sysfs says VMPL {}, not {vmpl}",
        survey.vmpl
    );
    let wanted = guest.memory >> 10;
    ensure!(
        survey.memory_kib < wanted && survey.memory_kib > wanted * 3 / 4,
        "the guest sees {} KiB of {wanted}",
        survey.memory_kib
    );
    for line in [
        "Memory Encryption Features active: AMD SEV SEV-ES SEV-SNP",
        banner,
    ] {
        ensure!(
            survey.log.contains(line),
            "the kernel's log has no line `{line}`"
        );
    }
    check_log(&survey.log)
}

fn alone(context: &mut Context, cpus: u32) -> Result<Outcome> {
    let guest = Guest {
        cpus,
        memory: GIB,
        svsm: false,
        ..Guest::default()
    };
    let survey = survey(context, &guest)?;
    check(&survey, &guest, "0", "SNP running at VMPL0")?;
    Ok(Outcome::Passed)
}

fn under_svsm(context: &mut Context, cpus: u32, memory: u64) -> Result<Outcome> {
    let guest = Guest {
        cpus,
        memory,
        ..Guest::default()
    };
    let survey = survey(context, &guest)?;
    check(&survey, &guest, "2", "SNP running at VMPL2")?;
    ensure!(
        survey.svsm.is_empty(),
        "a release image is quiet, and this one said:\n{}",
        survey.svsm
    );
    Ok(Outcome::Passed)
}

/// The image of `--debug`, with its assertions and overflow checks, boots as well; and it talks.
fn debug(context: &mut Context) -> Result<Outcome> {
    let guest = Guest {
        profile: Profile::Debug,
        memory: 512 * MIB,
        ..Guest::default()
    };
    let survey = survey(context, &guest)?;
    check(&survey, &guest, "2", "SNP running at VMPL2")?;
    for line in [
        "svsm info: CPU 0 of 2 started",
        "svsm debug: the guest's memory is in the machine",
        "svsm info: the guest starts",
    ] {
        ensure!(
            survey.svsm.lines().any(|told| told.trim_end() == line),
            "the SVSM's log has no line `{line}`:\n{}",
            survey.svsm
        );
    }
    Ok(Outcome::Passed)
}

fn with_small_pages(context: &mut Context) -> Result<Outcome> {
    let guest = Guest {
        cpus: 1,
        memory: 512 * MIB,
        extras: Extras {
            small_pages: true,
            ..Extras::default()
        },
        ..Guest::default()
    };
    let survey = survey(context, &guest)?;
    check(&survey, &guest, "2", "SNP running at VMPL2")?;
    Ok(Outcome::Passed)
}

/// Two runs by instruction count are the same to the last time stamp.
fn deterministic(context: &mut Context) -> Result<Outcome> {
    let guest = Guest {
        memory: 512 * MIB,
        extras: Extras {
            accelerator: Accelerator::InstructionCount,
            ..Extras::default()
        },
        ..Guest::default()
    };
    let mut run = || context.run(&guest, &["dmesg"]);
    let (first, second) = (run()?, run()?);
    ensure!(!first.stdout.is_empty(), "the guest's log is empty");
    let difference = first
        .stdout_text()
        .lines()
        .zip(second.stdout_text().lines())
        .find(|(one, other)| one != other)
        .map(|(one, other)| format!("`{one}` and `{other}`"));
    if let Some(lines) = difference {
        bail!("the two runs differ: {lines}");
    }
    ensure!(
        first.stdout == second.stdout,
        "one run printed more than the other"
    );
    let ticks = |finished: &super::context::Finished| finished.statistics().map(|all| all.ticks);
    ensure!(
        ticks(&first) == ticks(&second),
        "the runs took {:?} and {:?} ticks",
        ticks(&first),
        ticks(&second)
    );
    Ok(Outcome::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(line: &str) -> String {
        let mut log = "<6>[    0.000000] Linux version\n".repeat(60);
        log.push_str(line);
        log
    }

    #[test]
    fn a_healthy_log_passes() {
        check_log(&log("<6>[    0.1] SEV: SNP running at VMPL2.\n")).unwrap();
        check_log(&log("<4>[    0.1] PCI: no MCFG\n")).unwrap();
    }

    #[test]
    fn complaints_are_found() {
        for line in [
            "<4>[    0.1] SEV: something is odd\n",
            "<3>[    0.1] sev-guest sev-guest: probe failed\n",
            "<4>[    0.1] WARNING: CPU: 0 PID: 1 at x.c:1\n",
            "<0>[    0.1] BUG: unable to handle page fault\n",
        ] {
            assert!(check_log(&log(line)).is_err(), "{line}");
        }
        assert!(check_log("").is_err());
    }
}
