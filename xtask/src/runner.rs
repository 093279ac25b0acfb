// SPDX-License-Identifier: MIT OR Apache-2.0
//! Puts a machine together and runs it: binaries, image, options, QEMU. What `run`, `test` and
//! `bench` share.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use emulator_defs::config;

use crate::failure::Failure;
use crate::guest::command::Task;
use crate::image_store;
use crate::options::{Machine, Platform};
use crate::qemu::Qemu;
use crate::qemu::line::{Accelerator, Boot, Channel, Disk, Forward, Line, PORT_PREFIX};
use crate::run_folder::RunFolder;
use crate::session::streams::LogLevel;
use crate::session::{self, Ended, Wiring};
use crate::trace;

/// Bytes of the trace buffer: a PCI memory region, so a power of two. Only what is written to
/// takes space.
const TRACE_SIZE: u64 = 256 << 20;

/// What a machine has besides what is measured.
#[derive(Debug, Clone)]
pub(crate) struct Extras {
    /// How it is executed.
    pub(crate) accelerator: Accelerator,
    /// Seed of all that is random in it.
    pub(crate) seed: u64,
    /// The largest page that the host assigns: true for 4K only.
    pub(crate) small_pages: bool,
    /// Every interval that VMPL0 executes is logged.
    pub(crate) bench: bool,
    /// The emulator's log level.
    pub(crate) log: LogLevel,
    /// The script of a hostile host.
    pub(crate) hostile: Option<PathBuf>,
    /// The guest's disks.
    pub(crate) disks: Vec<Disk>,
    /// The guest's network, with connections into it.
    pub(crate) network: Option<Vec<Forward>>,
    /// The file for the trace.
    pub(crate) trace: Option<PathBuf>,
    /// The debugger's port.
    pub(crate) gdb: Option<u16>,
}

impl Default for Extras {
    fn default() -> Self {
        Self {
            accelerator: Accelerator::Tcg,
            seed: 1,
            small_pages: false,
            bench: false,
            log: LogLevel::Info,
            hostile: None,
            disks: Vec::new(),
            network: None,
            trace: None,
            gdb: None,
        }
    }
}

impl Extras {
    /// Checks what would make QEMU fail later, with a worse message.
    pub(crate) fn check(&self, qemu: &Qemu) -> Result<()> {
        if let Some(port) = self.gdb {
            check_port(port, "--gdb", "--gdb=PORT chooses another")?;
        }
        if let Some(forwards) = &self.network {
            qemu.check_user_networking()?;
            for forward in forwards {
                check_port(forward.host, "--forward", "choose another port of the host")?;
            }
        }
        Ok(())
    }
}

fn check_port(port: u16, option: &str, hint: &str) -> Result<(), Failure> {
    match TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Err(Failure::usage(format!("{option}: port {port} is in use")).hint(hint))
        }
        Err(error) => {
            Err(Failure::usage(format!("{option}: port {port} cannot be had: {error}")).hint(hint))
        }
    }
}

/// A machine that is ready to start, any number of times.
#[derive(Debug)]
pub(crate) struct Ready {
    qemu: Qemu,
    machine: Machine,
    emulator: Option<(PathBuf, PathBuf)>,
}

impl Ready {
    /// Builds what the machine is made of.
    pub(crate) fn build(qemu: Qemu, machine: Machine) -> Result<Self> {
        let emulator = match machine.platform {
            Platform::None => None,
            Platform::Snp => {
                let binaries = machine.build()?;
                let image = image_store::image_for(&machine, &binaries)?;
                Some((binaries.file("emulator")?.to_owned(), image))
            }
        };
        Ok(Self {
            qemu,
            machine,
            emulator,
        })
    }

    /// The image, if the machine has one.
    pub(crate) fn image(&self) -> Option<&Path> {
        self.emulator.as_ref().map(|(_, image)| image.as_path())
    }

