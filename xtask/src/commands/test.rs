// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test`: all checks and tests, in the order in which they are cheap.

use std::io::Write as _;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

use crate::cache::Cache;
use crate::failure::{Failure, Interrupted, Status};
use crate::guest::initramfs;
use crate::guest::kernel;
use crate::host_tests::{self, Findings, HostTest, Totals};
use crate::machine_tests::{self, Context, MachineTest, Outcome};
use crate::qemu::Qemu;
use crate::workspace;
use crate::{setup, signals};

pub(crate) const ABOUT: &str = "Check the sources, and run all tests, with and without a machine";
pub(crate) const LONG_ABOUT: &str = "\
Check the sources and run all tests, the cheap ones first:

  check::NAME           formatting, lints and documentation
  unit                  unit and property tests on this machine
  miri                  those of the core's unsafe rooms once more, under Miri
  fuzz::NAME            a few seconds of each fuzz target
  GROUP::NAME           tests that boot a machine
  long::NAME            with --long: the downstream branches, fetched, built patch by patch, booted

FILTER runs those whose name contains it. The last line has the totals; checks count only if they
fail. When a machine test fails, the logs of its guests are in out/tests/.

PARAPET_QEMU names the QEMU to use; without it, it is qemu-system-x86_64 in PATH.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask test
  cargo xtask test boot::                 the machine tests that boot Linux
  cargo xtask test check::                formatting, lints and documentation only
  PARAPET_QEMU=/opt/qemu/bin/qemu-system-x86_64 cargo xtask test boot::
  cargo xtask test --list
  cargo xtask test --long long::          the branches of Linux and QEMU; an hour the first time";

/// Tests.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Run what has this in its name
    #[arg(value_name = "FILTER")]
    pub(crate) filter: Option<String>,

    /// Also run what takes long
    #[arg(long)]
    pub(crate) long: bool,

    /// Print the names and run nothing
    #[arg(long)]
    pub(crate) list: bool,

    /// Stop at the first failure
    #[arg(long)]
    pub(crate) fail_fast: bool,
}

impl Test {
    /// Tests; returns the status to end with.
    pub(crate) fn run(self) -> Result<i32> {
        let wanted = |name: &str| {
            self.filter
                .as_ref()
                .is_none_or(|filter| name.contains(filter))
        };
        let host: Vec<_> = host_tests::all().filter(|test| wanted(test.name)).collect();
        let long: Vec<_> = host_tests::long()
            .filter(|test| self.long && wanted(test.name))
            .collect();
        let machine: Vec<_> = machine_tests::all()
            .filter(|test| wanted(test.name))
            .collect();
        if self.list {
            let host = host.iter().map(|test| test.name);
            let machine = machine.iter().map(|test| test.name);
            for name in host.chain(machine).chain(long.iter().map(|test| test.name)) {
                println!("{name}");
            }
            return Ok(0);
        }
        let nothing = host.is_empty() && machine.is_empty() && long.is_empty();
        if let (true, Some(filter)) = (nothing, &self.filter) {
            return Err(
                Failure::new(Status::Usage, format!("no test has {filter:?} in its name"))
                    .hint("`cargo xtask test --list` has the names, and with --long all of them")
                    .into(),
            );
        }
        setup::ensure(false)?;
        let mut totals = Totals::default();
        self.host(&host, &mut totals)?;
        if !machine.is_empty() {
            self.machine(&machine, &mut totals)?;
        }
        self.host(&long, &mut totals)?;
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

    fn host(&self, tests: &[&'static HostTest], totals: &mut Totals) -> Result<()> {
        for test in tests {
            let started = announce(test.name);
            let findings = match (test.run)() {
                Ok(findings) => findings,
                Err(error) if error.is::<Interrupted>() => return Err(error),
                Err(error) => Findings::failed(format!("{error:#}")),
            };
            let verdict = match findings.totals {
                Totals { failed: 1.., .. } => "FAIL",
                Totals {
                    passed: 0,
                    skipped: 1..,
                    ..
                } => "SKIP",
                _ => "PASS",
            };
            *totals += findings.totals;
            tell(verdict, test.name, started, &findings.detail);
            self.stop_early(totals)?;
        }
        Ok(())
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
}
