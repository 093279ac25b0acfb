// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench qemu`: what the emulator's work costs on one QEMU and on another.
//!
//! The guest executes the same instructions on each of them, so what differs is QEMU: its
//! processor seconds are counted, of all its threads, and the least of several runs is taken. The QEMUs take
//! turns, so that a load on the machine meets all of them.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::Args;
use serde_json::json;
use xtask_common::processor_time;

use crate::cache::Cache;
use crate::guest::command::Task;
use crate::guest::{initramfs, kernel};
use crate::machine_tests::{Buffer, Context, Guest, Report};
use crate::options::Platform;
use crate::progress::Step;
use crate::qemu::Qemu;
use crate::run_folder::RunFolder;
use crate::runner::{Extras, Ready};
use crate::session::{CommandStreams, Wiring, verdict};
use crate::setup;

pub(crate) const LONG_ABOUT: &str = "\
Measure what the emulator costs on other QEMUs, beside the usual one.

Each FILE is a qemu-system-x86_64. All of them run the same guests in turn, and the processor seconds
that QEMU itself takes are compared: the least of --runs runs. Times are ratios; they depend on the
machine and on nothing of the guest's. The last measure has no emulator in it: it shows what of the
difference is owed to QEMU's version and build alone.

The usual QEMU is the one that PARAPET_QEMU names, or qemu-system-x86_64 in PATH. `cargo xtask branch
build tcg-svm` builds one with the patches of that branch.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask bench qemu /opt/qemu/bin/qemu-system-x86_64
  PARAPET_QEMU=./unpatched cargo xtask bench qemu --runs 5 --json ./patched";

/// Exits of the run that has them, and calls.
const EXITS: u64 = 100_000;
const CALLS: u64 = 10_000;
/// vCPUs of the load, and the calls of each.
const LOAD_VCPUS: u32 = 4;
const LOAD_ROUNDS: u32 = 500;

/// A run that takes longer has gone wrong.
const LIMIT: Duration = Duration::from_secs(240);
const MEMORY: u64 = 512 << 20;

/// Other QEMUs.
#[derive(Debug, Args)]
pub(crate) struct Others {
    /// A qemu-system-x86_64 to hold against the usual one
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// How often each measure is taken; the least counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,

    /// Print one JSON object instead of the table
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is run.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// A suite of the probe, with the words for its command line.
    Probe(&'static str, u32, fn() -> String),
    /// The stock kernel, up to its first command.
    Linux(Platform),
}

/// A measure: what a run takes, or what one of many things that a run does takes more than none.
struct Measure {
    what: &'static str,
    unit: &'static str,
    work: Work,
    /// A run without it, and how many of it the other run has.
    without: Option<(Work, u64)>,
}

const NONE: Work = Work::Probe("switches", 1, String::new);

const MEASURES: [Measure; 5] = [
    Measure {
        what: "an exit and the next entry (an intercepted RDMSR)",
        unit: "µs",
        work: Work::Probe("switches", 1, || format!("exits={EXITS}")),
        without: Some((NONE, EXITS)),
    },
    Measure {
        what: "an empty call of the SVSM: to VMPL0 and back",
        unit: "µs",
        work: Work::Probe("switches", 1, || format!("calls={CALLS}")),
        without: Some((NONE, CALLS)),
    },
    Measure {
        what: "the probe's load, 4 vCPUs, 500 calls each",
        unit: "s",
        work: Work::Probe("load", LOAD_VCPUS + 1, || {
            format!("vcpus={LOAD_VCPUS} rounds={LOAD_ROUNDS}")
        }),
        without: None,
    },
    Measure {
        what: "Linux under the SVSM up to `true`, 2 vCPUs",
        unit: "s",
        work: Work::Linux(Platform::Snp),
        without: None,
    },
    Measure {
        what: "the same Linux on a plain machine, no emulator",
        unit: "s",
        work: Work::Linux(Platform::None),
        without: None,
    },
];

impl Others {
    /// Measures; returns the status to end with.
    pub(crate) fn run(self) -> Result<i32> {
        let mut qemus = vec![Qemu::find(None)?];
        for file in &self.files {
            qemus.push(Qemu::find(Some(file))?);
        }
        setup::ensure(false)?;
        let bench = Bench::open(&qemus)?;
        let mut rows = Vec::new();
        for measure in &MEASURES {
            let step = Step::start(format!("measuring {}", measure.what));
            let values = bench.measure(measure, self.runs)?;
            step.done();
            rows.push((measure, values));
        }
        if self.json {
            let qemus: Vec<_> = qemus
                .iter()
                .map(|qemu| json!({ "program": qemu.program, "version": qemu.version }))
                .collect();
            let measures: Vec<_> = rows
                .iter()
                .map(|(measure, values)| {
                    json!({ "what": measure.what, "unit": measure.unit, "cpu": values })
                })
                .collect();
            let all = json!({ "runs": self.runs, "qemus": qemus, "measures": measures });
            println!("{all:#}");
        } else {
            print!("{}", table(&qemus, &rows));
        }
        Ok(0)
    }
}

/// One column a QEMU, with how many times less the others take than the first.
fn table(qemus: &[Qemu], rows: &[(&Measure, Vec<f64>)]) -> String {
    let mut text = String::from("Processor time of QEMU, the least of all runs\n");
    for (letter, qemu) in ('A'..).zip(qemus) {
        let (program, version) = (qemu.program.display(), &qemu.version);
        text.push_str(&format!("  {letter}: {program}, QEMU {version}\n"));
    }
    text.push_str(&format!("{:<52}", ""));
    for (letter, index) in ('A'..).zip(0..qemus.len()) {
        text.push_str(&format!("{letter:>11}"));
        if index > 0 {
            text.push_str(&format!("{:>8}", format!("A/{letter}")));
        }
    }
    text.push('\n');
    for (measure, values) in rows {
        text.push_str(&format!("{:<52}", measure.what));
        for (index, value) in values.iter().enumerate() {
            text.push_str(&format!("{:>11}", format!("{value:.2} {}", measure.unit)));
            if index > 0 {
                text.push_str(&format!("{:>8.2}", values[0] / value));
            }
        }
        text.push('\n');
    }
    text
}

/// What all measures share.
struct Bench<'a> {
    qemus: &'a [Qemu],
    folder: RunFolder,
    cache: Cache,
}

