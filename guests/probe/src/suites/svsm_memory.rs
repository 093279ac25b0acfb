// SPDX-License-Identifier: MIT OR Apache-2.0
//! DEPOSIT_MEM and WITHDRAW_MEM (58019, 6.5 and 6.6): memory that the SVSM is lent.

use svsm_abi::calling_area;
use svsm_abi::core_protocol::{
    self as core, LIST_MAX_ENTRIES, ListHeader, PvalidateEntry, WithdrawHeader,
};
use svsm_abi::result::ResultCode;

use crate::machine::{access, ghcb, instructions};
use crate::report::Report;
use crate::scratch;
use crate::svsm::{self, Caller};

/// Bit 0 of an entry: a page of 2M.
const HUGE: u64 = 1;

/// An entry: page number and size, as in PVALIDATE's list.
fn entry(gpa: u64) -> PvalidateEntry {
    PvalidateEntry(gpa)
}

/// The calls, with a page for their lists.
struct Calls {
    caller: Caller,
    list: u64,
}

impl Calls {
    fn at(&self, number: u32, list: u64) -> ResultCode {
        self.caller.result(core::PROTOCOL, number, [list, 0, 0])
    }

    /// DEPOSIT_MEM of a list that is written first.
    fn deposit(&self, entries: &[PvalidateEntry]) -> ResultCode {
        svsm::write_list(self.list, entries);
        self.at(core::DEPOSIT_MEM, self.list)
    }

    /// WITHDRAW_MEM into the list: the result, and how many pages there are.
    fn withdraw(&self) -> (ResultCode, u16) {
        let code = self.at(core::WITHDRAW_MEM, self.list);
        let header: WithdrawHeader = access::load(self.list);
        (code, header.entries)
    }

    /// The page at `index` of what was withdrawn.
    fn withdrawn(&self, index: u64) -> u64 {
        access::load(self.list + 8 + 8 * index)
    }

    fn mem_available(&self) -> u8 {
        access::load(self.caller.area + calling_area::MEM_AVAILABLE)
    }
}

/// Runs the checks.
pub(crate) fn check(report: &mut Report) {
    let calls = Calls {
        caller: Caller::first(),
        list: scratch::page(),
    };
    where_the_list_lies(&calls, report);
    what_the_list_says(&calls, report);
    what_an_entry_says(&calls, report);
    one_page(&calls, report);
    many_pages(&calls, report);
    its_own_list(&calls, report);
    let seen = (calls.withdraw(), calls.mem_available());
    report.equal("nothing is left", seen, ((ResultCode::SUCCESS, 0), 0));
}

fn where_the_list_lies(calls: &Calls, report: &mut Report) {
    let invalid = ResultCode::INVALID_ADDRESS;
    let parameter = ResultCode::INVALID_PARAMETER;
    let page = scratch::page();
    let last = svsm::base() + svsm::size() - 0x10;
    let places = [
        ("not 8-byte aligned", page + 4, parameter),
        ("in the SVSM's memory", svsm::base(), invalid),
        ("at the end of the SVSM", last, invalid),
        ("above all memory", 0x000F_FFFF_FFFF_F000, invalid),
        ("in the hole", 0xA_0000, invalid),
        ("in a shared page", ghcb::GHCB_GPA, invalid),
        ("without room for an entry", page + 0xFF8, parameter),
    ];
    for number in [core::DEPOSIT_MEM, core::WITHDRAW_MEM] {
        for (place, gpa, expected) in places {
            report.equal(
                "a list of DEPOSIT_MEM or WITHDRAW_MEM",
                (number, place, calls.at(number, gpa)),
                (number, place, expected),
            );
        }
    }
}

fn what_the_list_says(calls: &Calls, report: &mut Report) {
    let header = |entries: u16, next: u16| ListHeader {
        entries,
        next,
        reserved: 0,
    };
    for header in [
        header(0, 0),
        header(1, 1),
        header(u16::MAX, u16::MAX - 1),
        header(LIST_MAX_ENTRIES as u16 + 1, 0),
    ] {
        access::store(calls.list, header);
        report.equal(
            "DEPOSIT_MEM: a header that is not well formed",
            (header, calls.at(core::DEPOSIT_MEM, calls.list)),
            (header, ResultCode::INVALID_PARAMETER),
        );
    }
    // Two entries behind a header at the very end of a page would reach into the next one.
    access::store(calls.list + 0xFF0, header(2, 0));
    report.equal(
        "DEPOSIT_MEM: a list that leaves its page",
        calls.at(core::DEPOSIT_MEM, calls.list + 0xFF0),
        ResultCode::INVALID_PARAMETER,
    );
}

