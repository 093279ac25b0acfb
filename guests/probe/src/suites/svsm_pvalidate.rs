// SPDX-License-Identifier: MIT OR Apache-2.0
//! The PVALIDATE call (58019, 6.2): lists of every wrong kind, double validation, and what a page holds
//! after it came back.

use snp_defs::exit;
use svsm_abi::core_protocol::{self as core, LIST_MAX_ENTRIES, ListHeader, PvalidateEntry};
use svsm_abi::result::ResultCode;

use crate::machine::{access, ghcb, instructions};
use crate::report::Report;
use crate::scratch;
use crate::svsm::{self, Caller};

const UNCHANGED: ResultCode = ResultCode::protocol(core::PVALIDATE_FAIL_UNCHANGED);
/// A list of 2M over pages of 4K (58019, 6.2: the instruction's FAIL_SIZEMISMATCH).
const SIZE_MISMATCH: ResultCode = ResultCode::protocol(core::PVALIDATE_FAIL_SIZE_MISMATCH);

fn validate(gpa: u64) -> PvalidateEntry {
    PvalidateEntry::new(gpa, false, true, false)
}

fn invalidate(gpa: u64) -> PvalidateEntry {
    PvalidateEntry::new(gpa, false, false, false)
}

/// Runs the checks.
pub(crate) fn check(report: &mut Report) {
    let caller = Caller::first();
    let list = scratch::page();
    where_the_list_lies(&caller, report);
    what_the_list_says(&caller, list, report);
    what_an_entry_says(&caller, list, report);
    validation(&caller, list, report);
    huge(&caller, list, report);
    long(&caller, list, report);
    its_own_memory(&caller, list, report);
}

fn call(caller: &Caller, list: u64) -> ResultCode {
    caller.result(core::PROTOCOL, core::PVALIDATE, [list, 0, 0])
}

fn where_the_list_lies(caller: &Caller, report: &mut Report) {
    let invalid = ResultCode::INVALID_ADDRESS;
    let page = scratch::page();
    report.equal(
        "a list that is not 8-byte aligned",
        call(caller, page + 4),
        ResultCode::INVALID_PARAMETER,
    );
    report.equal(
        "a list in the SVSM's memory",
        call(caller, svsm::base()),
        invalid,
    );
    report.equal(
        "a list at the end of the SVSM",
        call(caller, svsm::base() + svsm::size() - 8),
        invalid,
    );
    report.equal(
        "a list above all memory",
        call(caller, 0x000F_FFFF_FFFF_F000),
        invalid,
    );
    report.equal(
        "a list at the end of the address space",
        call(caller, u64::MAX - 7),
        invalid,
    );
    report.equal(
        "a list in the hole for video memory",
        call(caller, 0xA_0000),
        invalid,
    );
    report.equal(
        "a list in a shared page",
        call(caller, ghcb::GHCB_GPA),
        invalid,
    );
    // Two entries behind a header at the very end of a page would reach into the next one.
    access::store(
        page + 0xFF0,
        ListHeader {
            entries: 2,
            next: 0,
            reserved: 0,
        },
    );
    report.equal(
        "a list that leaves its page",
        call(caller, page + 0xFF0),
        ResultCode::INVALID_PARAMETER,
    );
    access::store(
        page + 0xFF8,
        ListHeader {
            entries: 1,
            next: 0,
            reserved: 0,
        },
    );
    report.equal(
        "a header without room for an entry",
        call(caller, page + 0xFF8),
        ResultCode::INVALID_PARAMETER,
    );
}