impl<'a> Bench<'a> {
    fn open(qemus: &'a [Qemu]) -> Result<Self> {
        Ok(Self {
            qemus,
            folder: RunFolder::create()?,
            cache: Cache::open()?,
        })
    }

    /// The measure on each QEMU, in its unit.
    fn measure(&self, measure: &Measure, runs: u32) -> Result<Vec<f64>> {
        let many = self.least(measure.work, runs)?;
        let Some((without, count)) = measure.without else {
            return Ok(many);
        };
        let none = self.least(without, runs)?;
        let each = |(many, none): (f64, f64)| (many - none) * 1e6 / count as f64;
        let values: Vec<_> = many.into_iter().zip(none).map(each).collect();
        ensure!(
            values.iter().all(|&value| value > 0.0),
            "{count} of it take no more time than none: the machine is too loaded to measure"
        );
        Ok(values)
    }

    /// The least processor seconds that each QEMU takes for `work`.
    fn least(&self, work: Work, runs: u32) -> Result<Vec<f64>> {
        let machines: Vec<_> = self
            .qemus
            .iter()
            .map(|qemu| self.build(qemu, work))
            .collect::<Result<_>>()?;
        let mut least = vec![f64::INFINITY; machines.len()];
        for _ in 0..runs {
            for (least, machine) in least.iter_mut().zip(&machines) {
                *least = least.min(once(machine, work)?);
            }
        }
        Ok(least)
    }

    fn build(&self, qemu: &Qemu, work: Work) -> Result<Ready> {
        let kernel = kernel::default(&self.cache)?;
        let initrd = initramfs::default_for(&kernel, &self.cache)?;
        let folder = self.folder.path();
        let context = Context::new(qemu, &kernel, &initrd, folder, "bench-qemu", LIMIT)?;
        match work {
            Work::Probe(suite, cpus, append) => {
                let guest = Guest {
                    cpus,
                    memory: MEMORY,
                    append: append(),
                    ..Guest::default()
                };
                context.ready_probe(&guest, suite)
            }
            Work::Linux(platform) => {
                let guest = Guest {
                    platform,
                    ..Guest::default()
                };
                Ready::build(qemu.clone(), context.machine(&guest))
            }
        }
    }
}

/// Processor seconds of one run, which has to end well.
fn once(machine: &Ready, work: Work) -> Result<f64> {
    let console = Buffer::default();
    let (command, words) = match work {
        Work::Probe(..) => (None, Vec::new()),
        Work::Linux(_) => {
            let streams = CommandStreams {
                stdout: Box::new(std::io::sink()),
                stderr: Box::new(std::io::sink()),
                stdin: false,
            };
            (Some(streams), vec!["true".to_owned()])
        }
    };
    let has_command = command.is_some();
    let wiring = Wiring {
        command,
        console: Some(Box::new(console.clone())),
        keyboard: false,
        log: None,
        limit: Some(LIMIT),
        booting: None,
    };
    // While a machine runs, QEMU is the only child.
    let before = processor_time::of_children()?;
    let ended = machine.run(&Extras::default(), &Task::Command(words), wiring, |_| None)?;
    let taken = processor_time::of_children()? - before;
    let status = verdict::of(&ended, has_command)?;
    match work {
        Work::Probe(..) => {
            Report::read(&String::from_utf8_lossy(&console.take()), ended)?.verdict(1)?;
        }
        Work::Linux(_) if status != 0 => bail!("`true` ended with status {status}"),
        Work::Linux(_) => {}
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_qemu_is_the_measure_of_the_others() {
        let qemu = |version: &str| Qemu {
            program: PathBuf::from("qemu"),
            version: version.to_owned(),
        };
        let rows = [(&MEASURES[3], vec![6.0, 3.0])];
        let text = table(&[qemu("7.2.22"), qemu("10.2.2")], &rows);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[2].ends_with("B: qemu, QEMU 10.2.2"), "{text}");
        assert!(lines[3].ends_with("A          B     A/B"), "{text}");
        assert!(lines[4].ends_with("6.00 s     3.00 s    2.00"), "{text}");
    }
}
