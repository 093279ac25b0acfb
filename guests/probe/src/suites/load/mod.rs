// SPDX-License-Identifier: MIT OR Apache-2.0
//! Call load: all vCPUs issue random calls, right and wrong ones. What a vCPU has for itself has one right answer; what
//! all fight over has several. At the end everything is taken back: nothing may be lost, nothing may leak.

mod arena;
mod calls;
mod random;
mod worker;

use core::sync::atomic::Ordering;

use svsm_abi::attestation;
use svsm_abi::calling_area;
use svsm_abi::core_protocol::{self as core_calls, PvalidateEntry};
use svsm_abi::result::ResultCode;

use self::arena::{ARENA, MOST_VCPUS};
use self::worker::Worker;
use crate::machine::boot_params::BootParams;
use crate::machine::{access, entry, instructions};
use crate::report::Report;
use crate::scratch;
use crate::svsm::{self, Caller};
use crate::vcpu::{self, Vcpu};

/// Calls of each vCPU unless the command line says `rounds=N`.
const ROUNDS: u64 = 2_000;

/// Runs the load on `vcpus=N` vCPUs. The machine has one more, which runs nothing: there vCPUs are made and deleted.
pub(crate) fn check(params: &BootParams, report: &mut Report) {
    let vcpus = (params.number("vcpus=").unwrap_or(1) as usize).clamp(1, MOST_VCPUS);
    ARENA.prepare(params.number("rounds=").unwrap_or(ROUNDS), vcpus);
    let before = own_pages();
    ARENA.areas[0].store(svsm::first_area(), Ordering::Relaxed);
    entry::set_work(further);
    let mut started: [Option<Vcpu>; MOST_VCPUS] = [None; MOST_VCPUS];
    for (index, place) in started.iter_mut().enumerate().take(vcpus).skip(1) {
        let made = vcpu::make(index);
        report.holds("a further vCPU is made", made.is_ok());
        let Ok(made) = made else {
            return;
        };
        ARENA.areas[index].store(made.area, Ordering::Relaxed);
        let started = vcpu::start(made);
        report.equal("and starts", started, Ok(()));
        if started.is_err() {
            return;
        }
        *place = Some(made);
    }
    Worker::new(0, true).work();
    // Bounded by the work of the others: a lost call shows as a run that never ends, which its time limit catches.
    while ARENA.done.load(Ordering::Acquire) < vcpus as u64 {
        core::hint::spin_loop();
    }
    report.equal(
        "results that no right answer explains",
        ARENA.wrong.load(Ordering::Relaxed),
        0,
    );
    let first = ARENA.first_wrong.load(Ordering::Relaxed);
    report.note("the first of them", first);
    report.note("vCPUs", vcpus as u64);
    report.note("calls", ARENA.calls.load(Ordering::Relaxed));
    for (name, count) in calls::NAMES.iter().zip(&ARENA.kinds) {
        report.note(name, count.load(Ordering::Relaxed));
    }
    contested_pages(report);
    loans(report);
    end(&started, report);
    report.equal("the SVSM has as many free pages", own_pages(), before);
}

fn further(index: usize) -> ! {
    Worker::new(index, false).work();
    loop {
        core::hint::spin_loop();
    }
}

/// How the SVSM answers a report with room for more certificates than it has pages for: a number of pages that are missing,
/// which tells how many it has.
fn own_pages() -> ResultCode {
    let argument = scratch::page();
    let mut services = calls::services();
    services.certificates = attestation::Buffer {
        gpa: scratch::huge_page(),
        size: u32::MAX,
        reserved: 0,
    };
    access::store(argument, services);
    Caller::first().settled(
        attestation::PROTOCOL,
        attestation::ATTEST_SERVICES,
        [argument, 0, 0],
    )
}

/// Every contested page can be brought back, and the SVSM still keeps itself apart.
fn contested_pages(report: &mut Report) {
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
    report.equal(
        "the SVSM's memory is still its own",
        caller.pvalidate(list, &[entry]),
        ResultCode::INVALID_ADDRESS,
    );
}

/// All that is still lent comes back, each page once.
fn loans(report: &mut Report) {
    let caller = Caller::first();
    let list = scratch::page();
    let mut back = 0;
    loop {
        let withdraw = [list, 0, 0];
        let code = caller.settled(core_calls::PROTOCOL, core_calls::WITHDRAW_MEM, withdraw);
        let count = calls::take_back(list);
        back += count;
        if code != ResultCode::SUCCESS || count == 0 {
            report.equal("everything is withdrawn", code, ResultCode::SUCCESS);
            break;
        }
    }
    report.note("withdrawn at the end", back);
    report.equal(
        "pages that the SVSM kept, or gave back twice",
        (ARENA.lent(), ARENA.wrong.load(Ordering::Relaxed)),
        (0, 0),
    );
    let deposited = ARENA.deposited.load(Ordering::Relaxed);
    let withdrawn = ARENA.withdrawn.load(Ordering::Relaxed);
    report.equal("as many went as came back", deposited, withdrawn);
    let available = access::load::<u8>(caller.area + calling_area::MEM_AVAILABLE);
    report.equal("mem_available is clear", available, 0);
}

/// The further vCPUs end, and their state can be deleted.
fn end(started: &[Option<Vcpu>], report: &mut Report) {
    for vcpu in started.iter().copied().flatten() {
        report.equal("a further vCPU ends", vcpu::end(vcpu), Ok(()));
        let delete = [vcpu.page, 0, 0];
        let call =
            || Caller::first().settled(core_calls::PROTOCOL, core_calls::DELETE_VCPU, delete);
        report.equal("its state is deleted", call(), ResultCode::SUCCESS);
        report.holds(
            "and the guest's again",
            instructions::store(vcpu.page, 1).is_ok(),
        );
        report.equal(
            "it can't be deleted twice",
            call(),
            ResultCode::INVALID_PARAMETER,
        );
    }
}
