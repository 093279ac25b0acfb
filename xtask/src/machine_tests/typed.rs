// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a user types and sees on the security machine: the promises of `cargo xtask run --help`, each in a run.

use std::collections::BTreeMap;
use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use emulator_defs::exit::RunEnd;

use super::devices::free_port;
use super::tool::{run, tool};
use super::{Context, MachineTest, Outcome, seconds};
use crate::cache::Cache;
use crate::guest::initramfs;
use crate::qemu::line::PORT_PREFIX;
use crate::workspace::{self, BARE_METAL, Profile, TARGET};

pub(super) const TESTS: &[MachineTest] = &[
    MachineTest {
        name: "tool::the_vmpl_and_nothing_else",
        limit: seconds(180),
        run: vmpl,
    },
    MachineTest {
        name: "tool::printed_command",
        limit: seconds(120),
        run: printed_command,
    },
    MachineTest {
        name: "tool::guest_that_ends_itself",
        limit: seconds(120),
        run: ends_itself,
    },
];

/// What the README has a reader type.
const COMMAND: [&str; 2] = ["cat", "/sys/devices/system/cpu/sev/vmpl"];

/// The command of the README prints `2` and nothing else. A second run builds nothing; with a debugger, which finds
/// the machine before its first instruction, it is the same.
fn vmpl(context: &mut Context) -> Result<Outcome> {
    let output = run(&["run", "--", COMMAND[0], COMMAND[1]])?;
    prints_two(&output)?;
    let before = Made::look()?;

    let port = free_port()?;
    let gdb = format!("--gdb={port}");
    let mut child = tool(&["run", &gdb, "--", COMMAND[0], COMMAND[1]])?.spawn()?;
    let stderr = child.stderr.take().context("standard error")?;
    let mut stderr = BufReader::new(stderr);
    let mut told = String::new();
    let debugged = wait_for_line(&mut stderr, &mut told, "target remote")
        .and_then(|()| debug(port, context.time_left()));
    if debugged.is_err() {
        child.kill()?;
    }
    stderr.read_to_string(&mut told)?;
    let mut output = child.wait_with_output()?;
    debugged.with_context(|| told.clone())?;
    output.stderr = told.into_bytes();
    prints_two(&output)?;
    let told = String::from_utf8_lossy(&output.stderr);
    for word in [
        "building",
        "making",
        "fetching",
        "downloading",
        "installing",
    ] {
        ensure!(!told.contains(word), "a second run is {word}: {told}");
    }
    let after = Made::look()?;
    ensure!(
        before == after,
        "a second run made something: {before:?} and then {after:?}"
    );
    Ok(Outcome::Passed)
}

fn prints_two(output: &Output) -> Result<()> {
    let right = output.status.code() == Some(0) && output.stdout == b"2\n";
    ensure!(right, "it printed {output:?}");
    Ok(())
}

/// The files that runs make once, each with what changes when it is made again.
#[derive(Debug, PartialEq, Eq)]
struct Made(BTreeMap<PathBuf, (u64, u64, i64)>);

impl Made {
    fn look() -> Result<Self> {
        let target = workspace::target_folder();
        let binaries = target.join(TARGET).join(Profile::Release.name());
        let mut made = BTreeMap::new();
        for name in BARE_METAL {
            let file = binaries.join(name);
            let data = file
                .metadata()
                .with_context(|| file.display().to_string())?;
            made.insert(file, (data.ino(), data.size(), data.mtime_nsec()));
        }
        let folders = [
            target.join("parapet-images"),
            Cache::open()?.folder("initramfs")?,
        ];
        for folder in folders {
            let entries = std::fs::read_dir(&folder)?;
            for entry in entries {
                let entry = entry?;
                // The time of an image says when it was last of use.
                let data = entry.metadata()?;
                made.insert(entry.path(), (data.ino(), data.size(), 0));
            }
        }
        ensure!(made.len() > BARE_METAL.len(), "nothing was made: {made:?}");
        Ok(Self(made))
    }
}

/// Reads lines until one has `text` in it.
fn wait_for_line(lines: &mut impl std::io::BufRead, told: &mut String, text: &str) -> Result<()> {
    loop {
        let start = told.len();
        if lines.read_line(told)? == 0 {
            bail!("`{text}` did not come");
        }
        if told[start..].contains(text) {
            return Ok(());
        }
    }
}

