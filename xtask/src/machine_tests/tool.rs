// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tool as a user runs it: what goes where, which status comes back, and what stays behind.
//! Where the security machine does not matter these guests run on QEMU's own, so that a fault here is the tool's.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

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
];

/// This tool with `arguments`, all of its streams captured.
pub(super) fn tool(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(workspace::this_program()?);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

pub(super) fn run(arguments: &[&str]) -> Result<Output> {
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

/// A person types at the shell of a guest under the SVSM; Ctrl-C is for the guest, and `poweroff` ends the run.
fn shell_on_a_terminal(context: &mut Context) -> Result<Outcome> {
    let tool = workspace::this_program()?;
    let command = format!("stty rows 33 cols 111; '{}' run", tool.display());
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
    let steps: [(&str, &[u8]); 8] = [
        ("guest ~ # ", b"stty size; echo $TERM\r"),
        ("33 111\r\nxterm-256color", b"sleep 1000\r"),
        ("sleep 1000", b""),
        ("\n", b"\x03"),
        ("guest ~ # ", b"echo ended by $?\r"),
        ("ended by 130", b"cat /sys/devices/system/cpu/sev/vmpl\r"),
        ("\n2\r\n", b"poweroff\r"),
        ("of these", b""),
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
    let output = run(&["run", "--timeout", "8", "--", "sleep", "1000"])?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(252),
        "status: {:?}\n{stderr}",
        output.status
    );
    ensure!(stderr.contains("the guest was ended after"), "{stderr}");
    Ok(Outcome::Passed)
}
