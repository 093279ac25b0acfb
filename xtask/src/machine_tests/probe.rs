// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bare-metal probe's suites: each rule of the machine and each call of the SVSM, legal and
//! illegal. What a suite checks is written in `guests/probe/src/suites/`.

use anyhow::{Result, ensure};

use super::trace::Trace;
use super::{Context, Guest, MachineTest, Outcome, seconds};
use crate::runner::Extras;

const MEMORY: u64 = 512 << 20;

pub(super) const TESTS: &[MachineTest] = &[
    MachineTest {
        name: "probe::rmp_alone",
        limit: seconds(120),
        run: |context| suite(context, "rmp", false, 2, 45),
    },
    MachineTest {
        name: "probe::rmp_under_svsm",
        limit: seconds(120),
        run: |context| suite(context, "rmp", true, 1, 18),
    },
    MachineTest {
        name: "probe::ghcb_alone",
        limit: seconds(120),
        run: |context| suite(context, "ghcb", false, 1, 59),
    },
    MachineTest {
        name: "probe::ghcb_under_svsm",
        limit: seconds(120),
        run: |context| suite(context, "ghcb", true, 1, 59),
    },
    MachineTest {
        name: "probe::svsm_calls",
        limit: seconds(180),
        run: |context| suite(context, "svsm", true, 2, 272),
    },
    MachineTest {
        name: "probe::flushes_of_the_whole_machine",
        limit: seconds(120),
        run: flushes,
    },
    MachineTest {
        name: "probe::load_on_4_vcpus",
        limit: seconds(240),
        run: load,
    },
];

/// Runs a suite. It has at least this many checks: with fewer, some have got lost.
fn suite(
    context: &mut Context,
    name: &str,
    svsm: bool,
    cpus: u32,
    checks: usize,
) -> Result<Outcome> {
    let guest = Guest {
        cpus,
        memory: MEMORY,
        svsm,
        ..Guest::default()
    };
    context.probe(&guest, name)?.verdict(checks)?;
    Ok(Outcome::Passed)
}

/// A call that takes a right away pays one flush, and no other call pays any: counted over the calls of the benchmark.
fn flushes(context: &mut Context) -> Result<Outcome> {
    let file = context.folder().join("flushes.pftrace");
    let guest = Guest {
        cpus: 2,
        memory: MEMORY,
        extras: Extras {
            trace: Some(file.clone()),
            ..Extras::default()
        },
        ..Guest::default()
    };
    let report = context.probe(&guest, "bench")?;
    report.verdict(6)?;
    let trace = Trace::read(&std::fs::read(&file)?)?;
    let flushes = trace.spans("flush of all vCPUs");
    let within = |&(start, end): &(u64, u64)| {
        let inside = |&&(from, to): &&(u64, u64)| start <= from && to <= end;
        flushes.iter().filter(inside).count()
    };
    let calls = |name: &str| trace.spans(name).iter().map(within).collect::<Vec<_>>();
    let (queries, changes) = (calls("QUERY_PROTOCOL"), calls("PVALIDATE"));
    ensure!(
        queries.len() == 16 && queries.iter().all(|&count| count == 0),
        "flushes in each query: {queries:?}"
    );
    // The probe's GHCB leaves, and then lists of four lengths leave and come back, 16 times each.
    let expected = [1].into_iter().chain([1, 0].repeat(4 * 16));
    ensure!(
        changes.iter().copied().eq(expected),
        "flushes in each PVALIDATE, which leave and come in turn: {changes:?}"
    );
    Ok(Outcome::Passed)
}

/// Calls of each vCPU of the load.
const ROUNDS: u64 = 4_000;

/// Four vCPUs issue calls of all kinds, on a machine with a fifth one, on which they make and delete vCPUs.
fn load(context: &mut Context) -> Result<Outcome> {
    const VCPUS: u64 = 4;
    let guest = Guest {
        cpus: VCPUS as u32 + 1,
        memory: MEMORY,
        append: format!("vcpus={VCPUS} rounds={ROUNDS}"),
        ..Guest::default()
    };
    let report = context.probe(&guest, "load")?;
    report.verdict(41)?;
    for (note, least) in [("vCPUs", VCPUS), ("calls", VCPUS * ROUNDS), ("reports", 1)] {
        let seen = report.note(note).unwrap_or(0);
        ensure!(seen >= least, "{note}: {seen}, not {least}");
    }
    Ok(Outcome::Passed)
}