fn what_an_entry_says(calls: &Calls, report: &mut Report) {
    let invalid = ResultCode::INVALID_ADDRESS;
    let parameter = ResultCode::INVALID_PARAMETER;
    let page = scratch::page();
    let huge = scratch::huge_page();
    let away = scratch::page();
    let gone = PvalidateEntry::new(away, false, false, false);
    let seen = calls.caller.pvalidate(calls.list, &[gone]);
    report.equal("a page is invalidated", seen, ResultCode::SUCCESS);
    let entries = [
        ("the SVSM's own page", svsm::base(), invalid),
        ("2M of the SVSM's", svsm::base() | HUGE, invalid),
        ("above all memory", 1 << 51, invalid),
        ("the hole", 0xA_0000, invalid),
        ("2M around the hole", HUGE, invalid),
        ("a device", 0xFEE0_0000, invalid),
        ("a shared page", ghcb::GHCB_GPA, invalid),
        ("a page that is not valid", away, invalid),
        (
            "2M with a page that is not valid",
            away & !0x1F_FFFF | HUGE,
            invalid,
        ),
        ("the caller's calling area", calls.caller.area, invalid),
        ("2M that are not aligned", (huge + 0x1000) | HUGE, parameter),
        ("no known size", page | 2, parameter),
        ("no known size", page | 3, parameter),
    ];
    for (name, bits, expected) in entries {
        report.equal(
            "DEPOSIT_MEM: an entry that names what can't be lent",
            (name, calls.deposit(&[entry(bits)])),
            (name, expected),
        );
    }
    for bit in 2..12 {
        report.equal(
            "DEPOSIT_MEM: an entry with a reserved bit",
            (bit, calls.deposit(&[entry(page | 1 << bit)])),
            (bit, parameter),
        );
    }
    let seen = instructions::store(page, 1).is_ok() && instructions::store(huge, 1).is_ok();
    report.holds("after every refusal the pages are the guest's", seen);
    report.equal("and none is in the pool", calls.mem_available(), 0);

    // The entries before a bad one are done, and `next` names the bad one.
    let code = calls.deposit(&[entry(page), entry(1 << 51), entry(huge)]);
    report.equal(
        "a bad entry in the middle",
        (code, svsm::next_of(calls.list)),
        (invalid, 1),
    );
    let seen = (calls.withdraw(), calls.withdrawn(0));
    let expected = ((ResultCode::SUCCESS, 1), page);
    report.equal("the entry before it was done, and no other", seen, expected);
}

fn one_page(calls: &Calls, report: &mut Report) {
    let invalid = ResultCode::INVALID_ADDRESS;
    let page = scratch::page();
    access::fill(page, 0x5A);
    let seen = (calls.deposit(&[entry(page)]), calls.mem_available());
    report.equal("DEPOSIT_MEM: a page", seen, (ResultCode::SUCCESS, 1));
    report.equal(
        "DEPOSIT_MEM: the same page again",
        calls.deposit(&[entry(page)]),
        invalid,
    );
    for (validate, huge) in [(false, false), (true, false), (false, true)] {
        let wrong = PvalidateEntry::new(
            if huge { page & !0x1F_FFFF } else { page },
            huge,
            validate,
            true,
        );
        let seen = calls.caller.pvalidate(calls.list, &[wrong]);
        let expected = if huge {
            ResultCode::protocol(core::PVALIDATE_FAIL_SIZE_MISMATCH)
        } else {
            invalid
        };
        report.equal(
            "PVALIDATE of a deposited page",
            (validate, huge, seen),
            (validate, huge, expected),
        );
    }
    for number in [core::PVALIDATE, core::DEPOSIT_MEM, core::WITHDRAW_MEM] {
        let seen = calls.at(number, page);
        report.equal(
            "a list in a deposited page",
            (number, seen),
            (number, invalid),
        );
    }
    let seen = calls.at(core::REMAP_CA, page);
    report.equal("REMAP_CA onto a deposited page", seen, invalid);
    calling_area_moves(calls, report);
    report.equal("mem_available is set", calls.mem_available(), 1);
    report.equal("WITHDRAW_MEM", calls.withdraw(), (ResultCode::SUCCESS, 1));
    report.equal("it gives the page back", calls.withdrawn(0), page);
    report.holds("nothing of the SVSM's is in it", access::page_is(page, 0));
    report.equal("mem_available is clear", calls.mem_available(), 0);
    let seen = calls
        .caller
        .pvalidate(calls.list, &[PvalidateEntry::new(page, false, true, true)]);
    let expected = ResultCode::SUCCESS;
    report.equal("the page is an ordinary one again", seen, expected);
    // Twice in one list: the second time it is busy by the call itself, so the guest is to call again.
    let seen = calls.deposit(&[entry(page), entry(page)]);
    report.equal(
        "DEPOSIT_MEM: a page twice in a list",
        (seen, svsm::next_of(calls.list)),
        (ResultCode::INCOMPLETE, 1),
    );
    report.equal(
        "and again",
        calls.at(core::DEPOSIT_MEM, calls.list),
        invalid,
    );
    report.equal(
        "it is there once",
        calls.withdraw(),
        (ResultCode::SUCCESS, 1),
    );
}

