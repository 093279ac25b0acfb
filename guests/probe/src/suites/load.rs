// SPDX-License-Identifier: MIT OR Apache-2.0
//! Call load: all vCPUs issue random calls, right and wrong ones, on pages of their own, whose state each of them
//! knows, and on pages and lists that they fight over. Nothing may be lost, nothing may leak.

use core::sync::atomic::{AtomicU64, Ordering};

use snp_defs::exit;
use snp_defs::ghcb::{Ghcb, ap_creation};
use snp_defs::vmsa::sev_features;
use svsm_abi::attestation;
use svsm_abi::core_protocol::{self as core_calls, PvalidateEntry};
use svsm_abi::result::ResultCode;

use super::svsm_vcpu::state;
use crate::machine::boot_params::BootParams;
use crate::machine::{access, entry, ghcb, instructions};
use crate::report::Report;
use crate::scratch;
use crate::svsm::{self, Caller};

/// vCPUs that take part, the first one included; the probe has as many stacks.
const MOST_VCPUS: usize = 4;
/// Rounds of each vCPU unless the command line says `rounds=N`.
const ROUNDS: u64 = 2_000;
/// Pages that a vCPU has for itself.
const OWN: usize = 16;
/// Pages that all fight over.
const CONTESTED: usize = 8;

/// What the vCPUs share. Plain counters: every one of them is read after all vCPUs are done.
struct Arena {
    rounds: AtomicU64,
    areas: [AtomicU64; MOST_VCPUS],
    contested: [AtomicU64; CONTESTED],
    shared_list: AtomicU64,
    done: AtomicU64,
    calls: AtomicU64,
    wrong: AtomicU64,
    first_wrong: AtomicU64,
}

static ARENA: Arena = Arena {
    rounds: AtomicU64::new(0),
    areas: [const { AtomicU64::new(0) }; MOST_VCPUS],
    contested: [const { AtomicU64::new(0) }; CONTESTED],
    shared_list: AtomicU64::new(0),
    done: AtomicU64::new(0),
    calls: AtomicU64::new(0),
    wrong: AtomicU64::new(0),
    first_wrong: AtomicU64::new(0),
};

/// xorshift64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Runs the load.
pub(crate) fn check(params: &BootParams, report: &mut Report) {
    let mut line = [0; 256];
    let words = params.command_line(&mut line);
    let number = |key: &str| {
        words
            .split(' ')
            .find_map(|word| word.strip_prefix(key)?.parse::<u64>().ok())
    };
    let rounds = number("rounds=").unwrap_or(ROUNDS);
    let vcpus = (number("vcpus=").unwrap_or(1) as usize).clamp(1, MOST_VCPUS);
    ARENA.rounds.store(rounds, Ordering::Relaxed);
    for page in &ARENA.contested {
        page.store(scratch::page(), Ordering::Relaxed);
    }
    ARENA.shared_list.store(scratch::page(), Ordering::Relaxed);
    ARENA.areas[0].store(svsm::first_area(), Ordering::Relaxed);
    entry::set_work(further);
    for index in 1..vcpus {
        let started = start(index);
        report.equal("a further vCPU starts", started, Ok(()));
        if started.is_err() {
            return;
        }
    }
    work(0, true);
    // Bounded by the work of the others: a lost call shows as a run that never ends, which its time limit catches.
    while ARENA.done.load(Ordering::Acquire) < vcpus as u64 {
        core::hint::spin_loop();
    }
    report.equal(
        "results that no right answer explains",
        ARENA.wrong.load(Ordering::Relaxed),
        0,
    );
    report.note(
        "the first of them",
        ARENA.first_wrong.load(Ordering::Relaxed),
    );
    report.note("calls", ARENA.calls.load(Ordering::Relaxed));
    settle(report);
}

/// Creates and starts vCPU `index`.
fn start(index: usize) -> Result<(), u64> {
    let (page, area) = (scratch::page(), scratch::page());
    access::fill(area, 0);
    access::store(page, state(index));
    ARENA.areas[index].store(area, Ordering::Relaxed);
    let arguments = [page, area, index as u64];
    let created = Caller::first().result(core_calls::PROTOCOL, core_calls::CREATE_VCPU, arguments);
    if created != ResultCode::SUCCESS {
        return Err(created.0);
    }
    let info = ap_creation::NOW | 2 << 16 | (index as u64) << 32;
    let mut request = ghcb::request(exit::AP_CREATION, info, page);
    request.rax = sev_features::SNP_ACTIVE;
    ghcb::mark(&mut request, core::mem::offset_of!(Ghcb, rax));
    match ghcb::exchange(&request).sw_exit_info1 as u32 {
        0 => Ok(()),
        other => Err(u64::from(other)),
    }
}

fn further(index: usize) -> ! {
    work(index, false);
    loop {
        core::hint::spin_loop();
    }
}

fn wrong(code: ResultCode, kind: u64) {
    if ARENA.wrong.fetch_add(1, Ordering::Relaxed) == 0 {
        ARENA
            .first_wrong
            .store(kind << 48 | code.0 & 0xFFFF_FFFF_FFFF, Ordering::Relaxed);
    }
}