    /// The machine that was built.
    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Writes the input files of a run into `folder` and makes its command line. The channels are
    /// files in `folder`, and the console is the terminal.
    fn line(
        &self,
        extras: &Extras,
        task: &Task,
        write: &dyn Fn(&str, &str) -> Result<PathBuf>,
        folder: &Path,
    ) -> Result<Line> {
        let request = write("request", &task.request()?)?;
        let boot = match &self.emulator {
            Some((elf, igvm)) => Boot::Emulator {
                elf: elf.clone(),
                igvm: igvm.clone(),
                config: write("config", &self.config(extras))?,
                hostile: extras.hostile.clone(),
            },
            None => Boot::Plain {
                kernel: self.machine.kernel.image.clone(),
                initrd: self.machine.initrd.clone(),
                command_line: self.machine.command_line.clone(),
            },
        };
        Ok(Line {
            boot,
            request,
            cpus: self.machine.cpus,
            memory: self.machine.memory,
            accelerator: extras.accelerator,
            seed: extras.seed,
            disks: extras.disks.clone(),
            network: extras.network.clone(),
            trace: extras
                .trace
                .as_ref()
                .map(|_| (folder.join("trace"), TRACE_SIZE)),
            gdb: extras.gdb,
            console: Channel::Terminal,
            svsm_log: Channel::File(folder.join("svsm.log")),
            emulator_log: Channel::File(folder.join("emulator.log")),
            ports: Vec::new(),
            extra: Vec::new(),
        })
    }

    /// The emulator's options.
    fn config(&self, extras: &Extras) -> String {
        let pairs = [
            (config::KEY_MEMORY, self.machine.memory.to_string()),
            (config::KEY_CPUS, self.machine.cpus.to_string()),
            (
                config::KEY_GUEST_VMPL,
                if self.machine.svsm { "2" } else { "0" }.to_owned(),
            ),
            (
                config::KEY_PAGE_SIZE,
                if extras.small_pages { "4k" } else { "2m" }.to_owned(),
            ),
            (config::KEY_BENCH, u8::from(extras.bench).to_string()),
            (config::KEY_LOG, extras.log.name().to_owned()),
            (config::KEY_SEED, extras.seed.to_string()),
        ];
        pairs
            .into_iter()
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect()
    }

    /// Runs the machine once. The logs of a run that `keep` asks for stay in the folder that it
    /// names, all other files go.
    pub(crate) fn run(
        &self,
        extras: &Extras,
        task: &Task,
        wiring: Wiring,
        keep: impl FnOnce(&Ended) -> Option<PathBuf>,
    ) -> Result<Ended> {
        let folder = RunFolder::create()?;
        let write = |name: &str, text: &str| folder.write(name, text);
        let line = self.line(extras, task, &write, folder.path())?;
        let logs = folder.path().join("logs");
        std::fs::create_dir(&logs)?;
        let mut ended = session::run(&self.qemu, line, wiring, &logs)?;
        if let Some(file) = &extras.trace {
            let summary = trace::convert(&folder.path().join("trace"), file)?;
            eprintln!(
                "{} records are in {}: open it in ui.perfetto.dev",
                summary.records,
                file.display()
            );
            if summary.lost > 0 {
                eprintln!("{} more did not fit in the trace buffer", summary.lost);
            }
        }
        if let Some(place) = keep(&ended) {
            let _ = std::fs::remove_dir_all(&place);
            std::fs::create_dir_all(&place)?;
            for entry in std::fs::read_dir(&logs)? {
                let entry = entry?;
                std::fs::copy(entry.path(), place.join(entry.file_name()))?;
            }
            ended.logs = place;
        }
        Ok(ended)
    }

    /// The command that a person can type, with its input files in `folder`, where they stay.
    pub(crate) fn command_to_type(
        &self,
        extras: &Extras,
        task: &Task,
        folder: &Path,
    ) -> Result<String> {
        std::fs::create_dir_all(folder)?;
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            Ok(path)
        };
        let mut line = self.line(extras, task, &write, folder)?;
        let mut ports = vec!["control"];
        if matches!(task, Task::Command(_)) {
            ports.extend(["stdout", "stderr"]);
        }
        line.ports = ports
            .into_iter()
            .map(|name| {
                (
                    name,
                    Channel::File(folder.join(format!("{PORT_PREFIX}{name}"))),
                )
            })
            .collect();
        Ok(crate::qemu::line::shell_words(
            &self.qemu.program,
            &line.arguments(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_told() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let failure = check_port(port, "--gdb", "choose another").unwrap_err();
        assert_eq!(failure.to_string(), format!("--gdb: port {port} is in use"));
        drop(taken);
        check_port(port, "--gdb", "choose another").unwrap();
    }
}
