// SPDX-License-Identifier: MIT OR Apache-2.0
//! CREATE_VCPU and DELETE_VCPU (58019, 6.3 and 6.4).

use ::core::sync::atomic::{AtomicU64, Ordering};

use snp_defs::vmsa::{EFER_SVME, Vmsa, sev_features};
use svsm_abi::attestation;
use svsm_abi::core_protocol::{self as core, PvalidateEntry};
use svsm_abi::result::ResultCode;

use crate::machine::{access, entry, ghcb, instructions};
use crate::report::Report;
use crate::scratch;
use crate::svsm::{self, Caller};
use crate::vcpu::{self, state};

/// Runs the checks.
pub(crate) fn check(report: &mut Report) {
    let caller = Caller::first();
    let invalid = ResultCode::INVALID_ADDRESS;
    let parameter = ResultCode::INVALID_PARAMETER;
    let create = |vmsa: u64, area: u64, apic_id: u64| {
        caller.result(core::PROTOCOL, core::CREATE_VCPU, [vmsa, area, apic_id])
    };
    let (page, area) = (scratch::page(), scratch::page());
    access::store(page, state(1));
    report.equal(
        "CREATE_VCPU: VMSA not aligned",
        create(page + 8, area, 1),
        parameter,
    );
    report.equal(
        "CREATE_VCPU: calling area not aligned",
        create(page, area + 8, 1),
        parameter,
    );
    report.equal(
        "CREATE_VCPU: both the same page",
        create(page, page, 1),
        invalid,
    );
    report.equal(
        "CREATE_VCPU: VMSA in the SVSM",
        create(svsm::base(), area, 1),
        invalid,
    );
    report.equal(
        "CREATE_VCPU: area in the SVSM",
        create(page, svsm::base(), 1),
        invalid,
    );
    report.equal(
        "CREATE_VCPU: VMSA above all memory",
        create(1 << 51, area, 1),
        invalid,
    );
    report.equal(
        "CREATE_VCPU: VMSA in a shared page",
        create(ghcb::GHCB_GPA, area, 1),
        invalid,
    );
    report.equal(
        "CREATE_VCPU: no such vCPU",
        create(page, area, 0x7FFF_FFFF),
        parameter,
    );
    wrong_state(report, &create);
    let delete = |vmsa: u64| caller.result(core::PROTOCOL, core::DELETE_VCPU, [vmsa, 0, 0]);
    report.equal("DELETE_VCPU: an ordinary page", delete(page), parameter);
    report.equal("DELETE_VCPU: not aligned", delete(page + 8), parameter);
    report.equal(
        "DELETE_VCPU: the SVSM's memory",
        delete(svsm::base()),
        parameter,
    );
    let still_there = instructions::load(page).is_ok();
    report.holds("after every refusal the page is the guest's", still_there);

    access::store(page, state(1));
    report.equal("CREATE_VCPU", create(page, area, 1), ResultCode::SUCCESS);
    let list = scratch::page();
    let rescind = PvalidateEntry::new(page, false, false, false);
    let seen = caller.pvalidate(list, &[rescind]);
    report.equal("PVALIDATE of a vCPU's state is refused", seen, invalid);
    report.equal(
        "CREATE_VCPU: the same page again",
        create(page, area, 1),
        invalid,
    );
    let seen = caller.result(core::PROTOCOL, core::REMAP_CA, [page, 0, 0]);
    report.equal("REMAP_CA onto a vCPU's state is refused", seen, invalid);
    let seen = caller.result(core::PROTOCOL, core::PVALIDATE, [page, 0, 0]);
    report.equal("a list in a vCPU's state", seen, invalid);
    report.equal("DELETE_VCPU", delete(page), ResultCode::SUCCESS);
    report.equal("DELETE_VCPU twice", delete(page), parameter);
    report.holds(
        "the page is the guest's again",
        instructions::store(page, 1).is_ok(),
    );
    running(report);
}

/// What the second vCPU tells: how often it went round, and how the SVSM answered when it asked to be deleted itself.
static ROUNDS: AtomicU64 = AtomicU64::new(0);
static OWN_DELETION: AtomicU64 = AtomicU64::new(0);
static SECOND: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

fn second(_: usize) -> ! {
    let [page, area] = SECOND.each_ref().map(|word| word.load(Ordering::Acquire));
    let caller = Caller {
        area,
        has_ghcb: false,
    };
    let code = caller.result(core::PROTOCOL, core::DELETE_VCPU, [page, 0, 0]);
    OWN_DELETION.store(code.0, Ordering::Relaxed);
    loop {
        ROUNDS.fetch_add(1, Ordering::Release);
        ::core::hint::spin_loop();
    }
}

