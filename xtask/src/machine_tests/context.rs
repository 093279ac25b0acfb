// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a machine test boots its guests with.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::guest::command::Task;
use crate::guest::kernel::GuestKernel;
use crate::options::{COMMAND_LINE, Machine, Platform};
use crate::qemu::Qemu;
use crate::runner::{Extras, Ready};
use crate::session::{CommandStreams, Ended, Wiring, verdict};
use crate::statistics::Statistics;
use crate::workspace::{PROBE, Profile};

/// What all tests of a run share, and how much time this one has left.
pub(crate) struct Context {
    qemu: Qemu,
    kernel: GuestKernel,
    initrd: PathBuf,
    name: &'static str,
    folder: PathBuf,
    deadline: Instant,
    guests: u32,
}

/// A guest to boot: what is not set is as `cargo xtask run` has it.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    /// Number of vCPUs.
    pub(crate) cpus: u32,
    /// Bytes of memory.
    pub(crate) memory: u64,
    /// Is the SVSM there?
    pub(crate) svsm: bool,
    /// The security machine.
    pub(crate) platform: Platform,
    /// How the SVSM and the emulator are built.
    pub(crate) profile: Profile,
    /// Words added to the kernel's command line.
    pub(crate) append: String,
    /// Devices and the way of execution.
    pub(crate) extras: Extras,
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            cpus: 2,
            memory: 2 << 30,
            svsm: true,
            platform: Platform::Snp,
            profile: Profile::Release,
            append: String::new(),
            extras: Extras::default(),
        }
    }
}

/// What a guest left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    /// What its command wrote to standard output.
    pub(crate) stdout: Vec<u8>,
    /// What its command wrote to standard error.
    pub(crate) stderr: Vec<u8>,
    /// How the run ended.
    pub(crate) ended: Ended,
}

