// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calls of the load, each with the answers that are right.

use core::sync::atomic::Ordering;

use snp_defs::report::AttestationReport;
use svsm_abi::attestation::{self, AttestServices, Buffer};
use svsm_abi::core_protocol::{self as core_calls, ListHeader, PvalidateEntry, WithdrawHeader};
use svsm_abi::result::ResultCode;

use super::arena::{ARENA, CONTESTED, LOANS};
use super::worker::Worker;
use crate::machine::{access, instructions};
use crate::scratch;
use crate::svsm::{self, Caller};
use crate::vcpu;

/// How many kinds of calls there are.
pub(super) const KINDS: usize = 11;
/// What each is called.
pub(super) const NAMES: [&str; KINDS] = [
    "own pages",
    "own 2M pages",
    "contested pages",
    "a contested list",
    "deposits",
    "withdrawals",
    "vCPUs made and deleted",
    "calling areas moved",
    "reports",
    "nonsense",
    "queries",
];

const UNCHANGED: ResultCode = ResultCode::protocol(core_calls::PVALIDATE_FAIL_UNCHANGED);
const SIZE_MISMATCH: ResultCode = ResultCode::protocol(core_calls::PVALIDATE_FAIL_SIZE_MISMATCH);

/// One call, of a kind that chance chooses.
pub(super) fn one(worker: &mut Worker) {
    let kind = match worker.random.below(512) {
        0..128 => 0,
        128..132 => 1,
        132..192 => 2,
        192..240 => 3,
        240..304 => 4,
        304..352 => 5,
        352..384 => 6,
        384..400 => 7,
        400 => 8,
        401..448 => 9,
        _ => 10,
    };
    let make: [fn(&mut Worker); KINDS] = [
        own_page,
        huge_page,
        contested_pages,
        contested_list,
        deposit,
        withdraw,
        make_or_delete,
        move_area,
        report,
        nonsense,
        query,
    ];
    ARENA.kinds[kind].fetch_add(1, Ordering::Relaxed);
    make[kind](worker);
}

/// PVALIDATE, until nobody is in its way.
pub(super) fn pvalidate(caller: Caller, list: u64, entries: &[PvalidateEntry]) -> ResultCode {
    svsm::write_list(list, entries);
    caller.settled(core_calls::PROTOCOL, core_calls::PVALIDATE, [list, 0, 0])
}

/// A change of a page that only this vCPU knows: there is one right answer.
fn own_page(worker: &mut Worker) {
    let index = worker.random.below(worker.own.len());
    let (page, valid) = worker.own[index];
    let to_valid = worker.random.coin();
    if valid {
        access::store(page + 8, worker.random.next());
    }
    let entry = PvalidateEntry::new(page, false, to_valid, false);
    let seen = pvalidate(worker.caller, worker.list, &[entry]);
    let expected = if to_valid == valid {
        UNCHANGED
    } else {
        ResultCode::SUCCESS
    };
    ARENA.expect(seen, expected, 1);
    if to_valid && !valid && !access::page_is(page, 0) {
        ARENA.note_wrong(seen, 2);
    }
    worker.own[index].1 = to_valid;
}

/// The same with 2M, which at some time get a hole.
fn huge_page(worker: &mut Worker) {
    let huge = &mut worker.huge;
    let change = |gpa: u64, is_huge: bool, validate: bool, expected: ResultCode| {
        let entry = PvalidateEntry::new(gpa, is_huge, validate, false);
        ARENA.expect(
            pvalidate(worker.caller, worker.list, &[entry]),
            expected,
            10,
        );
    };
    let success = ResultCode::SUCCESS;
    if let Some(hole) = huge.hole.take() {
        change(huge.page, true, false, SIZE_MISMATCH);
        change(hole, false, true, success);
        return;
    }
    if !huge.valid {
        change(huge.page, true, false, UNCHANGED);
        change(huge.page, true, true, success);
        huge.valid = true;
        if !access::page_is(huge.page + 0x1F_F000, 0) {
            ARENA.note_wrong(success, 11);
        }
        return;
    }
    if huge.split || worker.random.below(16) == 0 {
        let hole = huge.page + 0x1000 * worker.random.below(512) as u64;
        change(hole, false, false, success);
        (huge.hole, huge.split) = (Some(hole), true);
    } else {
        access::store(huge.page + 0x1F_F008, worker.random.next());
        change(huge.page, true, false, success);
        huge.valid = false;
    }
}

fn contested(worker: &mut Worker) -> u64 {
    ARENA.contested[worker.random.below(CONTESTED)].load(Ordering::Relaxed)
}

