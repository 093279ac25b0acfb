// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask run`: boots a guest.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use crate::cache::Cache;
use crate::failure::Failure;
use crate::guest::command::Task;
use crate::options::{MachineArgs, Platform};
use crate::progress::Step;
use crate::qemu::Qemu;
use crate::qemu::line::{Accelerator, Disk, Forward};
use crate::runner::{Extras, Ready};
use crate::session::streams::LogLevel;
use crate::session::{CommandStreams, Ended, Wiring, terminal, verdict};
use crate::size::MemorySize;
use crate::statistics::Statistics;
use crate::{host, setup, workspace};

/// The time limit of a COMMAND, unless --timeout says otherwise.
const COMMAND_LIMIT: Duration = Duration::from_secs(300);

pub(crate) const ABOUT: &str = "Boot a stock Linux guest under the SVSM, and get a shell in it";
pub(crate) const LONG_ABOUT: &str = "\
Boot a stock Linux guest under the SVSM on an emulated security machine.

Without COMMAND, the terminal is the guest's console, with a shell: `poweroff` ends it, and so does
Ctrl-A x at any time (Ctrl-A Ctrl-A is Ctrl-A). If standard input is no terminal, the shell reads
its commands from there, as if COMMAND were `sh`. With COMMAND, the guest runs that program instead:
its output is this command's output and nothing else is, its status is this command's status, and
its standard input comes from here. COMMAND is not taken apart by a shell; for pipes and the like
use sh -c '...'.

All that is needed is built, downloaded and installed first, once.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask run                                      a shell in the guest
  cargo xtask run -- cat /sys/devices/system/cpu/sev/vmpl
  cargo xtask run --cpus 8 --memory 4G -- nproc
  cargo xtask run -- sh -c 'dmesg | grep SEV'
  cargo xtask run < script                             a shell that reads its commands from a file
  cargo xtask run --no-svsm -- dmesg                   the guest alone, at VMPL0
  cargo xtask run --disk disk.img --net                with a disk and a network
  cargo xtask run --trace boot.pftrace -- true         open the file in ui.perfetto.dev
  cargo xtask run --kernel /boot/vmlinuz-6.14 -- uname -r

Status:
  that of COMMAND, if it ran to its end. Otherwise:
  250  the emulator failed, or met something that it does not emulate
  251  the guest died: it ended itself, panicked, or broke a rule of the machine
  252  the time limit was reached
  253  something is missing on this machine
  254  an option or an input file is wrong
  255  anything else: a build, a download or QEMU failed
  128+N  stopped by signal N (130: Ctrl-C)";

/// The page sizes that a host may assign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PageSize {
    /// Only 4 KiB pages
    #[value(name = "4k")]
    Small,
    /// 2 MiB where the range allows it
    #[value(name = "2m")]
    Large,
}

/// What executes the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Accel {
    /// Emulation: works everywhere
    Tcg,
    /// Nested virtualisation: needs an AMD host with /dev/kvm
    Kvm,
}

impl FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (host, guest) = text.split_once(':')?;
            let port = |text: &str| text.parse().ok().filter(|&port| port > 0);
            Some(Self {
                host: port(host)?,
                guest: port(guest)?,
            })
        };
        parse().ok_or_else(|| format!("`{text}` is not HOST-PORT:GUEST-PORT, like 2222:22"))
    }
}

