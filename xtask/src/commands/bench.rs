// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench`: what the SVSM costs, held against its limits.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use svsm_abi::CallId;
use svsm_abi::core_protocol;

use crate::cache::Cache;
use crate::failure::Status;
use crate::guest::{initramfs, kernel};
use crate::image_store;
use crate::machine_tests::{Context, Guest, Report};
use crate::progress::Step;
use crate::qemu::Qemu;
use crate::qemu::line::Accelerator;
use crate::run_folder::RunFolder;
use crate::runner::Extras;
use crate::{setup, signals, workspace};

pub(crate) const ABOUT: &str = "Measure what the SVSM costs, and hold it against its limits";
pub(crate) const LONG_ABOUT: &str = "\
Measure what the SVSM costs in instructions, memory and time, and hold it against its limits.

Instructions are exact: QEMU runs by instruction count, one instruction a tick. \"In the SVSM\" means
what VMPL0 itself executes; the emulator's own work for a trapped instruction is left out. Each cost
is also shown for three sizes of the work, so that one sees how it grows.

Ends with status 1 if a limit is broken.

PARAPET_QEMU names the QEMU to use; without it, it is qemu-system-x86_64 in PATH.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask bench
  cargo xtask bench --json > bench.json
  cargo xtask bench --quick              leaves out what is measured with a clock";

/// Measures.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub(crate) json: bool,

    /// Leave out what is measured with a clock: a run in a fresh clone and a warm one
    #[arg(long)]
    pub(crate) quick: bool,
}

/// One figure.
#[derive(Debug, Clone, PartialEq)]
struct Figure {
    /// What is measured.
    what: String,
    /// How much it is; `None` if it could not be measured.
    value: Option<f64>,
    /// Its unit.
    unit: &'static str,
    /// The most that it may be.
    limit: Option<f64>,
}

impl Figure {
    fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            what: what.into(),
            value: Some(value),
            unit,
            limit: None,
        }
    }

    fn at_most(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Is it within its limit? What could not be measured is not.
    fn holds(&self) -> bool {
        match (self.value, self.limit) {
            (_, None) => true,
            (Some(value), Some(limit)) => value <= limit,
            (None, Some(_)) => false,
        }
    }

    fn json(&self) -> Value {
        json!({
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "limit": self.limit,
            "holds": self.holds(),
        })
    }

    fn line(&self) -> String {
        let value = self.value.map_or("not measured".to_owned(), plain);
        let limit = self
            .limit
            .map_or(String::new(), |limit| format!("at most {}", plain(limit)));
        let verdict = match (self.limit, self.holds()) {
            (None, _) => "",
            (Some(_), true) => "ok",
            (Some(_), false) => "TOO MUCH",
        };
        format!(
            "{:<62} {value:>12} {:<13} {limit:<18} {verdict}",
            self.what, self.unit
        )
        .trim_end()
        .to_owned()
    }
}

