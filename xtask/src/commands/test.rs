// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test`: all checks and tests, in the order in which they are cheap.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::cache::Cache;
use crate::failure::Status;
use crate::guest::initramfs;
use crate::guest::kernel;
use crate::machine_tests::{self, Context, MachineTest, Outcome};
use crate::qemu::Qemu;
use crate::workspace::{self, BARE_METAL, PROBE, REPORT_PROGRAM, TARGET, cargo};
use crate::{setup, signals};

pub(crate) const ABOUT: &str = "Check the sources, and run all tests, with and without a machine";
pub(crate) const LONG_ABOUT: &str = "\
Check the sources and run all tests, the cheap ones first:

  check::fmt, check::clippy, check::clippy-bare-metal, check::doc
  unit                  unit and property tests on this machine
  GROUP::NAME           tests that boot a machine

FILTER runs those whose name contains it. The last line has the totals; checks count only if they
fail. When a machine test fails, the logs of its guests are in out/tests/.

PARAPET_QEMU names the QEMU to use; without it, it is qemu-system-x86_64 in PATH.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask test
  cargo xtask test boot::                 the machine tests that boot Linux
  cargo xtask test check::                formatting, lints and documentation only
  PARAPET_QEMU=/opt/qemu/bin/qemu-system-x86_64 cargo xtask test boot::
  cargo xtask test --list";

/// Tests.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Run what has this in its name
    #[arg(value_name = "FILTER")]
    pub(crate) filter: Option<String>,

    /// Print the names and run nothing
    #[arg(long)]
    pub(crate) list: bool,

    /// Stop at the first failure
    #[arg(long)]
    pub(crate) fail_fast: bool,
}

/// What has been counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Totals {
    passed: u64,
    failed: u64,
    skipped: u64,
}

const UNIT: &str = "unit";
const CHECKS: [&str; 4] = [
    "check::fmt",
    "check::clippy",
    "check::clippy-bare-metal",
    "check::doc",
];

impl Test {
    /// Tests; returns the status to end with.
    pub(crate) fn run(self) -> Result<i32> {
        let wanted = |name: &str| {
            self.filter
                .as_ref()
                .is_none_or(|filter| name.contains(filter))
        };
        let checks: Vec<_> = CHECKS.into_iter().filter(|name| wanted(name)).collect();
        let machine: Vec<_> = machine_tests::all()
            .filter(|test| wanted(test.name))
            .collect();
        if self.list {
            for name in checks.into_iter().chain(wanted(UNIT).then_some(UNIT)) {
                println!("{name}");
            }
            for test in machine {
                println!("{}", test.name);
            }
            return Ok(0);
        }
        setup::ensure(false)?;
        let mut totals = Totals::default();
        for name in checks {
            self.step(name, &mut totals, || check(name))?;
        }
        if wanted(UNIT) {
            unit(&mut totals)?;
            self.stop_early(&totals)?;
        }
        if !machine.is_empty() {
            self.machine(&machine, &mut totals)?;
        }
        if totals == Totals::default() && CHECKS.iter().all(|name| !wanted(name)) {
            eprintln!(
                "nothing has {:?} in its name",
                self.filter.unwrap_or_default()
            );
            totals.failed += 1;
        }
        println!(
            "{} passed, {} failed, {} skipped",
            totals.passed, totals.failed, totals.skipped
        );
        Ok(if totals.failed == 0 {
            0
        } else {
            i32::from(Status::TestFailed as u8)
        })
    }

    /// A check passes in silence, as far as the totals go.
    fn step(
        &self,
        name: &str,
        totals: &mut Totals,
        check: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let started = announce(name);
        match check() {
            Ok(()) => tell("PASS", name, started, ""),
            Err(error) if error.is::<crate::failure::Interrupted>() => return Err(error),
            Err(error) => {
                totals.failed += 1;
                tell("FAIL", name, started, &format!("{error:#}"));
            }
        }
        self.stop_early(totals)
    }

    fn stop_early(&self, totals: &Totals) -> Result<()> {
        if self.fail_fast && totals.failed > 0 {
            bail!("stopped at the first failure");
        }
        Ok(())
    }