/// Boots a guest.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) machine: MachineArgs,

    /// Disk image for the guest (raw or qcow2): /dev/vda; may be given several times
    #[arg(long, value_name = "FILE", help_heading = "Devices")]
    pub(crate) disk: Vec<PathBuf>,

    /// Give the guest a network interface behind QEMU's user networking (10.0.2.15)
    #[arg(long, help_heading = "Devices")]
    pub(crate) net: bool,

    /// Pass connections to a TCP port of this machine on to one of the guest; implies --net
    #[arg(long, value_name = "HOST:GUEST", help_heading = "Devices")]
    pub(crate) forward: Vec<Forward>,

    /// Write a trace of every exit, switch, page-state change and interrupt, for ui.perfetto.dev
    #[arg(long, value_name = "FILE", help_heading = "Observing")]
    pub(crate) trace: Option<PathBuf>,

    /// Wait for a debugger on this TCP port before the first instruction [default port: 1234]
    #[arg(
        long,
        value_name = "PORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1234",
        value_parser = clap::value_parser!(u16).range(1..),
        help_heading = "Observing"
    )]
    pub(crate) gdb: Option<u16>,

    /// Show the emulator's log from this level on
    #[arg(long, value_enum, value_name = "LEVEL", help_heading = "Observing")]
    pub(crate) log: Option<LogLevel>,

    /// Show the guest's console, the logs and the statistics on standard error
    #[arg(short, long, help_heading = "Observing")]
    pub(crate) verbose: bool,

    /// Print the statistics at the end, as a shell always does
    #[arg(long, help_heading = "Observing")]
    pub(crate) stats: bool,

    /// Print the QEMU command line instead of running it; its input files stay in out/
    #[arg(long, help_heading = "Observing")]
    pub(crate) print_qemu_command: bool,

    /// End a run that takes longer; 0 is no limit [default: 300 with COMMAND, none without]
    #[arg(long, value_name = "SECONDS", help_heading = "Execution")]
    pub(crate) timeout: Option<u64>,

    /// Count instructions: one vCPU at a time, and the same run every time
    #[arg(long, help_heading = "Execution")]
    pub(crate) icount: bool,

    /// Seed of all that is random in the machine
    #[arg(
        long,
        value_name = "N",
        default_value = "1",
        help_heading = "Execution"
    )]
    pub(crate) seed: u64,

    /// The largest page that the host assigns to the guest
    #[arg(
        long,
        value_enum,
        value_name = "SIZE",
        default_value = "2m",
        help_heading = "Execution"
    )]
    pub(crate) page_size: PageSize,

    /// Let the host misbehave as this script says
    #[arg(long, value_name = "FILE", help_heading = "Execution")]
    pub(crate) hostile: Option<PathBuf>,

    /// What executes the machine
    #[arg(
        long,
        value_enum,
        default_value = "tcg",
        conflicts_with = "icount",
        help_heading = "Execution"
    )]
    pub(crate) accel: Accel,

    /// The QEMU to use [default: $PARAPET_QEMU, or qemu-system-x86_64 in PATH]
    #[arg(long, value_name = "FILE", help_heading = "Execution")]
    pub(crate) qemu: Option<PathBuf>,

    /// Program for the guest to run, with its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

impl Run {
    /// Boots the guest; returns the status to end with.
    pub(crate) fn run(mut self) -> Result<i32> {
        if self.command.is_empty() && !self.print_qemu_command && !std::io::stdin().is_terminal() {
            self.command.push("sh".to_owned());
        }
        // What needs no work is checked before any is done.
        self.machine.check()?;
        let task = self.task();
        task.request()?;
        let extras = self.extras()?;
        self.check_platform()?;
        if self.accel == Accel::Kvm {
            check_kvm()?;
        }
        setup::ensure(self.qemu.is_some())?;
        let qemu = Qemu::find(self.qemu.as_deref())?;
        extras.check(&qemu)?;
        let machine = self.machine.resolve(&Cache::open()?)?;
        warn_about_memory(machine.memory);
        let ready = Ready::build(qemu, machine)?;

        if self.print_qemu_command {
            let folder = workspace::out()?.join("qemu-command");
            println!("{}", ready.command_to_type(&extras, &task, &folder)?);
            return Ok(0);
        }
        let is_shell = self.command.is_empty();
        self.announce(&ready, &extras, is_shell);
        let failed_logs = workspace::out()?.join("failed-run");
        let ended = ready.run(&extras, &task, self.wiring(is_shell), |ended| {
            verdict::of(ended, !is_shell)
                .is_err()
                .then_some(failed_logs)
        })?;
        self.tell(&ended, is_shell);
        Ok(verdict::of(&ended, !is_shell)?)
    }

