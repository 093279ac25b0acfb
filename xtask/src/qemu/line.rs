// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's command line for one machine.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use emulator_defs::config;
use emulator_defs::exit::{DEBUG_EXIT_PORT, LOG_PORT};
use emulator_defs::layout;

/// Where the bytes of a serial line or a port go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Channel {
    /// A connected socket that the process inherits.
    Socket(RawFd),
    /// A file, written only.
    File(PathBuf),
    /// The process's own standard input and output.
    Terminal,
}

/// Names of the virtio-serial ports, as the guest's `/init` looks for them.
pub(crate) const PORT_PREFIX: &str = "org.parapet.";

/// How QEMU executes the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// Emulation, one host thread a vCPU.
    Tcg,
    /// Emulation by instruction count: one vCPU at a time, the same run every time.
    InstructionCount,
    /// Nested virtualisation on an AMD host.
    Kvm,
}

/// A disk of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disk {
    /// The image.
    pub(crate) file: PathBuf,
    /// QEMU's name of its format.
    pub(crate) format: &'static str,
}

/// A connection from the host into the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forward {
    /// TCP port on the host's loopback address.
    pub(crate) host: u16,
    /// TCP port in the guest.
    pub(crate) guest: u16,
}

/// What QEMU starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Boot {
    /// The emulator, which makes a security machine and loads an image into it.
    Emulator {
        /// The emulator's ELF file.
        elf: PathBuf,
        /// The image that it loads.
        igvm: PathBuf,
        /// Its options.
        config: PathBuf,
        /// The script of a hostile host, if the host is to misbehave.
        hostile: Option<PathBuf>,
    },
    /// A kernel on QEMU's own machine.
    Plain {
        /// The bzImage.
        kernel: PathBuf,
        /// Its initramfs.
        initrd: PathBuf,
        /// Its command line.
        command_line: String,
    },
}

/// All that the command line is made from.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// What is started.
    pub(crate) boot: Boot,
    /// What the guest is asked to do.
    pub(crate) request: PathBuf,
    /// Number of vCPUs.
    pub(crate) cpus: u32,
    /// Bytes of guest memory.
    pub(crate) memory: u64,
    /// How the machine is executed.
    pub(crate) accelerator: Accelerator,
    /// Seed of QEMU's own random numbers.
    pub(crate) seed: u64,
    /// The guest's disks.
    pub(crate) disks: Vec<Disk>,
    /// The guest's network, with connections into it.
    pub(crate) network: Option<Vec<Forward>>,
    /// File and size of the trace buffer.
    pub(crate) trace: Option<(PathBuf, u64)>,
    /// TCP port on which QEMU waits for a debugger before it starts.
    pub(crate) gdb: Option<u16>,
    /// The guest's serial console.
    pub(crate) console: Channel,
    /// The SVSM's serial log.
    pub(crate) svsm_log: Channel,
    /// The emulator's log.
    pub(crate) emulator_log: Channel,
    /// Ports of the virtio-serial device, by name.
    pub(crate) ports: Vec<(&'static str, Channel)>,
    /// Further arguments.
    pub(crate) extra: Vec<String>,
}