/// Waits until the second vCPU went on.
fn goes_on() {
    let before = ROUNDS.load(Ordering::Acquire);
    while ROUNDS.load(Ordering::Acquire) < before + 1000 {
        ::core::hint::spin_loop();
    }
}

/// A vCPU that runs while the first one does to it what must not be done.
fn running(report: &mut Report) {
    let caller = Caller::first();
    let invalid = ResultCode::INVALID_ADDRESS;
    let in_use = ResultCode::protocol(core::FAIL_IN_USE);
    let made = vcpu::make(1);
    report.holds("a second vCPU is made", made.is_ok());
    let Ok(made) = made else {
        return;
    };
    SECOND[0].store(made.page, Ordering::Release);
    SECOND[1].store(made.area, Ordering::Release);
    entry::set_work(second);
    let started = vcpu::start(made);
    report.equal("and starts", started, Ok(()));
    if started.is_err() {
        return;
    }
    goes_on();
    report.equal(
        "DELETE_VCPU by the vCPU itself",
        ResultCode(OWN_DELETION.load(Ordering::Relaxed)),
        in_use,
    );
    let call = |number: u32, arguments: [u64; 3]| caller.result(core::PROTOCOL, number, arguments);
    report.equal(
        "DELETE_VCPU of a vCPU that runs",
        call(core::DELETE_VCPU, [made.page, 0, 0]),
        in_use,
    );
    let (list, page, area) = (scratch::page(), scratch::page(), scratch::page());
    access::store(page, state(1));
    for (whose, gpa) in [("state", made.page), ("calling area", made.area)] {
        let mut refused = |name: &str, seen: ResultCode| {
            report.equal(
                "a page of a vCPU that runs is left alone",
                (whose, name, seen),
                (whose, name, invalid),
            );
        };
        svsm::write_list(list, &[PvalidateEntry(gpa)]);
        refused("DEPOSIT_MEM", call(core::DEPOSIT_MEM, [list, 0, 0]));
        refused("CREATE_VCPU", call(core::CREATE_VCPU, [gpa, area, 1]));
        refused("as an area", call(core::CREATE_VCPU, [page, gpa, 0]));
        refused("REMAP_CA", call(core::REMAP_CA, [gpa, 0, 0]));
    }
    for validate in [false, true] {
        let entry = PvalidateEntry::new(made.page, false, validate, true);
        let seen = caller.pvalidate(list, &[entry]);
        report.equal(
            "PVALIDATE of the state",
            (validate, seen),
            (validate, invalid),
        );
    }
    for number in [core::PVALIDATE, core::DEPOSIT_MEM, core::WITHDRAW_MEM] {
        let seen = call(number, [made.page, 0, 0]);
        report.equal("a list in the state", (number, seen), (number, invalid));
    }
    let seen = caller.result(
        attestation::PROTOCOL,
        attestation::ATTEST_SERVICES,
        [made.page, 0, 0],
    );
    report.equal("an argument in the state", seen, invalid);
    goes_on();
    report.holds("after all that it runs", true);
    report.equal("it ends", vcpu::end(made), Ok(()));
    report.equal(
        "DELETE_VCPU when it has ended",
        call(core::DELETE_VCPU, [made.page, 0, 0]),
        ResultCode::SUCCESS,
    );
    let seen = instructions::store(made.page, 1).is_ok();
    report.holds("the page is the guest's again", seen);
}

fn wrong_state(report: &mut Report, create: &dyn Fn(u64, u64, u64) -> ResultCode) {
    type Spoil = fn(&mut Vmsa);
    let wrong: [(&str, Spoil); 6] = [
        ("VMPL0", |vmsa| vmsa.vmpl = 0),
        ("VMPL1", |vmsa| vmsa.vmpl = 1),
        ("no SVME", |vmsa| vmsa.efer &= !EFER_SVME),
        ("no SNP", |vmsa| vmsa.sev_features = 0),
        ("restricted injection", |vmsa| {
            vmsa.sev_features |= sev_features::RESTRICTED_INJECTION
        }),
        ("debug swap", |vmsa| {
            vmsa.sev_features |= sev_features::DEBUG_SWAP
        }),
    ];
    for (name, spoil) in wrong {
        let (page, area) = (scratch::page(), scratch::page());
        let mut vmsa = state(1);
        spoil(&mut vmsa);
        access::store(page, vmsa);
        let seen = create(page, area, 1);
        report.equal(
            "CREATE_VCPU: a state that may not run",
            (name, seen),
            (name, ResultCode::INVALID_PARAMETER),
        );
        report.holds(
            "the page is still the guest's",
            instructions::store(page, 0).is_ok(),
        );
    }
}