/// A number with its thousands apart, and decimals only if it is small.
fn plain(value: f64) -> String {
    if value.fract() != 0.0 && value < 1000.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Bench {
    /// Measures; returns the status to end with.
    pub(crate) fn run(self) -> Result<i32> {
        setup::ensure(false)?;
        let mut bench = Machines::new()?;
        let mut figures = Vec::new();
        if !self.quick {
            figures.extend(clock()?);
        }
        figures.extend(bench.sizes()?);
        figures.extend(bench.calls()?);
        figures.extend(bench.start()?);
        let broken = figures.iter().filter(|figure| !figure.holds()).count();
        if self.json {
            let list: Vec<_> = figures.iter().map(Figure::json).collect();
            println!("{:#}", json!({ "figures": list, "broken": broken }));
        } else {
            for figure in &figures {
                println!("{}", figure.line());
            }
            if broken > 0 {
                println!("{broken} of the limits are broken");
            }
        }
        Ok(if broken == 0 {
            0
        } else {
            i32::from(Status::TestFailed as u8)
        })
    }
}

/// What all measures boot their machines with.
struct Machines {
    context: Context,
    _folder: RunFolder,
}

impl Machines {
    fn new() -> Result<Self> {
        let cache = Cache::open()?;
        let qemu = Qemu::find(None)?;
        let kernel = kernel::default(&cache)?;
        let initrd = initramfs::default_for(&kernel, &cache)?;
        let folder = RunFolder::create()?;
        let limit = Duration::from_secs(3600);
        let context = Context::new(&qemu, &kernel, &initrd, folder.path(), "bench", limit)?;
        Ok(Self {
            context,
            _folder: folder,
        })
    }

    /// How large the SVSM is, from the image builder.
    fn sizes(&mut self) -> Result<Vec<Figure>> {
        let mut figures = Vec::new();
        for (cpus, gib) in [(1, 2), (4, 2), (8, 2), (4, 1), (4, 8)] {
            let machine = self.context.machine(&Guest {
                cpus,
                memory: gib << 30,
                ..Guest::default()
            });
            let binaries = machine.build()?;
            let size =
                image_store::svsm_size(&machine, &binaries)?.context("the image has no SVSM")?;
            if (cpus, gib) == (1, 2) {
                let what = "SVSM's ELF file, loadable bytes";
                figures.push(Figure::new(what, size.loaded as f64, "bytes").at_most(262_144.0));
            }
            let what = format!("memory that the SVSM keeps, {cpus} vCPUs, {gib} GiB");
            let figure = Figure::new(what, size.memory as f64, "bytes");
            figures.push(if (cpus, gib) == (4, 2) {
                figure.at_most(2_097_152.0)
            } else {
                figure
            });
        }
        Ok(figures)
    }

    /// What calls cost, from the probe's suite for it.
    fn calls(&mut self) -> Result<Vec<Figure>> {
        let report = self.probe(1, 512 << 20)?;
        report.verdict(1)?;
        let mut figures = Vec::new();
        let query = per_call(&report, core_protocol::QUERY_PROTOCOL, "query")?;
        figures.push(
            Figure::new(
                "an empty call (QUERY_PROTOCOL), guest exit to guest entry",
                query,
                "instructions",
            )
            .at_most(600.0),
        );
        for pages in [127_u32, 255, 511] {
            let cost = |verb: &str| {
                per_call(
                    &report,
                    core_protocol::PVALIDATE,
                    &format!("{verb} {pages}"),
                )
                .map(|cost| cost / f64::from(pages))
            };
            let invalidate = cost("invalidate")?;
            let validate = cost("validate")? - ZEROING;
            for (verb, value) in [
                ("invalidate", invalidate),
                ("validate, zeroing aside", validate),
            ] {
                let what = format!("PVALIDATE, {pages} pages of 4K, each: {verb}");
                let figure = Figure::new(what, value, "instructions");
                figures.push(if pages == 511 {
                    figure.at_most(200.0)
                } else {
                    figure
                });
            }
        }
        for verb in ["invalidate 2M", "validate 2M"] {
            let cost = per_call(&report, core_protocol::PVALIDATE, verb)?;
            figures.push(Figure::new(
                format!("PVALIDATE, one page of 2M: {verb}"),
                cost,
                "instructions",
            ));
        }
        Ok(figures)
    }

    /// What it takes until the guest's first instruction.
    fn start(&mut self) -> Result<Vec<Figure>> {
        let mut figures = Vec::new();
        for (cpus, mib) in [(1, 512), (1, 2048), (1, 8192), (2, 2048), (4, 2048)] {
            let report = self.probe(cpus, mib << 20)?;
            let ticks = report
                .statistics()
                .and_then(|statistics| statistics.until_guest)
                .context("the guest was never entered")?;
            let plural = if cpus == 1 { "" } else { "s" };
            let what =
                format!("from VM start to the guest's first, {cpus} vCPU{plural}, {mib} MiB");
            let figure = Figure::new(what, ticks as f64, "instructions");
            figures.push(if (cpus, mib) == (1, 2048) {
                figure.at_most(3_000_000.0)
            } else {
                figure
            });
        }
        Ok(figures)
    }

    /// Runs the probe's suite for the benchmark by instruction count.
    fn probe(&mut self, cpus: u32, memory: u64) -> Result<Report> {
        let guest = Guest {
            cpus,
            memory,
            extras: Extras {
                accelerator: Accelerator::InstructionCount,
                bench: true,
                ..Extras::default()
            },
            ..Guest::default()
        };
        let step = Step::start(format!(
            "measuring with {cpus} vCPUs and {} MiB",
            memory >> 20
        ));
        let report = self.context.probe(&guest, "bench")?;
        step.done();
        Ok(report)
    }
}

/// Instructions for zeroing a 4K page, eight bytes each: what PVALIDATE does before it grants one.
const ZEROING: f64 = 512.0;

/// Instructions that VMPL0 executed for each call of the list or query that the probe calls `name`.
/// A list that took several calls counts as one.
fn per_call(report: &Report, call: u32, name: &str) -> Result<f64> {
    let rcx = report
        .note(name)
        .with_context(|| format!("the probe tells no `{name}`"))?;
    let rax = CallId {
        protocol: core_protocol::PROTOCOL,
        call,
    }
    .to_rax();
    let statistics = report
        .statistics()
        .context("the emulator wrote no statistics")?;
    let interval = statistics
        .intervals
        .iter()
        .find(|interval| (interval.rax, interval.rcx) == (rax, rcx))
        .with_context(|| format!("the emulator saw no call for `{name}`"))?;
    let rounds = report.note("rounds").unwrap_or(interval.count);
    ensure!(interval.count >= rounds, "calls of `{name}` are missing");
    Ok(interval.sum as f64 / rounds as f64)
}

/// What is measured with a clock: one run in a fresh clone, one that finds all done.
fn clock() -> Result<Vec<Figure>> {
    let folder = RunFolder::create()?;
    let clone = folder.path().join("clone");
    let status = Command::new("git")
        .args(["clone", "--quiet"])
        .arg(workspace::root())
        .arg(&clone)
        .stdin(Stdio::null())
        .spawn()
        .context("starting git")
        .and_then(|mut child| signals::wait(&mut child))?;
    if !status.success() {
        bail!("the clone failed");
    }
    let run = || {
        let started = Instant::now();
        let mut child = Command::new("cargo")
            .args(["xtask", "run", "--", "true"])
            .current_dir(&clone)
            .env_remove("CARGO_TARGET_DIR")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("starting cargo")?;
        let status = signals::wait(&mut child)?;
        ensure!(
            status.success(),
            "`cargo xtask run -- true` ended with {status}"
        );
        Ok::<_, anyhow::Error>(started.elapsed().as_secs_f64())
    };
    let step = Step::start("running in a fresh clone");
    let fresh = run()?;
    step.done();
    let step = Step::start("running again");
    let warm = run()?;
    step.done();
    Ok(vec![
        Figure::new(
            "`cargo xtask run -- true` in a fresh clone",
            fresh,
            "seconds",
        )
        .at_most(150.0),
        Figure::new("the same, warm", warm, "seconds").at_most(12.0),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds_up_to_its_value() {
        let figure = |value| Figure::new("x", value, "bytes").at_most(10.0);
        assert!(figure(10.0).holds());
        assert!(!figure(10.5).holds());
        assert!(Figure::new("x", 1e9, "bytes").holds());
        let unmeasured = Figure {
            value: None,
            ..figure(0.0)
        };
        assert!(!unmeasured.holds());
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(plain(1_234_567.0), "1,234,567");
        assert_eq!(plain(123.0), "123");
        assert_eq!(plain(12.345), "12.3");
        assert_eq!(plain(999.0), "999");
    }

    #[test]
    fn a_broken_limit_is_told() {
        let line = Figure::new("x", 11.0, "bytes").at_most(10.0).line();
        assert!(line.ends_with("at most 10         TOO MUCH"), "{line}");
    }
}
