// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the SVSM costs in bytes and instructions. The counts are exact: QEMU runs by instruction
//! count, and the probe's suite `bench` makes the calls.
#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use svsm_abi::CallId;
use svsm_abi::core_protocol;

use super::Figure;
use crate::image_store;
use crate::machine_tests::{Context, Guest, Report};
use crate::progress::Step;
use crate::qemu::line::Accelerator;
use crate::runner::Extras;

/// How large the SVSM is, from the image builder.
pub(crate) fn sizes(context: &Context) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (cpus, gib) in [(1, 2), (4, 2), (8, 2), (4, 1), (4, 8)] {
        let machine = context.machine(&Guest {
            cpus,
            memory: gib << 30,
            ..Guest::default()
        });
        let binaries = machine.build()?;
        let size = image_store::svsm_size(&machine, &binaries)?.context("the image has no SVSM")?;
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
pub(crate) fn calls(context: &mut Context) -> Result<Vec<Figure>> {
    let report = probe(context, 1, 512 << 20)?;
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
pub(crate) fn start(context: &mut Context) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (cpus, mib) in [(1, 512), (1, 2048), (1, 8192), (2, 2048), (4, 2048)] {
        let report = probe(context, cpus, mib << 20)?;
        let ticks = report
            .statistics()
            .and_then(|statistics| statistics.until_guest)
            .context("the guest was never entered")?;
        let plural = if cpus == 1 { "" } else { "s" };
        let what = format!("from VM start to the guest's first, {cpus} vCPU{plural}, {mib} MiB");
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
fn probe(context: &mut Context, cpus: u32, memory: u64) -> Result<Report> {
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
    let report = context.probe(&guest, "bench")?;
    step.done();
    Ok(report)
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
