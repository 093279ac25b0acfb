// SPDX-License-Identifier: MIT OR Apache-2.0
//! The suites: what is checked, one file a subject.

use crate::machine::boot_params::BootParams;
use crate::report::Report;

mod bench;
mod dma;
mod ghcb_rules;
mod interrupts;
mod load;
mod rmp;
mod stale;
mod svsm_attestation;
mod svsm_core;
mod svsm_memory;
mod svsm_pvalidate;
mod svsm_vcpu;
mod switches;
mod victim;

/// A suite: checks what it is about.
pub(crate) type Suite = fn(&BootParams, &mut Report);

const SUITES: [(&str, Suite); 7] = [
    ("svsm", svsm),
    ("bench", bench::check),
    ("switches", switches::check),
    ("load", load::check),
    ("rmp", rmp::check),
    ("ghcb", ghcb),
    ("victim", victim::check),
];

/// The suite called `name`.
pub(crate) fn find(name: &str) -> Option<Suite> {
    SUITES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, suite)| *suite)
}

/// What the host answers, what its devices reach, and when its interrupts come.
fn ghcb(params: &BootParams, report: &mut Report) {
    ghcb_rules::check(params, report);
    dma::check(report);
    interrupts::check(report);
}

/// Every call of the SVSM with every class of bad argument.
fn svsm(params: &BootParams, report: &mut Report) {
    svsm_core::check(params, report);
    svsm_pvalidate::check(report);
    svsm_memory::check(report);
    svsm_vcpu::check(report);
    svsm_attestation::check(report);
}