/// What a debugger does first, by its protocol (GDB's manual, "Remote Protocol"): asks why the machine
/// stopped, reads the registers, and lets go.
fn debug(port: u16, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    // The port is announced before QEMU listens to it.
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let why = packet(&mut stream, "?")?;
    ensure!(
        why.starts_with("T05") || why.starts_with("S05"),
        "the machine stopped for {why}"
    );
    let registers = packet(&mut stream, "g")?;
    // RIP comes after 16 registers of 8 bytes, little-endian; it is that of a processor after reset.
    ensure!(
        registers.get(256..272) == Some("f0ff000000000000"),
        "the machine is not at its first instruction: {registers}"
    );
    let detached = packet(&mut stream, "D")?;
    ensure!(detached == "OK", "the machine does not go on: {detached}");
    Ok(())
}

/// Sends a packet and returns the one that answers it.
fn packet(stream: &mut TcpStream, text: &str) -> Result<String> {
    let sum = text.bytes().fold(0u8, u8::wrapping_add);
    write!(stream, "${text}#{sum:02x}")?;
    let mut byte = [0];
    let mut answer = Vec::new();
    // An acknowledgement comes first.
    while byte[0] != b'$' {
        stream.read_exact(&mut byte)?;
    }
    loop {
        stream.read_exact(&mut byte)?;
        if byte[0] == b'#' {
            break;
        }
        answer.push(byte[0]);
    }
    stream.read_exact(&mut [0; 2])?;
    stream.write_all(b"+")?;
    Ok(String::from_utf8(answer)?)
}

/// The command that is printed starts the very machine: a kernel, an initramfs and a word of the user's are in it.
fn printed_command(context: &mut Context) -> Result<Outcome> {
    let marker = initramfs::with_program("marker", b"#!/bin/sh\necho marked\n");
    let initrd = context.folder().join("initrd");
    let with_marker = [std::fs::read(context.initrd())?, marker].concat();
    std::fs::write(&initrd, with_marker)?;
    let script = format!("marker; cat /proc/cmdline; cat {}", COMMAND[1]);
    let paths = [context.kernel(), &initrd].map(|path| path.to_string_lossy().into_owned());
    let output = run(&[
        "run",
        "--kernel",
        &paths[0],
        "--initrd",
        &paths[1],
        "--append",
        "parapet.word=\"of mine\"",
        "--print-qemu-command",
        "--",
        "sh",
        "-c",
        &script,
    ])?;
    ensure!(output.status.success(), "{output:?}");
    let line = String::from_utf8(output.stdout)?;
    let mut child = Command::new("sh")
        .args(["-c", &format!("exec {line}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let status = wait(&mut child, context.time_left())?;
    let end = status.and_then(RunEnd::from_qemu_status);
    let printed = workspace::out()?.join("qemu-command");
    let stdout = std::fs::read_to_string(printed.join(format!("{PORT_PREFIX}stdout")))?;
    ensure!(
        end == Some(RunEnd::PowerOff),
        "QEMU ended with {status:?}; the guest printed {stdout:?}"
    );
    let lines: Vec<_> = stdout.lines().collect();
    let [marked, command_line, vmpl] = lines[..] else {
        bail!("the guest printed {stdout:?}");
    };
    ensure!(
        (marked, vmpl) == ("marked", "2") && command_line.ends_with("parapet.word=\"of mine\""),
        "the guest printed {stdout:?}"
    );
    let control = std::fs::read_to_string(printed.join(format!("{PORT_PREFIX}control")))?;
    ensure!(control == "ready\nexit 0\n", "init said {control:?}");
    Ok(Outcome::Passed)
}

/// Waits for a program; after `limit` it is ended. Its status.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<i32>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("it did not end");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Linux ends itself when the host refuses what it needs (56421, 2.3.1; Linux `arch/x86/include/asm/sev-common.h`): the
/// run says who did it, why in words, and what led to it.
fn ends_itself(context: &mut Context) -> Result<Outcome> {
    let script = context.folder().join("script");
    std::fs::write(&script, "psc vmpl=0: refuse\n")?;
    let hostile = script.to_string_lossy().into_owned();
    let output = run(&["run", "--no-svsm", "--hostile", &hostile, "--", "true"])?;
    let told = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(251) && output.stdout.is_empty(),
        "status {:?}: {told}",
        output.status
    );
    for words in [
        "error: VMPL0 asked to be terminated: reason set 1, code 1: Linux: a page state change failed",
        "\nthe run ended on vCPU 0\n",
        "\nlast exits of vCPU 0, oldest first:\n",
        "\nhint: ",
    ] {
        let told = format!("\n{told}");
        ensure!(told.contains(words), "`{words}` is missing: {told}");
    }
    // The last of the exits is the request itself, as the MSR has it.
    let last = told.lines().rfind(|line| line.contains("VMGEXIT"));
    ensure!(
        last.is_some_and(|line| line.ends_with("MSR protocol 0x100")),
        "the last request is {last:?}"
    );
    Ok(Outcome::Passed)
}