impl Context {
    /// A context for the test `name`, with its files below `folder`.
    pub(crate) fn new(
        qemu: &Qemu,
        kernel: &GuestKernel,
        initrd: &Path,
        folder: &Path,
        name: &'static str,
        limit: Duration,
    ) -> Result<Self> {
        let folder = folder.join(name.replace("::", "-"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        Ok(Self {
            qemu: qemu.clone(),
            kernel: kernel.clone(),
            initrd: initrd.to_owned(),
            name,
            folder,
            deadline: Instant::now() + limit,
            guests: 0,
        })
    }

    /// A folder of the test's own, which stays if the test fails.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The kernel that its guests boot.
    pub(crate) fn kernel(&self) -> &Path {
        &self.kernel.image
    }

    /// Their initramfs.
    pub(crate) fn initrd(&self) -> &Path {
        &self.initrd
    }

    /// The time that is left.
    pub(crate) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Boots `guest` and has it run `command`.
    ///
    /// # Errors
    /// The guest died or ran out of time before its command had ended. The command's own status
    /// is the caller's to judge: see [`Finished::status`].
    pub(crate) fn run(&mut self, guest: &Guest, command: &[&str]) -> Result<Finished> {
        let machine = self.machine(guest);
        self.run_machine(machine, &guest.extras, command)
    }

    /// Runs a shell script in `guest`, which has to end well, and returns what it printed.
    pub(crate) fn script(&mut self, guest: &Guest, script: &str) -> Result<String> {
        let finished = self.run(guest, &["sh", "-ec", script])?;
        let (status, stderr) = (finished.status(), finished.stderr_text());
        ensure!(
            status == Some(0),
            "the script ended with status {status:?}\n{}{stderr}",
            finished.stdout_text()
        );
        Ok(finished.stdout_text())
    }

    /// The machine for `guest`.
    pub(crate) fn machine(&self, guest: &Guest) -> Machine {
        Machine {
            cpus: guest.cpus,
            memory: guest.memory,
            kernel: self.kernel.clone(),
            initrd: self.initrd.clone(),
            command_line: [COMMAND_LINE, &guest.append]
                .join(" ")
                .trim_end()
                .to_owned(),
            bare_metal: None,
            platform: guest.platform,
            svsm: guest.svsm && guest.platform != Platform::None,
            profile: guest.profile,
        }
    }

    /// Boots the probe in Linux's place and has it run its suite `suite`.
    ///
    /// # Errors
    /// It died, or ended before it had run all of its checks. A check that failed is no error
    /// here: see [`Report::verdict`].
    pub(crate) fn probe(&mut self, guest: &Guest, suite: &str) -> Result<Report> {
        let machine = self.probe_machine(guest, suite);
        let console = Buffer::default();
        let wiring = Wiring {
            command: None,
            console: Some(Box::new(console.clone())),
            keyboard: false,
            log: None,
            limit: Some(self.time_left()),
            booting: None,
        };
        let task = Task::Command(Vec::new());
        let ended = self.boot(machine, &guest.extras, &task, wiring, false)?;
        Report::read(&String::from_utf8_lossy(&console.take()), ended)
    }

    /// The same, built and ready to start any number of times, whatever comes of it.
    pub(crate) fn ready_probe(&self, guest: &Guest, suite: &str) -> Result<Ready> {
        Ready::build(self.qemu.clone(), self.probe_machine(guest, suite))
    }

    fn probe_machine(&self, guest: &Guest, suite: &str) -> Machine {
        Machine {
            command_line: format!("suite={suite} {}", guest.append)
                .trim_end()
                .to_owned(),
            bare_metal: Some(PROBE),
            ..self.machine(guest)
        }
    }

    /// Boots a machine of the caller's own making.
    pub(crate) fn run_machine(
        &mut self,
        machine: Machine,
        extras: &Extras,
        command: &[&str],
    ) -> Result<Finished> {
        let (stdout, stderr) = (Buffer::default(), Buffer::default());
        let wiring = Wiring {
            command: Some(CommandStreams {
                stdout: Box::new(stdout.clone()),
                stderr: Box::new(stderr.clone()),
                stdin: false,
            }),
            console: None,
            keyboard: false,
            log: None,
            limit: Some(self.time_left()),
            booting: None,
        };
        let task = Task::Command(command.iter().map(|&word| word.to_owned()).collect());
        let ended = self.boot(machine, extras, &task, wiring, true)?;
        Ok(Finished {
            stdout: stdout.take(),
            stderr: stderr.take(),
            ended,
        })
    }

    fn boot(
        &mut self,
        machine: Machine,
        extras: &Extras,
        task: &Task,
        wiring: Wiring,
        has_command: bool,
    ) -> Result<Ended> {
        let ready = Ready::build(self.qemu.clone(), machine)?;
        ensure!(
            !self.time_left().is_zero(),
            "{} has used up its time",
            self.name
        );
        self.guests += 1;
        let logs = self.folder.join(format!("guest{}", self.guests));
        let ended = ready.run(extras, task, wiring, |_| Some(logs))?;
        if let Err(failure) = verdict::of(&ended, has_command) {
            let report = ended.log.report.join("\n");
            bail!("{failure}\n{report}\n{}", verdict::last_words(&ended));
        }
        Ok(ended)
    }
}

impl Finished {
    /// The status of the command.
    pub(crate) fn status(&self) -> Option<i32> {
        self.ended.command
    }

    /// Standard output as text.
    pub(crate) fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub(crate) fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The emulator's statistics.
    pub(crate) fn statistics(&self) -> Option<Statistics> {
        Statistics::read(&self.ended.log.statistics)
    }
}

/// What the probe said, in the Test Anything Protocol.
#[derive(Debug)]
pub(crate) struct Report {
    /// The checks: what each is about, and whether it held.
    pub(crate) checks: Vec<(String, bool)>,
    /// Figures that are no checks.
    pub(crate) notes: Vec<(String, u64)>,
    /// How the run ended.
    pub(crate) ended: Ended,
}

impl Report {
    /// Reads what it wrote on its console.
    ///
    /// # Errors
    /// It gave up, or did not come to its end.
    pub(crate) fn read(console: &str, ended: Ended) -> Result<Self> {
        let mut report = Self {
            checks: Vec::new(),
            notes: Vec::new(),
            ended,
        };
        let mut plan = None;
        for line in console.lines() {
            let line = line.trim_end();
            if let Some(reason) = line.strip_prefix("Bail out!") {
                bail!("the probe gave up:{reason}");
            } else if let Some(check) = line.strip_prefix("not ok ") {
                report.checks.push((check.to_owned(), false));
            } else if let Some(check) = line.strip_prefix("ok ") {
                report.checks.push((check.to_owned(), true));
            } else if let Some(count) = line.strip_prefix("1..") {
                plan = Some(count.parse::<usize>()?);
            } else if let Some(note) = line.strip_prefix("# ")
                && let Some((name, value)) = note.rsplit_once(": ")
                && let Ok(value) = value.parse()
            {
                report.notes.push((name.to_owned(), value));
            }
        }
        ensure!(
            plan == Some(report.checks.len()),
            "the probe ran {} checks, and planned {plan:?}\n{}",
            report.checks.len(),
            verdict::last_words(&report.ended)
        );
        Ok(report)
    }

    /// Fails if a check failed, or if there are fewer of them than `least`.
    pub(crate) fn verdict(&self, least: usize) -> Result<()> {
        let failed: Vec<_> = self
            .checks
            .iter()
            .filter(|(_, held)| !held)
            .map(|(name, _)| name.as_str())
            .collect();
        ensure!(
            failed.is_empty(),
            "{} of {} checks failed:\n{}",
            failed.len(),
            self.checks.len(),
            failed.join("\n")
        );
        ensure!(
            self.checks.len() >= least,
            "the probe ran {} checks only, of {least}",
            self.checks.len()
        );
        Ok(())
    }

    /// The figure called `name`.
    pub(crate) fn note(&self, name: &str) -> Option<u64> {
        self.notes
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| *value)
    }

    /// The emulator's statistics.
    pub(crate) fn statistics(&self) -> Option<Statistics> {
        Statistics::read(&self.ended.log.statistics)
    }
}

/// Bytes that several owners write and read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    /// What was written so far.
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(
            &mut *self
                .0
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner()),
        )
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut buffer = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