fn what_the_list_says(caller: &Caller, list: u64, report: &mut Report) {
    let format = |header: ListHeader| {
        access::store(list, header);
        call(caller, list)
    };
    let header = ListHeader {
        entries: 1,
        next: 0,
        reserved: 0,
    };
    let seen = format(ListHeader {
        entries: 0,
        ..header
    });
    report.equal(
        "a list without entries",
        seen,
        ResultCode::INVALID_PARAMETER,
    );
    let seen = format(ListHeader { next: 1, ..header });
    report.equal(
        "a list whose next entry is behind its last",
        seen,
        ResultCode::INVALID_PARAMETER,
    );
    let seen = format(ListHeader {
        entries: u16::MAX,
        next: u16::MAX - 1,
        reserved: 0,
    });
    report.equal(
        "a list longer than a page",
        seen,
        ResultCode::INVALID_PARAMETER,
    );
    let seen = format(ListHeader {
        entries: LIST_MAX_ENTRIES as u16 + 1,
        ..header
    });
    report.equal(
        "a list one entry too long",
        seen,
        ResultCode::INVALID_PARAMETER,
    );
}

fn what_an_entry_says(caller: &Caller, list: u64, report: &mut Report) {
    let page = scratch::page();
    let invalid = ResultCode::INVALID_ADDRESS;
    for bit in 4..12 {
        let entry = PvalidateEntry(validate(page).0 | 1 << bit);
        let seen = caller.pvalidate(list, &[entry]);
        report.equal(
            "an entry with a reserved bit",
            seen,
            ResultCode::INVALID_PARAMETER,
        );
    }
    for size in [2, 3] {
        let seen = caller.pvalidate(list, &[PvalidateEntry(validate(page).0 | size)]);
        report.equal(
            "an entry of no known size",
            seen,
            ResultCode::INVALID_PARAMETER,
        );
    }
    let seen = caller.pvalidate(
        list,
        &[PvalidateEntry::new(page | 0x1000, true, true, true)],
    );
    report.equal(
        "a 2M entry that is not aligned",
        seen,
        ResultCode::INVALID_PARAMETER,
    );
    report.equal(
        "an entry above all memory",
        caller.pvalidate(list, &[validate(1 << 51)]),
        invalid,
    );
    report.equal(
        "an entry in the hole",
        caller.pvalidate(list, &[validate(0xB_8000)]),
        invalid,
    );
    report.equal(
        "an entry for a device",
        caller.pvalidate(list, &[validate(0xFEE0_0000)]),
        invalid,
    );
    // The entries before a bad one are done, and `next` names the bad one.
    let good = scratch::page();
    let seen = caller.pvalidate(
        list,
        &[invalidate(good), validate(1 << 51), invalidate(page)],
    );
    report.equal(
        "a bad entry in the middle",
        (seen, svsm::next_of(list)),
        (invalid, 1),
    );
    let fault = instructions::load(good).map_err(|trap| (trap.vector, trap.code));
    report.equal(
        "the entry before it was done",
        fault,
        Err((29, exit::PAGE_NOT_VALIDATED)),
    );
    report.equal(
        "the entry after it was not",
        instructions::load(page),
        Ok(0),
    );
    report.equal(
        "and back",
        caller.pvalidate(list, &[validate(good)]),
        ResultCode::SUCCESS,
    );
}

fn validation(caller: &Caller, list: u64, report: &mut Report) {
    let page = scratch::page();
    access::fill(page, 0xA5);
    report.equal(
        "validating twice",
        caller.pvalidate(list, &[validate(page)]),
        UNCHANGED,
    );
    let entry = PvalidateEntry::new(page, false, true, true);
    let seen = caller.pvalidate(list, &[entry]);
    report.equal("validating twice, to be ignored", seen, ResultCode::SUCCESS);
    report.holds(
        "and the contents stay",
        access::page_is(page, u64::from_ne_bytes([0xA5; 8])),
    );
    report.equal(
        "invalidating",
        caller.pvalidate(list, &[invalidate(page)]),
        ResultCode::SUCCESS,
    );
    report.equal(
        "invalidating twice",
        caller.pvalidate(list, &[invalidate(page)]),
        UNCHANGED,
    );
    let fault = instructions::load(page).map_err(|trap| (trap.vector, trap.code));
    report.equal(
        "access to an invalid page",
        fault,
        Err((29, exit::PAGE_NOT_VALIDATED)),
    );
    report.equal(
        "validating again",
        caller.pvalidate(list, &[validate(page)]),
        ResultCode::SUCCESS,
    );
    report.holds(
        "the page was zeroed before it was granted",
        access::page_is(page, 0),
    );
}

