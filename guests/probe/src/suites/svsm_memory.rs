// SPDX-License-Identifier: MIT OR Apache-2.0
//! DEPOSIT_MEM and WITHDRAW_MEM (58019, 6.5 and 6.6): memory that the SVSM is lent.

use svsm_abi::calling_area;
use svsm_abi::core_protocol::{self as core, PvalidateEntry};
use svsm_abi::result::ResultCode;

use crate::machine::access;
use crate::report::Report;
use crate::scratch;
use crate::svsm::{self, Caller};

/// An entry: page number and size, as in PVALIDATE's list.
fn entry(gpa: u64) -> PvalidateEntry {
    PvalidateEntry(gpa)
}

/// Runs the checks.
pub(crate) fn check(report: &mut Report) {
    let caller = Caller::first();
    let list = scratch::page();
    let call = |number: u32, entries: &[PvalidateEntry]| {
        svsm::write_list(list, entries);
        caller.result(core::PROTOCOL, number, [list, 0, 0])
    };
    let invalid = ResultCode::INVALID_ADDRESS;
    let own = entry(svsm::base());
    report.equal(
        "DEPOSIT_MEM: the SVSM's own page",
        call(core::DEPOSIT_MEM, &[own]),
        invalid,
    );
    report.equal(
        "DEPOSIT_MEM: above all memory",
        call(core::DEPOSIT_MEM, &[entry(1 << 51)]),
        invalid,
    );
    report.equal(
        "DEPOSIT_MEM: the hole",
        call(core::DEPOSIT_MEM, &[entry(0xA_0000)]),
        invalid,
    );
    let page = scratch::page();
    access::fill(page, 0x5A);
    report.equal(
        "DEPOSIT_MEM: a page",
        call(core::DEPOSIT_MEM, &[entry(page)]),
        ResultCode::SUCCESS,
    );
    let seen = call(core::DEPOSIT_MEM, &[entry(page)]);
    report.holds(
        "DEPOSIT_MEM: the same page again",
        seen != ResultCode::SUCCESS,
    );
    let seen = caller.pvalidate(list, &[PvalidateEntry::new(page, false, false, false)]);
    report.holds("PVALIDATE of a deposited page", seen != ResultCode::SUCCESS);
    let available = access::load::<u8>(caller.area + calling_area::MEM_AVAILABLE);
    report.equal("mem_available is set", available, 1);
    let room = [entry(0); 8];
    svsm::write_list(list, &room);
    let seen = caller.result(core::PROTOCOL, core::WITHDRAW_MEM, [list, 0, 0]);
    report.holds(
        "WITHDRAW_MEM",
        seen == ResultCode::SUCCESS || seen == ResultCode::INCOMPLETE,
    );
    let first = access::load::<u64>(list + 8) & !0xFFF;
    report.equal("WITHDRAW_MEM gives the page back", first, page);
    report.holds("nothing of the SVSM's is in it", access::page_is(page, 0));
    let available = access::load::<u8>(caller.area + calling_area::MEM_AVAILABLE);
    report.equal("mem_available is clear", available, 0);
    let seen = caller.pvalidate(list, &[PvalidateEntry::new(page, false, true, true)]);
    report.equal(
        "the page is an ordinary one again",
        seen,
        ResultCode::SUCCESS,
    );
}
