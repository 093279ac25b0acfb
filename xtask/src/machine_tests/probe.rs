// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bare-metal probe's suites: each rule of the machine and each call of the SVSM, legal and
//! illegal. What a suite checks is written in `guests/probe/src/suites/`.

use anyhow::Result;

use super::{Context, Guest, MachineTest, Outcome, seconds};

const MEMORY: u64 = 512 << 20;

pub(super) const TESTS: &[MachineTest] = &[
    MachineTest {
        name: "probe::rmp_alone",
        limit: seconds(120),
        run: |context| suite(context, "rmp", false, 1),
    },
    MachineTest {
        name: "probe::rmp_under_svsm",
        limit: seconds(120),
        run: |context| suite(context, "rmp", true, 1),
    },
    MachineTest {
        name: "probe::ghcb_alone",
        limit: seconds(120),
        run: |context| suite(context, "ghcb", false, 1),
    },
    MachineTest {
        name: "probe::ghcb_under_svsm",
        limit: seconds(120),
        run: |context| suite(context, "ghcb", true, 1),
    },
    MachineTest {
        name: "probe::svsm_calls",
        limit: seconds(180),
        run: |context| suite(context, "svsm", true, 2),
    },
    MachineTest {
        name: "probe::load_on_4_vcpus",
        limit: seconds(240),
        run: |context| suite(context, "load", true, 4),
    },
];

fn suite(context: &mut Context, name: &str, svsm: bool, cpus: u32) -> Result<Outcome> {
    let guest = Guest {
        cpus,
        memory: MEMORY,
        svsm,
        ..Guest::default()
    };
    context.probe(&guest, name)?.verdict(5)?;
    Ok(Outcome::Passed)
}