    fn machine(&self, tests: &[&'static MachineTest], totals: &mut Totals) -> Result<()> {
        let cache = Cache::open()?;
        let qemu = Qemu::find(None)?;
        let kernel = kernel::default(&cache)?;
        let initrd = initramfs::default_for(&kernel, &cache)?;
        let folder = workspace::out()?.join("tests");
        for test in tests {
            let started = announce(test.name);
            let mut context =
                Context::new(&qemu, &kernel, &initrd, &folder, test.name, test.limit)?;
            let result = (test.run)(&mut context);
            signals::check()?;
            match result {
                Ok(Outcome::Passed) => {
                    totals.passed += 1;
                    tell("PASS", test.name, started, "");
                    let _ = std::fs::remove_dir_all(context.folder());
                }
                Ok(Outcome::Skipped(reason)) => {
                    totals.skipped += 1;
                    tell("SKIP", test.name, started, &reason);
                    let _ = std::fs::remove_dir_all(context.folder());
                }
                Err(error) => {
                    totals.failed += 1;
                    let reason = format!("{error:#}");
                    std::fs::write(context.folder().join("reason"), &reason)?;
                    tell("FAIL", test.name, started, &shortened(&reason));
                    println!("     all of it is in {}", context.folder().display());
                }
            }
            self.stop_early(totals)?;
        }
        Ok(())
    }
}

fn announce(name: &str) -> Instant {
    use std::io::IsTerminal as _;
    if std::io::stdout().is_terminal() {
        print!(".... {name}");
        let _ = std::io::stdout().flush();
    }
    Instant::now()
}

fn tell(verdict: &str, name: &str, started: Instant, detail: &str) {
    use std::io::IsTerminal as _;
    let clear = if std::io::stdout().is_terminal() {
        "\r\x1b[K"
    } else {
        ""
    };
    println!(
        "{clear}{verdict} {name} ({:.1} s)",
        started.elapsed().as_secs_f64()
    );
    for line in detail.lines() {
        println!("     {line}");
    }
}

/// The beginning and the end of a long text: what went wrong, and the last words of the logs.
fn shortened(text: &str) -> String {
    const HEAD: usize = 8;
    const TAIL: usize = 16;
    let lines: Vec<_> = text.lines().collect();
    if lines.len() <= HEAD + TAIL {
        return text.to_owned();
    }
    let (head, tail) = (&lines[..HEAD], &lines[lines.len() - TAIL..]);
    format!("{}\n...\n{}", head.join("\n"), tail.join("\n"))
}

/// Runs one of the checks.
fn check(name: &str) -> Result<()> {
    let mut command = cargo();
    match name {
        "check::fmt" => {
            command.args(["fmt", "--all", "--check"]);
        }
        "check::clippy" => {
            command.args(["clippy", "--quiet", "--workspace", "--all-targets"]);
            command.args(["--", "-D", "warnings"]);
        }
        "check::clippy-bare-metal" => {
            command.args(["clippy", "--quiet", "--target", TARGET]);
            for package in BARE_METAL.into_iter().chain([PROBE, REPORT_PROGRAM]) {
                command.args(["--package", package]);
            }
            command.args(["--", "-D", "warnings"]);
        }
        "check::doc" => {
            command.args([
                "doc",
                "--quiet",
                "--workspace",
                "--no-deps",
                "--document-private-items",
            ]);
            command.env("RUSTDOCFLAGS", "-D warnings");
        }
        _ => bail!("there is no check called {name}"),
    }
    let output = captured(command)?;
    if !output.0 {
        bail!("{}", output.1.trim_end());
    }
    Ok(())
}

/// Runs a command; says whether it ended well, and what it printed.
fn captured(mut command: Command) -> Result<(bool, String)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting cargo")?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let read = |stream: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stream) = stream {
                let _ = stream.read_to_end(&mut bytes);
            }
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = read(stdout.map(|stream| Box::new(stream) as _));
    let stderr = read(stderr.map(|stream| Box::new(stream) as _));
    let status = signals::wait(&mut child)?;
    let text = stdout.join().unwrap_or_default() + &stderr.join().unwrap_or_default();
    Ok((status.success(), text))
}

/// Runs the tests that need no machine, and counts them.
fn unit(totals: &mut Totals) -> Result<()> {
    let started = announce(UNIT);
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    let (success, text) = captured(command)?;
    let counted = count(&text);
    totals.passed += counted.passed;
    totals.failed += counted.failed;
    totals.skipped += counted.skipped;
    if success {
        tell("PASS", UNIT, started, &format!("{} tests", counted.passed));
        return Ok(());
    }
    if counted.failed == 0 {
        // They did not even build.
        totals.failed += 1;
    }
    tell("FAIL", UNIT, started, &failures(&text));
    Ok(())
}

/// Adds up the lines with which each test binary ends.
fn count(text: &str) -> Totals {
    let mut totals = Totals::default();
    for line in BufReader::new(text.as_bytes())
        .lines()
        .map_while(Result::ok)
    {
        let Some(result) = line.strip_prefix("test result: ") else {
            continue;
        };
        let number = |unit: &str| {
            result
                .split(['.', ';'])
                .find_map(|part| part.trim().strip_suffix(unit)?.trim().parse::<u64>().ok())
                .unwrap_or(0)
        };
        totals.passed += number("passed");
        totals.failed += number("failed");
        totals.skipped += number("ignored");
    }
    totals
}

/// What of cargo's output tells of failures: all but the tests that passed.
fn failures(text: &str) -> String {
    text.lines()
        .filter(|line| {
            !line.ends_with("... ok")
                && !line.starts_with("running ")
                && !line.contains("Running ")
                && !line.starts_with("test result: ok")
                && !line.trim().is_empty()
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_keeps_both_ends() {
        let text: Vec<_> = (0..100).map(|number| number.to_string()).collect();
        let short = shortened(&text.join("\n"));
        assert_eq!(short.lines().count(), 25);
        assert!(short.starts_with("0\n") && short.ends_with("\n99"));
        assert_eq!(shortened("one\ntwo"), "one\ntwo");
    }

    #[test]
    fn results_of_test_binaries_add_up() {
        let text = "running 2 tests\n\
            test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            test result: FAILED. 3 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n";
        assert_eq!(
            count(text),
            Totals {
                passed: 5,
                failed: 4,
                skipped: 1
            }
        );
        assert_eq!(count("error: could not compile"), Totals::default());
    }
}