fn huge(caller: &Caller, list: u64, report: &mut Report) {
    let page = scratch::huge_page();
    let entry = |validate: bool| PvalidateEntry::new(page, true, validate, false);
    access::store(page + 0x12_3000, 7u64);
    report.equal(
        "invalidating 2M",
        caller.pvalidate(list, &[entry(false)]),
        ResultCode::SUCCESS,
    );
    report.equal(
        "validating 2M",
        caller.pvalidate(list, &[entry(true)]),
        ResultCode::SUCCESS,
    );
    report.equal(
        "a page in it was zeroed",
        access::load::<u64>(page + 0x12_3000),
        0,
    );
    let inner = page + 0x5000;
    let seen = caller.pvalidate(list, &[invalidate(inner)]);
    report.equal(
        "invalidating a 4K page of a 2M one",
        seen,
        ResultCode::SUCCESS,
    );
    let fault = instructions::load(inner).map_err(|trap| trap.code);
    report.equal("access to it", fault, Err(exit::PAGE_NOT_VALIDATED));
    report.equal(
        "its neighbour is there",
        instructions::load(inner + 0x1000),
        Ok(0),
    );
    let seen = caller.pvalidate(list, &[entry(false)]);
    report.equal("invalidating 2M with a hole in it", seen, SIZE_MISMATCH);
    let seen = caller.pvalidate(list, &[validate(inner)]);
    report.equal("filling the hole", seen, ResultCode::SUCCESS);
    report.equal("it is there", instructions::load(inner), Ok(0));
    let seen = caller.pvalidate(list, &[entry(false)]);
    report.equal("2M over what the RMP has as 4K", seen, SIZE_MISMATCH);
    report.equal("it is there", instructions::load(inner), Ok(0));
}

fn long(caller: &Caller, list: u64, report: &mut Report) {
    let mut entries = [PvalidateEntry(0); LIST_MAX_ENTRIES];
    for entry in &mut entries {
        *entry = invalidate(scratch::page());
    }
    report.equal(
        "a full list, invalidating",
        caller.pvalidate(list, &entries),
        ResultCode::SUCCESS,
    );
    report.equal(
        "all of it was done",
        svsm::next_of(list),
        LIST_MAX_ENTRIES as u16,
    );
    for entry in &mut entries {
        *entry = validate(entry.gpa());
    }
    report.equal(
        "a full list, validating",
        caller.pvalidate(list, &entries),
        ResultCode::SUCCESS,
    );
    report.equal(
        "all of it was done again",
        svsm::next_of(list),
        LIST_MAX_ENTRIES as u16,
    );
    let zeroed = entries.iter().all(|entry| access::page_is(entry.gpa(), 0));
    report.holds("and every page zeroed", zeroed);
}

fn its_own_memory(caller: &Caller, list: u64, report: &mut Report) {
    // The attack that gives an SVSM its name: validate its memory as the guest's.
    let invalid = ResultCode::INVALID_ADDRESS;
    let mut refused = 0;
    let mut gpa = svsm::base();
    while gpa < svsm::base() + svsm::size() {
        for entry in [validate(gpa), invalidate(gpa)] {
            refused += u64::from(caller.pvalidate(list, &[entry]) == invalid);
        }
        gpa += 0x1000;
    }
    report.equal(
        "validating each page of the SVSM",
        refused,
        svsm::size() / 0x1000 * 2,
    );
    let entry = PvalidateEntry::new(svsm::base(), true, true, true);
    report.equal(
        "validating its first 2M",
        caller.pvalidate(list, &[entry]),
        invalid,
    );
}
