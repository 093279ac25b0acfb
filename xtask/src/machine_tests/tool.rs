// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tool as a user runs it: what goes where, which status comes back, and what stays behind.
//! These guests run on QEMU's own machine, so that a fault here is the tool's.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Context, MachineTest, Outcome, seconds};
use crate::workspace;

pub(super) const TESTS: &[MachineTest] = &[
    MachineTest {
        name: "tool::streams_and_status",
        limit: seconds(90),
        run: streams_and_status,
    },
    MachineTest {
        name: "tool::much_output",
        limit: seconds(120),
        run: much_output,
    },
    MachineTest {
        name: "tool::shell_on_a_terminal",
        limit: seconds(90),
        run: shell_on_a_terminal,
    },
    MachineTest {
        name: "tool::wrong_input",
        limit: seconds(60),
        run: wrong_input,
    },
    MachineTest {
        name: "tool::time_limit",
        limit: seconds(60),
        run: time_limit,
    },
    MachineTest {
        name: "tool::stopped_by_a_signal",
        limit: seconds(60),
        run: stopped_by_a_signal,
    },
];

/// This tool with `arguments`, all of its streams captured.
fn tool(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(workspace::this_program()?);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

fn run(arguments: &[&str]) -> Result<Output> {
    tool(arguments)?.output().context("starting the tool")
}

fn streams_and_status(_: &mut Context) -> Result<Outcome> {
    let script = "read line; echo \"out $line\"; echo err >&2; exit 7";
    let mut child = tool(&["run", "--platform", "none", "--", "sh", "-c", script])?
        .stdin(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("standard input")?;
    stdin.write_all(b"in\n")?;
    drop(stdin);
    let output = child.wait_with_output()?;
    ensure!(output.stdout == b"out in\n", "standard output: {output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        stderr.lines().any(|line| line == "err"),
        "standard error: {stderr}"
    );
    ensure!(
        output.status.code() == Some(7),
        "status: {:?}",
        output.status
    );
    Ok(Outcome::Passed)
}

fn much_output(_: &mut Context) -> Result<Outcome> {
    let output = run(&["run", "--platform", "none", "--", "seq", "1", "400000"])?;
    ensure!(output.status.success(), "status: {:?}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let wrong = text
        .lines()
        .zip(1..)
        .find(|(line, number)| line.parse() != Ok(*number));
    ensure!(wrong.is_none(), "a line is wrong: {wrong:?}");
    ensure!(
        text.lines().count() == 400_000,
        "{} lines arrived",
        text.lines().count()
    );
    Ok(Outcome::Passed)
}

/// A person types at the guest's shell; Ctrl-C is for the guest, and `poweroff` ends the run.
fn shell_on_a_terminal(context: &mut Context) -> Result<Outcome> {
    let tool = workspace::this_program()?;
    let command = format!(
        "stty rows 33 cols 111; '{}' run --platform none",
        tool.display()
    );
    // script(1) gives it a terminal.
    let child = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Outcome::Skipped("script(1) is not installed".to_owned()));
        }
        Err(error) => return Err(error.into()),
    };
    let (mut keys, mut screen) = (
        child.stdin.take().context("standard input")?,
        child.stdout.take().context("standard output")?,
    );
    let buffer = super::context::Buffer::default();
    let mut copy = buffer.clone();
    let reader = std::thread::spawn(move || std::io::copy(&mut screen, &mut copy));
    let mut seen = String::new();
    let deadline = Instant::now() + context.time_left();
    let mut wait_for = |text: &str| -> Result<()> {
        loop {
            seen.push_str(&String::from_utf8_lossy(&buffer.take()));
            if let Some(at) = seen.find(text) {
                seen.drain(..at + text.len());
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "`{text}` did not come; the last was:\n{seen}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let steps: [(&str, &[u8]); 6] = [
        ("guest ~ # ", b"stty size; echo $TERM\r"),
        ("33 111\r\nxterm-256color", b"sleep 1000\r"),
        ("sleep 1000", b""),
        ("\n", b"\x03"),
        ("guest ~ # ", b"echo ended by $?\r"),
        ("ended by 130", b"poweroff\r"),
    ];
    let played: Result<()> = steps.into_iter().try_for_each(|(text, answer)| {
        wait_for(text)?;
        // A person is slower than a shell that has just started a program.
        std::thread::sleep(Duration::from_millis(300));
        Ok(keys.write_all(answer)?)
    });
    if played.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    let _ = reader.join();
    played?;
    ensure!(status.code() == Some(0), "status: {status:?}");
    Ok(Outcome::Passed)
}

/// Each wrong input gets a sentence, a hint and status 254 or 253.
fn wrong_input(context: &mut Context) -> Result<Outcome> {
    let empty = context.folder().join("empty");
    std::fs::write(&empty, b"")?;
    let empty = empty.to_string_lossy().into_owned();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let gdb = format!("--gdb={}", taken.local_addr()?.port());
    let forward = format!("{}:22", taken.local_addr()?.port());
    let cases: &[(&[&str], &str, i32)] = &[
        (&["--cpus", "0"], "--cpus 0: a guest has 1 to 64 vCPUs", 254),
        (&["--memory", "16M"], "--memory 16M: too little", 254),
        (&["--memory", "many"], "no size of memory", 254),
        (
            &["--kernel", "/nonexistent"],
            "the kernel /nonexistent cannot be read",
            254,
        ),
        (&["--kernel", &empty], "is not a bootable kernel", 254),
        (&["--initrd", &empty], "is empty", 254),
        (
            &["--disk", "/nonexistent"],
            "the disk /nonexistent cannot be opened",
            254,
        ),
        (
            &["--qemu", "/nonexistent"],
            "there is no QEMU at /nonexistent",
            254,
        ),
        (&["--qemu", "/bin/cat"], "is not a QEMU", 254),
        (&[&gdb], "is in use", 254),
        (&["--forward", &forward], "is in use", 254),
        (&["--trace", "/nonexistent/file"], "cannot be written", 254),
    ];
    for (options, message, status) in cases {
        let arguments = [&["run"], *options, &["--", "true"]].concat();
        let output = run(&arguments)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(*status),
            "{options:?}: status {:?}\n{stderr}",
            output.status
        );
        ensure!(
            stderr.contains(message),
            "{options:?}: not `{message}` but:\n{stderr}"
        );
        let hints = stderr.contains("hint: ") || stderr.contains("For more information");
        ensure!(hints, "{options:?}: no hint:\n{stderr}");
        ensure!(output.stdout.is_empty(), "{options:?}: {:?}", output.stdout);
    }
    Ok(Outcome::Passed)
}

fn time_limit(_: &mut Context) -> Result<Outcome> {
    let output = run(&[
        "run",
        "--platform",
        "none",
        "--timeout",
        "8",
        "--",
        "sleep",
        "1000",
    ])?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(252),
        "status: {:?}\n{stderr}",
        output.status
    );
    ensure!(stderr.contains("the guest was ended after"), "{stderr}");
    Ok(Outcome::Passed)
}