fn work(index: usize, has_ghcb: bool) {
    let caller = Caller {
        area: ARENA.areas[index].load(Ordering::Relaxed),
        has_ghcb,
    };
    let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ (index as u64 + 1));
    let list = scratch::page();
    let mut own = [(0u64, true); OWN];
    for (page, _) in &mut own {
        *page = scratch::page();
    }
    for _ in 0..ARENA.rounds.load(Ordering::Relaxed) {
        ARENA.calls.fetch_add(1, Ordering::Relaxed);
        match random.below(8) {
            0..3 => own_page(&caller, &mut random, list, &mut own),
            3..5 => contested_page(&caller, &mut random, list),
            5 => shared_list(&caller, &mut random),
            6 => nonsense(&caller, &mut random),
            _ => query(&caller),
        }
    }
    // Everything back to valid, so that the last look finds all pages there.
    for (page, valid) in own {
        if !valid {
            let seen = caller.pvalidate(list, &[PvalidateEntry::new(page, false, true, false)]);
            if seen != ResultCode::SUCCESS {
                wrong(seen, 7);
            }
        }
    }
    ARENA.done.fetch_add(1, Ordering::Release);
}

/// A change of a page that only this vCPU knows: there is one right answer.
fn own_page(caller: &Caller, random: &mut Random, list: u64, own: &mut [(u64, bool); OWN]) {
    let (page, valid) = &mut own[random.below(OWN)];
    let to_valid = random.next() & 1 == 1;
    if *valid {
        access::store(*page + 8, random.next());
    }
    let seen = caller.pvalidate(list, &[PvalidateEntry::new(*page, false, to_valid, false)]);
    let unchanged = ResultCode::protocol(core_calls::PVALIDATE_FAIL_UNCHANGED);
    let expected = if to_valid == *valid {
        unchanged
    } else {
        ResultCode::SUCCESS
    };
    if seen != expected {
        wrong(seen, 1);
    }
    if to_valid && !*valid && !access::page_is(*page, 0) {
        wrong(seen, 2);
    }
    *valid = to_valid;
}

/// A change of pages that others change too: several answers are right, and the SVSM must live.
fn contested_page(caller: &Caller, random: &mut Random, list: u64) {
    let mut entries = [PvalidateEntry(0); 4];
    for entry in &mut entries {
        let page = ARENA.contested[random.below(CONTESTED)].load(Ordering::Relaxed);
        *entry = PvalidateEntry::new(page, false, random.next() & 1 == 1, random.next() & 1 == 1);
    }
    let seen = caller.pvalidate(list, &entries);
    let unchanged = ResultCode::protocol(core_calls::PVALIDATE_FAIL_UNCHANGED);
    if ![ResultCode::SUCCESS, ResultCode::BUSY, unchanged].contains(&seen) {
        wrong(seen, 3);
    }
}

/// A list that every vCPU writes while every other one has it read.
fn shared_list(caller: &Caller, random: &mut Random) {
    let list = ARENA.shared_list.load(Ordering::Relaxed);
    for _ in 0..4 {
        access::store(
            list + (random.next() & 0x38),
            random.next() & 0x0003_0000_0003_0003,
        );
    }
    let page = ARENA.contested[random.below(CONTESTED)].load(Ordering::Relaxed);
    access::store(list + 8, page | random.next() & 0xF);
    // Any answer is right but one that never comes.
    let _ = caller.result(core_calls::PROTOCOL, core_calls::PVALIDATE, [list, 0, 0]);
}

/// A call with random arguments that name no page of the probe's.
fn nonsense(caller: &Caller, random: &mut Random) {
    let call = random.below(12) as u32;
    let address = match random.below(4) {
        0 => svsm::base() + (random.next() & 0xF_FFFF),
        1 => random.next() | 1 << 60,
        2 => random.next() & 0xFFF | 1 << 45,
        _ => 0xA_0000 + (random.next() & 0xFFFF),
    };
    // These two take no address in RCX: keep to calls that must fail.
    let takes_address = !matches!(
        call,
        core_calls::QUERY_PROTOCOL | core_calls::CONFIGURE_VTOM
    );
    let protocol = if random.next() & 1 == 0 {
        core_calls::PROTOCOL
    } else {
        attestation::PROTOCOL
    };
    let seen = caller.result(protocol, call, [address, random.next(), random.next()]);
    if seen == ResultCode::SUCCESS && (takes_address || protocol == attestation::PROTOCOL) {
        wrong(seen, 4);
    }
}

fn query(caller: &Caller) {
    let seen = caller.outcome(core_calls::PROTOCOL, core_calls::QUERY_PROTOCOL, [1, 0, 0]);
    match seen {
        Ok(out) if out.rax == 0 && out.rcx == (1 | 1 << 32) => {}
        Ok(out) => wrong(ResultCode(out.rax), 5),
        Err(_) => wrong(ResultCode(0), 6),
    }
}

/// After the load: every contested page can be brought back, zeroed where it was away, and the SVSM still keeps itself apart.
fn settle(report: &mut Report) {
    let caller = Caller::first();
    let list = scratch::page();
    for page in &ARENA.contested {
        let gpa = page.load(Ordering::Relaxed);
        let seen = caller.pvalidate(list, &[PvalidateEntry::new(gpa, false, true, true)]);
        report.equal("a contested page is there again", seen, ResultCode::SUCCESS);
        report.holds(
            "and the probe may use it",
            instructions::store(gpa, 1).is_ok(),
        );
    }
    let entry = PvalidateEntry::new(svsm::base(), false, true, true);
    let seen = caller.pvalidate(list, &[entry]);
    report.equal(
        "the SVSM's memory is still its own",
        seen,
        ResultCode::INVALID_ADDRESS,
    );
}