    fn task(&self) -> Task {
        if self.command.is_empty() {
            Task::Shell {
                term: std::env::var("TERM").unwrap_or_else(|_| "linux".to_owned()),
                size: terminal::size(),
            }
        } else {
            Task::Command(self.command.clone())
        }
    }

    fn extras(&self) -> Result<Extras> {
        let wants_network = self.net || !self.forward.is_empty();
        if let Some(script) = &self.hostile
            && !script.is_file()
        {
            return Err(
                Failure::usage(format!("there is no script {}", script.display()))
                    .hint("--hostile takes a file with the host's misbehaviour")
                    .into(),
            );
        }
        if let Some(file) = &self.trace {
            check_writable(file)?;
        }
        Ok(Extras {
            accelerator: match (self.icount, self.accel) {
                (true, _) => Accelerator::InstructionCount,
                (false, Accel::Tcg) => Accelerator::Tcg,
                (false, Accel::Kvm) => Accelerator::Kvm,
            },
            seed: self.seed,
            small_pages: self.page_size == PageSize::Small,
            bench: false,
            log: self.log.unwrap_or(LogLevel::Info),
            hostile: self.hostile.clone(),
            disks: self
                .disk
                .iter()
                .map(|file| disk(file))
                .collect::<Result<_>>()?,
            network: wants_network.then(|| self.forward.clone()),
            trace: self.trace.clone(),
            gdb: self.gdb,
        })
    }

    /// Without a security machine there is nothing to observe or to attack.
    fn check_platform(&self) -> Result<(), Failure> {
        if self.machine.platform == Platform::Snp {
            return Ok(());
        }
        let wrong = [
            ("--trace", self.trace.is_some()),
            ("--hostile", self.hostile.is_some()),
            ("--no-svsm", self.machine.no_svsm),
        ];
        match wrong.into_iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Failure::usage(format!(
                "{option} needs a security machine, and --platform none has none"
            ))
            .hint("leave one of the two out")),
            None => Ok(()),
        }
    }

    fn wiring(&self, is_shell: bool) -> Wiring {
        let limit = match self.timeout {
            Some(0) => None,
            Some(seconds) => Some(Duration::from_secs(seconds)),
            None if is_shell || self.gdb.is_some() => None,
            None => Some(COMMAND_LIMIT),
        };
        Wiring {
            command: (!is_shell).then(|| CommandStreams {
                stdout: Box::new(std::io::stdout()),
                stderr: Box::new(std::io::stderr()),
                stdin: has_input(),
            }),
            console: if is_shell {
                Some(Box::new(std::io::stdout()))
            } else if self.verbose {
                Some(Box::new(std::io::stderr()))
            } else {
                None
            },
            keyboard: is_shell,
            log: match (self.log, self.verbose) {
                (Some(level), _) => Some(level),
                (None, true) => Some(LogLevel::Info),
                (None, false) => Some(LogLevel::Warn),
            },
            limit,
            booting: Some(Step::start("booting the guest")),
        }
    }

    fn announce(&self, ready: &Ready, extras: &Extras, is_shell: bool) {
        let machine = ready.machine();
        if is_shell || self.verbose {
            let under = match (machine.platform, machine.svsm) {
                (Platform::None, _) => "on QEMU's own machine",
                (Platform::Snp, true) => "under Parapet on an emulated SEV-SNP machine",
                (Platform::Snp, false) => "alone on an emulated SEV-SNP machine",
            };
            let kernel = machine
                .kernel
                .release
                .as_deref()
                .unwrap_or("a kernel of yours");
            eprintln!(
                "booting {kernel} {under}, {} vCPU{}, {}{}",
                machine.cpus,
                if machine.cpus == 1 { "" } else { "s" },
                MemorySize(machine.memory),
                if is_shell {
                    "; Ctrl-A x ends it at once"
                } else {
                    ""
                }
            );
        }
        if let Some(port) = extras.gdb {
            eprintln!("waiting for a debugger: gdb -ex 'target remote 127.0.0.1:{port}'");
        }
    }

    /// What a person is told after the run, on standard error.
    fn tell(&self, ended: &Ended, is_shell: bool) {
        for line in &ended.log.report {
            eprintln!("{line}");
        }
        if verdict::of(ended, !is_shell).is_err() {
            eprint!("{}", verdict::last_words(ended));
            eprintln!("the whole logs are in {}", ended.logs.display());
        }
        if is_shell || self.stats || self.verbose {
            let statistics = Statistics::read(&ended.log.statistics);
            if let Some(statistics) = statistics {
                eprint!("{}", statistics.table(!self.machine.no_svsm));
            }
        }
    }
}

