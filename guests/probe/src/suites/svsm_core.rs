// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calls of the core protocol that take no list: protocol query, calling area, virtual top of memory; and calls
//! that do not exist.

use svsm_abi::attestation;
use svsm_abi::core_protocol as core;
use svsm_abi::result::ResultCode;

use crate::machine::boot_params::BootParams;
use crate::machine::ghcb::Registers;
use crate::machine::{access, ghcb};
use crate::report::Report;
use crate::scratch;
use crate::svsm::{self, Caller};

/// Runs the checks.
pub(crate) fn check(params: &BootParams, report: &mut Report) {
    let caller = Caller::first();
    report.holds("an SVSM is there", svsm::present());
    what_is_told(params, report);
    protocols(&caller, report);
    pending(&caller, report);
    calling_area(&caller, report);
    vtom(&caller, report);
}

fn what_is_told(params: &BootParams, report: &mut Report) {
    report.equal("the key of VMPL0 is wiped", params.vmpck(0), Some([0; 32]));
    report.equal("the key of VMPL1 is wiped", params.vmpck(1), Some([0; 32]));
    report.holds(
        "the key of VMPL2 is there",
        params.vmpck(2) != Some([0; 32]),
    );
}

fn protocols(caller: &Caller, report: &mut Report) {
    let query = |protocol: u32, version: u32| {
        let rcx = u64::from(protocol) << 32 | u64::from(version);
        caller
            .outcome(core::PROTOCOL, core::QUERY_PROTOCOL, [rcx, 0, 0])
            .map(|out| (out.rax, out.rcx))
    };
    let both = 1 | 1 << 32;
    report.equal(
        "core protocol: version 1",
        query(core::PROTOCOL, 1),
        Ok((0, both)),
    );
    report.equal(
        "attestation protocol: version 1",
        query(attestation::PROTOCOL, 1),
        Ok((0, both)),
    );
    report.equal(
        "core protocol: no version 2",
        query(core::PROTOCOL, 2),
        Ok((0, 0)),
    );
    report.equal("no protocol 0x7fff_ffff", query(0x7FFF_FFFF, 1), Ok((0, 0)));
    for protocol in [5, 99, u32::MAX] {
        let seen = caller.result(protocol, 0, [0; 3]);
        report.equal(
            "a call of an unknown protocol",
            seen,
            ResultCode::UNSUPPORTED_PROTOCOL,
        );
    }
    for call in [8, 0x1000, u32::MAX] {
        let seen = caller.result(core::PROTOCOL, call, [0; 3]);
        report.equal(
            "an unknown call of the core protocol",
            seen,
            ResultCode::UNSUPPORTED_CALL,
        );
    }
    let seen = caller.result(attestation::PROTOCOL, 2, [0; 3]);
    report.equal(
        "an unknown call of the attestation protocol",
        seen,
        ResultCode::UNSUPPORTED_CALL,
    );
    // Registers that are no result stay as they were: nothing of the SVSM's leaks through them.
    let rax = svsm_abi::CallId {
        protocol: core::PROTOCOL,
        call: core::QUERY_PROTOCOL,
    }
    .to_rax();
    let sent = Registers {
        rax,
        rcx: 1,
        rdx: 0x1111,
        r8: 0x2222,
        r9: 0x3333,
    };
    let seen = caller.call(sent).map(|out| (out.rdx, out.r8, out.r9));
    report.equal(
        "other registers keep their values",
        seen,
        Ok((0x1111, 0x2222, 0x3333)),
    );
}

fn pending(caller: &Caller, report: &mut Report) {
    // An exit that is no call: the SVSM must not serve it.
    let rax = svsm_abi::CallId {
        protocol: core::PROTOCOL,
        call: core::QUERY_PROTOCOL,
    }
    .to_rax();
    let mut registers = Registers {
        rax,
        rcx: 1,
        ..Registers::default()
    };
    access::swap_byte(caller.area, 0);
    ghcb::vmgexit(snp_defs::msr::protocol::RUN_VMPL_REQUEST, &mut registers);
    ghcb::restore();
    report.equal(
        "without call_pending nothing is served",
        (registers.rax, registers.rcx),
        (rax, 1),
    );
}

fn calling_area(caller: &Caller, report: &mut Report) {
    let remap = |gpa: u64| caller.result(core::PROTOCOL, core::REMAP_CA, [gpa, 0, 0]);
    let invalid = ResultCode::INVALID_ADDRESS;
    let area = scratch::page();
    report.equal(
        "REMAP_CA: unaligned",
        remap(area + 8),
        ResultCode::INVALID_PARAMETER,
    );
    report.equal(
        "REMAP_CA: the SVSM's first page",
        remap(svsm::base()),
        invalid,
    );
    report.equal(
        "REMAP_CA: the SVSM's last page",
        remap(svsm::base() + svsm::size() - 0x1000),
        invalid,
    );
    report.equal(
        "REMAP_CA: above all memory",
        remap(0x000F_FFFF_FFFF_F000),
        invalid,
    );
    report.equal(
        "REMAP_CA: all ones",
        remap(u64::MAX),
        ResultCode::INVALID_PARAMETER,
    );
    report.equal(
        "REMAP_CA: the hole for video memory",
        remap(0xA_0000),
        invalid,
    );
    report.equal("REMAP_CA: a shared page", remap(ghcb::GHCB_GPA), invalid);
    let seen = caller.result(core::PROTOCOL, core::QUERY_PROTOCOL, [1, 0, 0]);
    report.equal(
        "after refusals the old area works",
        seen,
        ResultCode::SUCCESS,
    );
    access::fill(area, 0);
    report.equal(
        "REMAP_CA: a page of the guest's",
        remap(area),
        ResultCode::SUCCESS,
    );
    let moved = Caller { area, ..*caller };
    let seen = moved.result(core::PROTOCOL, core::QUERY_PROTOCOL, [1, 0, 0]);
    report.equal("the new area works", seen, ResultCode::SUCCESS);
    let seen = moved.result(core::PROTOCOL, core::REMAP_CA, [caller.area, 0, 0]);
    report.equal("REMAP_CA: back again", seen, ResultCode::SUCCESS);
}

fn vtom(caller: &Caller, report: &mut Report) {
    let query = caller.outcome(core::PROTOCOL, core::CONFIGURE_VTOM, [1, 0, 0]);
    report.equal(
        "CONFIGURE_VTOM: a query is answered",
        query.map(|out| out.rax),
        Ok(0),
    );
    // Query with another bit; reserved bits; a limit while it is turned off.
    for operation in [
        core::VTOM_QUERY | core::VTOM_ENABLE,
        1 << 5,
        1 << 11,
        1 << 12,
    ] {
        let seen = caller.result(core::PROTOCOL, core::CONFIGURE_VTOM, [operation, 0, 0]);
        report.equal(
            "CONFIGURE_VTOM: an operation that is not well formed",
            (operation, seen),
            (operation, ResultCode::INVALID_PARAMETER),
        );
    }
    for operation in [0, core::VTOM_ENABLE | 1 << 30] {
        let seen = caller.result(core::PROTOCOL, core::CONFIGURE_VTOM, [operation, 0, 0]);
        report.equal(
            "CONFIGURE_VTOM: setting it is refused",
            (operation, seen),
            (operation, ResultCode::INVALID_REQUEST),
        );
    }
}