/// A change of pages that others change too: several answers are right, and the SVSM must live.
fn contested_pages(worker: &mut Worker) {
    let mut entries = [PvalidateEntry(0); 4];
    for entry in &mut entries {
        let page = contested(worker);
        let (validate, ignore) = (worker.random.coin(), worker.random.coin());
        *entry = PvalidateEntry::new(page, false, validate, ignore);
    }
    let seen = pvalidate(worker.caller, worker.list, &entries);
    if ![ResultCode::SUCCESS, UNCHANGED].contains(&seen) {
        ARENA.note_wrong(seen, 3);
    }
}

/// A list that every vCPU writes while every other one has it read.
fn contested_list(worker: &mut Worker) {
    let list = ARENA.shared_list.load(Ordering::Relaxed);
    for _ in 0..4 {
        let at = list + (worker.random.next() & 0x38);
        access::store(at, worker.random.next() & 0x0003_0000_0003_0003);
    }
    let entry = contested(worker) | worker.random.next() & 0xF;
    access::store(list + 8, entry);
    // Any answer is right but one that never comes.
    let arguments = [list, 0, 0];
    let _ = worker
        .caller
        .result(core_calls::PROTOCOL, core_calls::PVALIDATE, arguments);
}

/// Lends up to four pages.
fn deposit(worker: &mut Worker) {
    let mut entries = [PvalidateEntry(0); 4];
    let mut count = 0;
    for _ in 0..=worker.random.below(entries.len()) {
        let loan = &ARENA.loans[worker.random.below(LOANS)];
        // From here on it may come back at any time, to any vCPU.
        if !loan.lent.swap(true, Ordering::AcqRel) {
            let page = loan.page.load(Ordering::Relaxed);
            access::store(page + 8, worker.random.next());
            entries[count] = PvalidateEntry(page);
            count += 1;
        }
    }
    if count == 0 {
        return;
    }
    svsm::write_list(worker.list, &entries[..count]);
    let arguments = [worker.list, 0, 0];
    let seen = worker
        .caller
        .settled(core_calls::PROTOCOL, core_calls::DEPOSIT_MEM, arguments);
    ARENA.expect(seen, ResultCode::SUCCESS, 20);
    ARENA.deposited.fetch_add(count as u64, Ordering::Relaxed);
}

/// Takes back as many as there is room for, which is different each time.
fn withdraw(worker: &mut Worker) {
    let list = worker.list + 0x1000 - 8 * (worker.random.below(8) as u64 + 2);
    let arguments = [list, 0, 0];
    let seen = worker
        .caller
        .settled(core_calls::PROTOCOL, core_calls::WITHDRAW_MEM, arguments);
    ARENA.expect(seen, ResultCode::SUCCESS, 21);
    let room = (0x1000 - list % 0x1000) / 8 - 1;
    if take_back(list) > room {
        ARENA.note_wrong(seen, 22);
    }
}

/// Looks at what WITHDRAW_MEM wrote to `list`: each page is one that was lent, came back once, and is empty. How many.
pub(super) fn take_back(list: u64) -> u64 {
    let count = u64::from(access::load::<WithdrawHeader>(list).entries);
    for index in 0..count {
        let page = access::load::<u64>(list + 8 + 8 * index);
        let mut loans = ARENA.loans.iter();
        let loan = loans.find(|loan| loan.page.load(Ordering::Relaxed) == page);
        let Some(loan) = loan else {
            ARENA.note_wrong(ResultCode(page), 23);
            continue;
        };
        // Before another vCPU may lend it again.
        if instructions::load(page) != Ok(0) || !access::page_is(page, 0) {
            ARENA.note_wrong(ResultCode(page), 24);
        }
        if !loan.lent.swap(false, Ordering::AcqRel) {
            ARENA.note_wrong(ResultCode(page), 25);
        }
    }
    ARENA.withdrawn.fetch_add(count, Ordering::Relaxed);
    count
}

/// A vCPU is made, or what is one already is used in a wrong way, or deleted.
fn make_or_delete(worker: &mut Worker) {
    let index = worker.random.below(worker.states.len());
    let state = &mut worker.states[index];
    let spare = ARENA.spare.load(Ordering::Relaxed);
    let call = |number: u32, arguments: [u64; 3]| {
        worker
            .caller
            .settled(core_calls::PROTOCOL, number, arguments)
    };
    let create = [state.page, state.area, spare];
    if !state.made {
        access::store(state.page, vcpu::state(0));
        let seen = call(core_calls::CREATE_VCPU, create);
        ARENA.expect(seen, ResultCode::SUCCESS, 30);
        state.made = true;
        return;
    }
    match worker.random.below(4) {
        0 => {
            let seen = call(core_calls::CREATE_VCPU, create);
            ARENA.expect(seen, ResultCode::INVALID_ADDRESS, 31);
        }
        1 => {
            let entry = PvalidateEntry::new(state.page, false, false, true);
            let seen = pvalidate(worker.caller, worker.list, &[entry]);
            ARENA.expect(seen, ResultCode::INVALID_ADDRESS, 32);
        }
        _ => {
            let seen = call(core_calls::DELETE_VCPU, [state.page, 0, 0]);
            ARENA.expect(seen, ResultCode::SUCCESS, 33);
            if instructions::store(state.page, 0).is_err() {
                ARENA.note_wrong(seen, 34);
            }
            state.made = false;
        }
    }
}

