// SPDX-License-Identifier: MIT OR Apache-2.0
//! Work for `cargo xtask bench qemu`: the same exit, or the same call of the SVSM, as often as the command line says
//! (`exits=N`, `calls=N`). What one costs is the difference between a run with many and one with none.

use snp_defs::msr::SEV_STATUS;
use svsm_abi::core_protocol as core;
use svsm_abi::result::ResultCode;

use crate::machine::boot_params::BootParams;
use crate::machine::instructions;
use crate::report::Report;
use crate::svsm::{self, Caller};

/// Makes them.
pub(crate) fn check(params: &BootParams, report: &mut Report) {
    report.holds("an SVSM is there", svsm::present());

    // An intercepted RDMSR, which the host answers by itself: one exit and one entry.
    let exits = params.number("exits=").unwrap_or(0);
    let expected = instructions::rdmsr(SEV_STATUS);
    let read = (0..exits).filter(|_| instructions::rdmsr(SEV_STATUS) == expected);
    report.equal("each read is answered", read.count() as u64, exits);

    let calls = params.number("calls=").unwrap_or(0);
    let caller = Caller::first();
    let query = core::query(core::PROTOCOL, core::VERSION);
    let answered = (0..calls).filter(|_| {
        caller.result(core::PROTOCOL, core::QUERY_PROTOCOL, [query, 0, 0]) == ResultCode::SUCCESS
    });
    report.equal("each call is answered", answered.count() as u64, calls);
}