/// A calling area that is new tells what there is, whatever it held before.
fn calling_area_moves(calls: &Calls, report: &mut Report) {
    let area = scratch::page();
    access::fill(area, 0xFF);
    let seen = calls.at(core::REMAP_CA, area);
    report.equal("the calling area moves", seen, ResultCode::SUCCESS);
    let available = access::load::<u8>(area + calling_area::MEM_AVAILABLE);
    report.equal("mem_available comes with it", available, 1);
    let moved = Caller {
        area,
        ..calls.caller
    };
    let back = [calls.caller.area, 0, 0];
    let seen = moved.result(core::PROTOCOL, core::REMAP_CA, back);
    report.equal("and back", seen, ResultCode::SUCCESS);
}

/// 2M at once, and more than fits in a list on the way back.
fn many_pages(calls: &Calls, report: &mut Report) {
    let huge = scratch::huge_page();
    access::store(huge + 0x12_3000, 7u64);
    let seen = calls.deposit(&[entry(huge | HUGE)]);
    report.equal("DEPOSIT_MEM: 2M", seen, ResultCode::SUCCESS);
    // A list at the end of a page has room for one address.
    let small = calls.list + 0xFF0;
    let seen = calls.at(core::WITHDRAW_MEM, small);
    let first = access::load::<u64>(small + 8);
    report.equal(
        "WITHDRAW_MEM: a list with room for one",
        (seen, access::load::<WithdrawHeader>(small).entries),
        (ResultCode::SUCCESS, 1),
    );
    let mut given = [0u64; 8];
    let mut mark = |gpa: u64| -> bool {
        let index = (gpa.wrapping_sub(huge) / 0x1000) as usize;
        let fits = gpa.is_multiple_of(0x1000) && index < 512;
        let fresh = fits && given[index / 64] >> (index % 64) & 1 == 0;
        if fresh {
            given[index / 64] |= 1 << (index % 64);
        }
        fresh && access::page_is(gpa, 0)
    };
    let mut right = u64::from(mark(first));
    report.equal("mem_available is still set", calls.mem_available(), 1);
    report.equal(
        "WITHDRAW_MEM: a full list",
        calls.withdraw(),
        (ResultCode::SUCCESS, LIST_MAX_ENTRIES as u16),
    );
    for index in 0..LIST_MAX_ENTRIES as u64 {
        right += u64::from(mark(calls.withdrawn(index)));
    }
    report.equal("every page came back once, and empty", right, 512);
    report.equal("mem_available is clear again", calls.mem_available(), 0);
}

/// A list that gives away the page that it is in: it is read before that, and can't be written after.
fn its_own_list(calls: &Calls, report: &mut Report) {
    let list = scratch::page();
    svsm::write_list(list, &[entry(list)]);
    report.equal(
        "DEPOSIT_MEM of the list's own page",
        calls.at(core::DEPOSIT_MEM, list),
        ResultCode::INVALID_ADDRESS,
    );
    let seen = (calls.withdraw(), calls.withdrawn(0));
    report.equal("it can be had back", seen, ((ResultCode::SUCCESS, 1), list));
}