/// After SIGINT nothing of the run is left: no process, no file.
fn stopped_by_a_signal(context: &mut Context) -> Result<Outcome> {
    let mut child = tool(&["run", "--platform", "none", "--", "sleep", "1000"])?.spawn()?;
    let id = child.id();
    let folder = std::env::temp_dir().join(format!("parapet-run-{id}-0"));
    let deadline = Instant::now() + context.time_left();
    let qemu = loop {
        if let Some(qemu) = child_of(id) {
            break qemu;
        }
        if Instant::now() > deadline {
            child.kill()?;
            bail!("QEMU did not start");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    ensure!(folder.exists(), "{} is not there", folder.display());
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::INT)?;
    let status = child.wait()?;
    ensure!(status.code() == Some(130), "status: {status:?}");
    ensure!(!folder.exists(), "{} stayed", folder.display());
    ensure!(!is_alive(qemu), "QEMU, process {qemu}, stayed");
    Ok(Outcome::Passed)
}

/// A process that `parent` started and that has become QEMU.
fn child_of(parent: u32) -> Option<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = std::fs::read_to_string(path).ok()?;
    children
        .split_whitespace()
        .filter_map(|id| id.parse().ok())
        .find(|id| {
            std::fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|line| {
                line.split(|&byte| byte == 0)
                    .any(|word| word == b"-nodefaults")
            }) && std::fs::read(format!("/proc/{id}/cmdline"))
                .is_ok_and(|line| line.windows(8).any(|word| word == b"virtio-s"))
        })
}

fn is_alive(id: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|text| {
        !text
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .trim_start()
            .starts_with('Z')
    })
}