/// The calling area moves to the vCPU's other one.
pub(super) fn move_area(worker: &mut Worker) {
    let to = worker.areas[usize::from(worker.caller.area == worker.areas[0])];
    let arguments = [to, 0, 0];
    let seen = worker
        .caller
        .settled(core_calls::PROTOCOL, core_calls::REMAP_CA, arguments);
    ARENA.expect(seen, ResultCode::SUCCESS, 40);
    if seen == ResultCode::SUCCESS {
        worker.caller.area = to;
    }
}

/// Where a vCPU has its reports put.
pub(super) struct Attestation {
    argument: u64,
    services: AttestServices,
    last: [u8; 64],
}

impl Attestation {
    pub(super) fn new() -> Self {
        Self {
            argument: scratch::page(),
            services: services(),
            last: [0; 64],
        }
    }
}

/// Buffers for a report, of one page each.
pub(super) fn services() -> AttestServices {
    let buffer = |size: u32| Buffer {
        gpa: scratch::page(),
        size,
        reserved: 0,
    };
    AttestServices {
        report: buffer(0x1000),
        nonce: buffer(64),
        manifest: buffer(0x1000),
        certificates: Buffer::default(),
    }
}

/// A report over a nonce that no other report is over.
fn report(worker: &mut Worker) {
    let Attestation {
        argument,
        services,
        ref mut last,
    } = worker.attestation;
    access::store(services.nonce.gpa, worker.random.next());
    access::store(argument, services);
    let seen = worker.caller.settled(
        attestation::PROTOCOL,
        attestation::ATTEST_SERVICES,
        [argument, 0, 0],
    );
    ARENA.expect(seen, ResultCode::SUCCESS, 50);
    let told: AttestationReport = access::load(services.report.gpa);
    if told.vmpl != 0 || told.report_data == *last {
        ARENA.note_wrong(seen, 51);
    }
    *last = told.report_data;
}

/// A call with random arguments that name no page of the probe's, or a list of them.
fn nonsense(worker: &mut Worker) {
    let random = &mut worker.random;
    let call = random.below(12) as u32;
    let address = match random.below(4) {
        0 => svsm::base() + (random.next() & 0xF_FFFF),
        1 => random.next() | 1 << 60,
        2 => random.next() & 0xFFF | 1 << 45,
        _ => 0xA_0000 + (random.next() & 0xFFFF),
    };
    let caller: Caller = worker.caller;
    let is_list = matches!(call, core_calls::PVALIDATE | core_calls::DEPOSIT_MEM);
    if is_list && random.coin() {
        let header = ListHeader {
            entries: random.below(600) as u16,
            next: random.below(4) as u16,
            reserved: 0,
        };
        access::store(worker.list, header);
        for index in 0..8 {
            access::store(worker.list + 8 + 8 * index, address);
        }
        let seen = caller.result(core_calls::PROTOCOL, call, [worker.list, 0, 0]);
        if seen == ResultCode::SUCCESS {
            ARENA.note_wrong(seen, 60);
        }
        return;
    }
    // These two take no address in RCX: keep to calls that must fail.
    let takes_address = !matches!(
        call,
        core_calls::QUERY_PROTOCOL | core_calls::CONFIGURE_VTOM
    );
    let protocol = if random.coin() {
        core_calls::PROTOCOL
    } else {
        attestation::PROTOCOL
    };
    let seen = caller.result(protocol, call, [address, random.next(), random.next()]);
    if seen == ResultCode::SUCCESS && (takes_address || protocol == attestation::PROTOCOL) {
        ARENA.note_wrong(seen, 61);
    }
}

/// What there is, and what there is not.
fn query(worker: &mut Worker) {
    let outcome = |number: u32| {
        worker
            .caller
            .outcome(core_calls::PROTOCOL, number, [1, 0, 0])
    };
    match outcome(core_calls::QUERY_PROTOCOL) {
        Ok(out) if out.rax == 0 && out.rcx == (1 | 1 << 32) => {}
        Ok(out) => ARENA.note_wrong(ResultCode(out.rax), 70),
        Err(_) => ARENA.note_wrong(ResultCode(0), 71),
    }
    match outcome(core_calls::CONFIGURE_VTOM) {
        Ok(out) if out.rax == 0 && out.rcx == 0 => {}
        Ok(out) => ARENA.note_wrong(ResultCode(out.rax), 72),
        Err(_) => ARENA.note_wrong(ResultCode(0), 73),
    }
}
