// SPDX-License-Identifier: MIT OR Apache-2.0
//! CREATE_VCPU and DELETE_VCPU (58019, 6.3 and 6.4).

use snp_defs::vmsa::{EFER_SVME, Vmsa, sev_features};
use svsm_abi::core_protocol::{self as core, PvalidateEntry};
use svsm_abi::result::ResultCode;

use crate::machine::{access, ghcb, instructions};
use crate::report::Report;
use crate::scratch;
use crate::svsm::{self, Caller};
use crate::vcpu::state;

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
    report.holds(
        "CREATE_VCPU: both the same page",
        create(page, page, 1) != ResultCode::SUCCESS,
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
    report.holds(
        "DELETE_VCPU: an ordinary page",
        delete(page) != ResultCode::SUCCESS,
    );
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
    report.holds(
        "PVALIDATE of a vCPU's state is refused",
        seen != ResultCode::SUCCESS,
    );
    report.holds(
        "CREATE_VCPU: the same page again",
        create(page, area, 1) != ResultCode::SUCCESS,
    );
    let seen = caller.result(core::PROTOCOL, core::REMAP_CA, [page, 0, 0]);
    report.holds(
        "REMAP_CA onto a vCPU's state is refused",
        seen != ResultCode::SUCCESS,
    );
    let seen = caller.result(core::PROTOCOL, core::PVALIDATE, [page, 0, 0]);
    report.equal("a list in a vCPU's state", seen, invalid);
    report.equal("DELETE_VCPU", delete(page), ResultCode::SUCCESS);
    report.holds("DELETE_VCPU twice", delete(page) != ResultCode::SUCCESS);
    report.holds(
        "the page is the guest's again",
        instructions::store(page, 1).is_ok(),
    );
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