impl Line {
    /// The arguments, in the order in which a person would read them.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let mut line = Words::default();
        line.option("-name", "parapet,debug-threads=on");
        line.option("-machine", "q35");
        match self.accelerator {
            Accelerator::Tcg => {
                line.option("-accel", "tcg,thread=multi");
                line.option("-cpu", "max,+la57,+svm,+npt,phys-bits=52");
            }
            Accelerator::InstructionCount => {
                line.option("-accel", "tcg,thread=single");
                line.option("-cpu", "max,+la57,+svm,+npt,phys-bits=52");
                // One instruction is one nanosecond of the machine's time.
                line.option("-icount", "shift=0,sleep=off");
                line.option("-rtc", "base=2026-01-01,clock=vm");
                line.option("-seed", self.seed.to_string());
            }
            Accelerator::Kvm => {
                line.option("-accel", "kvm");
                line.option("-cpu", "host,+svm,+npt,+la57,host-phys-bits=on");
            }
        }
        let processors = match self.boot {
            Boot::Emulator { .. } => self.cpus + config::EXTRA_PROCESSORS,
            Boot::Plain { .. } => self.cpus,
        };
        line.option("-smp", processors.to_string());
        let memory = match self.boot {
            Boot::Emulator { .. } => layout::qemu_memory(self.memory),
            Boot::Plain { .. } => self.memory,
        };
        line.option("-m", format!("{}M", memory >> 20));
        for word in ["-nodefaults", "-no-user-config", "-no-reboot"] {
            line.word(word);
        }
        line.option("-display", "none");
        self.boot(&mut line);
        line.channel("console", &self.console);
        line.option("-serial", "chardev:console");
        line.channel("svsm", &self.svsm_log);
        line.option("-serial", "chardev:svsm");
        self.ports(&mut line);
        self.disks(&mut line);
        self.network(&mut line);
        if let Some((file, size)) = &self.trace {
            line.option_with_path(
                "-object",
                &format!("memory-backend-file,id=trace,share=on,size={size},mem-path="),
                file,
            );
            line.option("-device", "ivshmem-plain,memdev=trace");
        }
        if let Some(port) = self.gdb {
            line.option("-gdb", format!("tcp:127.0.0.1:{port}"));
            line.word("-S");
        }
        for word in &self.extra {
            line.word(word);
        }
        line.words
    }

    fn boot(&self, line: &mut Words) {
        match &self.boot {
            Boot::Emulator {
                elf,
                igvm,
                config,
                hostile,
            } => {
                line.option("-kernel", elf.as_os_str());
                fw_cfg(line, config::FILE_IGVM, igvm);
                fw_cfg(line, config::FILE_CONFIG, config);
                if let Some(script) = hostile {
                    fw_cfg(line, config::FILE_HOSTILE, script);
                }
                line.channel("emulator", &self.emulator_log);
                line.option(
                    "-device",
                    format!("isa-debugcon,iobase={LOG_PORT:#x},chardev=emulator"),
                );
                line.option(
                    "-device",
                    format!("isa-debug-exit,iobase={DEBUG_EXIT_PORT:#x},iosize=4"),
                );
            }
            Boot::Plain {
                kernel,
                initrd,
                command_line,
            } => {
                line.option("-kernel", kernel.as_os_str());
                line.option("-initrd", initrd.as_os_str());
                line.option("-append", command_line);
            }
        }
        fw_cfg(line, config::FILE_COMMAND, &self.request);
    }

    fn ports(&self, line: &mut Words) {
        if self.ports.is_empty() {
            return;
        }
        // The queues are served by the vCPU that kicks them, not by another thread: a write has
        // arrived when it returns, and a run by instruction count stays the same.
        line.option(
            "-device",
            format!(
                "virtio-serial-pci,{VIRTIO},ioeventfd=off,max_ports={}",
                self.ports.len() + 1
            ),
        );
        for (index, (name, channel)) in self.ports.iter().enumerate() {
            line.channel(name, channel);
            line.option(
                "-device",
                format!(
                    "virtserialport,chardev={name},name={PORT_PREFIX}{name},nr={}",
                    index + 1
                ),
            );
        }
    }

    fn disks(&self, line: &mut Words) {
        for (index, disk) in self.disks.iter().enumerate() {
            let node = format!("disk{index}");
            line.option_with_path(
                "-drive",
                &format!("if=none,id={node},format={},file=", disk.format),
                &disk.file,
            );
            line.option("-device", format!("virtio-blk-pci,{VIRTIO},drive={node}"));
        }
    }

    fn network(&self, line: &mut Words) {
        let Some(forwards) = &self.network else {
            return;
        };
        let mut backend = String::from("user,id=net0");
        for Forward { host, guest } in forwards {
            backend.push_str(&format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
        }
        line.option("-netdev", backend);
        // Without its option ROM: nothing boots from it.
        line.option(
            "-device",
            format!("virtio-net-pci,{VIRTIO},netdev=net0,romfile="),
        );
    }
}

fn fw_cfg(line: &mut Words, name: &str, file: &Path) {
    line.option_with_path("-fw_cfg", &format!("name={name},file="), file);
}

/// DMA of a confidential guest goes through pages that it shares: only the modern interface with
/// platform DMA addressing does that.
const VIRTIO: &str = "disable-legacy=on,iommu_platform=on";

#[derive(Default)]
struct Words {
    words: Vec<OsString>,
}

