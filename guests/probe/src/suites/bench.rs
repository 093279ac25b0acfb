// SPDX-License-Identifier: MIT OR Apache-2.0
//! Work for the benchmark: the same calls again and again, each list at an address of its own, so
//! that the emulator, which counts what VMPL0 executes by the caller's registers, tells them apart.
//! The addresses are told as notes.

use svsm_abi::core_protocol::{self as core, PvalidateEntry};
use svsm_abi::result::ResultCode;

use crate::machine::boot_params::BootParams;
use crate::report::Report;
use crate::scratch;
use crate::svsm::{self, Caller};

/// Calls of each kind.
const ROUNDS: u64 = 16;
/// Lengths of lists, up to a full one.
const LENGTHS: [(usize, &str, &str); 3] = [
    (127, "validate 127", "invalidate 127"),
    (255, "validate 255", "invalidate 255"),
    (core::LIST_MAX_ENTRIES, "validate 511", "invalidate 511"),
];

/// Makes the calls.
pub(crate) fn check(_: &BootParams, report: &mut Report) {
    let caller = Caller::first();
    report.holds("an SVSM is there", svsm::present());
    let query = core::query(core::PROTOCOL, core::VERSION);
    let mut answers = 0;
    for _ in 0..ROUNDS {
        let code = caller.result(core::PROTOCOL, core::QUERY_PROTOCOL, [query, 0, 0]);
        answers += u64::from(code == ResultCode::SUCCESS);
    }
    report.equal("every query is answered", answers, ROUNDS);
    report.note("query", query);
    report.note("rounds", ROUNDS);

    let pages = scratch::huge_page();
    for (length, validate, invalidate) in LENGTHS {
        lists(&caller, report, pages, length, [invalidate, validate]);
    }
    huge(&caller, report, scratch::huge_page());
}

/// Takes the validation of `length` 4K pages away and gives it again.
fn lists(caller: &Caller, report: &mut Report, pages: u64, length: usize, names: [&str; 2]) {
    let at = [scratch::page(), scratch::page()];
    let mut entries = [PvalidateEntry(0); core::LIST_MAX_ENTRIES];
    let mut done = 0;
    for _ in 0..ROUNDS {
        for (list, validate) in [(at[0], false), (at[1], true)] {
            for (index, entry) in entries[..length].iter_mut().enumerate() {
                let gpa = pages + 0x1000 * index as u64;
                *entry = PvalidateEntry::new(gpa, false, validate, false);
            }
            let code = caller.pvalidate(list, &entries[..length]);
            done += u64::from(code == ResultCode::SUCCESS);
        }
    }
    report.equal(names[1], done, 2 * ROUNDS);
    report.note(names[0], at[0]);
    report.note(names[1], at[1]);
}

/// The same with one page of 2M.
fn huge(caller: &Caller, report: &mut Report, page: u64) {
    let at = [scratch::page(), scratch::page()];
    let mut done = 0;
    for _ in 0..ROUNDS {
        for (list, validate) in [(at[0], false), (at[1], true)] {
            let entry = PvalidateEntry::new(page, true, validate, false);
            done += u64::from(caller.pvalidate(list, &[entry]) == ResultCode::SUCCESS);
        }
    }
    report.equal("a page of 2M", done, 2 * ROUNDS);
    report.note("invalidate 2M", at[0]);
    report.note("validate 2M", at[1]);
}