/// The image at `file`, with the format that its first bytes tell.
fn disk(file: &Path) -> Result<Disk> {
    let failure = |why: String| {
        Failure::usage(format!("the disk {} {why}", file.display())).hint(
            "--disk takes a disk image that exists: `truncate -s 1G disk.img` makes an empty one",
        )
    };
    let mut head = [0; 4];
    let mut opened = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(file)
        .map_err(|error| failure(format!("cannot be opened: {error}")))?;
    if opened.metadata()?.len() < 512 {
        return Err(failure("is smaller than one sector".to_owned()).into());
    }
    opened
        .read_exact(&mut head)
        .context("reading a disk image")?;
    let format = if head == *b"QFI\xFB" { "qcow2" } else { "raw" };
    Ok(Disk {
        file: std::path::absolute(file)?,
        format,
    })
}

/// Fails early if a result could not be written at the end of a long run.
fn check_writable(file: &Path) -> Result<(), Failure> {
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .map(drop)
        .map_err(|error| {
            Failure::usage(format!("{} cannot be written: {error}", file.display()))
                .hint("--trace takes the name of a file to write")
        })
}

fn check_kvm() -> Result<(), Failure> {
    let hint = "leave --accel kvm out: emulation works everywhere";
    if let Err(error) = host::open_kvm() {
        return Err(
            Failure::missing(format!("--accel kvm: /dev/kvm cannot be opened: {error}")).hint(hint),
        );
    }
    if !host::has_nested_svm() {
        return Err(Failure::missing(
            "--accel kvm: this machine's KVM offers no nested AMD virtualisation",
        )
        .hint(hint));
    }
    Ok(())
}

/// Is there anything to read on standard input? Not in a CI job, where it is /dev/null or closed.
fn has_input() -> bool {
    let input = std::io::stdin();
    if input.is_terminal() {
        return true;
    }
    let Ok(data) = std::fs::metadata("/proc/self/fd/0") else {
        return false;
    };
    let null = std::fs::metadata("/dev/null").ok();
    use std::os::unix::fs::MetadataExt as _;
    null.is_none_or(|null| (null.dev(), null.ino()) != (data.dev(), data.ino()))
}

/// Guest memory is backed as it is touched, so more than there is may work, and may not.
fn warn_about_memory(guest: u64) {
    if let Some(free) = host::free_memory()
        && free < guest
    {
        eprintln!(
            "note: the guest has {}, and this machine has {}M free",
            MemorySize(guest),
            free >> 20
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_two_ports() {
        assert_eq!(
            "2222:22".parse(),
            Ok(Forward {
                host: 2222,
                guest: 22
            })
        );
        for text in ["22", "0:22", "a:b", "70000:1", "1:2:3"] {
            assert!(text.parse::<Forward>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_missing_disk_is_told() {
        let error = disk(Path::new("/nonexistent.img")).unwrap_err().to_string();
        assert!(
            error.starts_with("the disk /nonexistent.img cannot be opened"),
            "{error}"
        );
    }
}