impl Words {
    fn word(&mut self, word: impl AsRef<OsStr>) {
        self.words.push(word.as_ref().to_owned());
    }

    fn option(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.word(name);
        self.word(value);
    }

    fn option_with_path(&mut self, name: &str, before: &str, path: &Path) {
        let mut value = OsString::from(before);
        value.push(escaped(path));
        self.option(name, value);
    }

    fn channel(&mut self, id: &str, channel: &Channel) {
        match channel {
            Channel::Socket(fd) => self.option("-chardev", format!("socket,id={id},fd={fd}")),
            Channel::File(path) => {
                self.option_with_path("-chardev", &format!("file,id={id},path="), path);
            }
            Channel::Terminal => self.option("-chardev", format!("stdio,id={id},signal=off")),
        }
    }
}

/// A path as a value of QEMU's options, in which a comma is written twice.
fn escaped(path: &Path) -> OsString {
    let mut bytes = Vec::new();
    for &byte in path.as_os_str().as_bytes() {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(byte);
        }
    }
    OsString::from_vec(bytes)
}

/// The command as one can paste it into a shell.
pub(crate) fn shell_words(program: &Path, arguments: &[OsString]) -> String {
    let mut text = quoted(program.as_os_str());
    for word in arguments {
        let is_option = word.as_bytes().starts_with(b"-");
        text.push_str(if is_option { " \\\n  " } else { " " });
        text.push_str(&quoted(word));
    }
    text
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+:,./@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emulator(hostile: Option<PathBuf>) -> Boot {
        Boot::Emulator {
            elf: "emulator.elf".into(),
            igvm: "a,b.igvm".into(),
            config: "config".into(),
            hostile,
        }
    }

    fn line() -> Line {
        Line {
            boot: emulator(None),
            request: "request".into(),
            cpus: 4,
            memory: 2 << 30,
            accelerator: Accelerator::Tcg,
            seed: 7,
            disks: Vec::new(),
            network: None,
            trace: None,
            gdb: None,
            console: Channel::Socket(5),
            svsm_log: Channel::File("svsm.log".into()),
            emulator_log: Channel::Socket(6),
            ports: vec![("control", Channel::Socket(7))],
            extra: Vec::new(),
        }
    }

    fn text(line: &Line) -> String {
        line.arguments()
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn the_machine_is_the_one_that_the_emulator_expects() {
        let text = text(&line());
        for part in [
            "-accel tcg,thread=multi -cpu max,+la57,+svm,+npt,phys-bits=52 -smp 5",
            "-kernel emulator.elf",
            "-fw_cfg name=opt/org.parapet/igvm,file=a,,b.igvm",
            "-chardev socket,id=console,fd=5 -serial chardev:console",
            "isa-debugcon,iobase=0x402,chardev=emulator",
            "isa-debug-exit,iobase=0xf4",
            "virtserialport,chardev=control,name=org.parapet.control,nr=1",
        ] {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
        for part in [
            "-netdev",
            "virtio-blk",
            "ivshmem",
            "-gdb",
            "-icount",
            "hostile",
        ] {
            assert!(!text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn options_bring_their_devices() {
        let mut line = line();
        line.accelerator = Accelerator::InstructionCount;
        line.disks = vec![Disk {
            file: "d".into(),
            format: "qcow2",
        }];
        line.network = Some(vec![Forward {
            host: 2222,
            guest: 22,
        }]);
        line.trace = Some(("t".into(), 1 << 20));
        line.gdb = Some(1234);
        line.boot = emulator(Some("h".into()));
        let text = text(&line);
        for part in [
            "-icount shift=0,sleep=off",
            "-seed 7",
            "format=qcow2,file=d -device virtio-blk-pci,disable-legacy=on,iommu_platform=on,drive=disk0",
            "-netdev user,id=net0,hostfwd=tcp:127.0.0.1:2222-:22",
            "memory-backend-file,id=trace,share=on,size=1048576,mem-path=t",
            "-gdb tcp:127.0.0.1:1234 -S",
            "name=opt/org.parapet/hostile,file=h",
        ] {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
    }

    #[test]
    fn the_printed_command_survives_a_shell() {
        let words = [OsString::from("-m"), OsString::from("a b")];
        assert_eq!(
            shell_words(Path::new("qemu"), &words),
            "qemu \\\n  -m 'a b'"
        );
    }
}
