// SPDX-License-Identifier: MIT OR Apache-2.0
//! The RMP's instructions (24593 volume 3 and 15.36): what each answers, and what it does. At VMPL0, without an SVSM, all of
//! them; under the SVSM what is left of them to a less privileged VMPL.

use snp_defs::exit;
use snp_defs::msr::protocol;
use snp_defs::psc;
use snp_defs::rmp::{Permissions, RmpAttributes, RmpResult, RmpSize};

use super::stale;
use crate::machine::boot_params::BootParams;
use crate::machine::{access, ghcb, instructions, traps::Trap};
use crate::report::Report;
use crate::scratch;
use crate::svsm;

const NOT_VALIDATED: Trap = Trap {
    vector: 29,
    code: exit::PAGE_NOT_VALIDATED,
};
const GENERAL_PROTECTION: Trap = Trap {
    vector: 13,
    code: 0,
};
const SMALL: RmpSize = RmpSize::Size4K;
const HUGE: RmpSize = RmpSize::Size2M;

/// Runs the checks.
pub(crate) fn check(_: &BootParams, report: &mut Report) {
    if svsm::present() {
        less_privileged(report);
    } else {
        pvalidate(report);
        rmpadjust(report);
        rmpquery(report);
        page_states(report);
        sizes(report);
        stale::check(report);
    }
    flushes(report);
    intercepted(report);
}

fn pvalidate(report: &mut Report) {
    let page = scratch::page();
    let call = |validate: bool| instructions::pvalidate(page, SMALL, validate);
    report.equal(
        "PVALIDATE of a valid page changes nothing",
        call(true),
        Ok((0, true)),
    );
    report.equal("PVALIDATE clears the bit", call(false), Ok((0, false)));
    report.equal("and again changes nothing", call(false), Ok((0, true)));
    report.equal(
        "a load from it raises #VC",
        instructions::load(page),
        Err(NOT_VALIDATED),
    );
    report.equal(
        "a store to it raises #VC",
        instructions::store(page, 1),
        Err(NOT_VALIDATED),
    );
    report.equal("PVALIDATE sets the bit", call(true), Ok((0, false)));
    report.holds("and the page is there", instructions::load(page).is_ok());
}

/// VMPL2: PVALIDATE is VMPL0's alone; permissions can be given to VMPL3, and none that VMPL2 has not.
fn less_privileged(report: &mut Report) {
    let page = scratch::page();
    let fault = Err(GENERAL_PROTECTION);
    report.equal(
        "PVALIDATE below VMPL0",
        instructions::pvalidate(page, SMALL, true),
        fault,
    );
    report.equal(
        "and to clear the bit",
        instructions::pvalidate(page, SMALL, false),
        fault,
    );
    report.holds("the page is untouched", instructions::load(page).is_ok());
    let call = |vmpl: u8, permissions: Permissions, vmsa: bool| {
        instructions::rmpadjust(page, SMALL, RmpAttributes::new(vmpl, permissions, vmsa))
    };
    let refused = Ok(RmpResult::FailPermission as u64);
    for vmpl in 0..3 {
        let seen = call(vmpl, Permissions::FULL, false);
        report.equal("RMPADJUST for its own or a higher VMPL", seen, refused);
    }
    report.equal(
        "RMPADJUST for VMPL3",
        call(3, Permissions::READ, false),
        Ok(0),
    );
    let seen = call(3, Permissions::SHADOW_STACK, false);
    report.equal("RMPADJUST gives no right that it has not", seen, refused);
    let seen = instructions::rmpquery(page, 3).map(|(eax, rdx, _)| (eax, rdx >> 8 & 0xFF));
    report.equal(
        "RMPQUERY tells it",
        seen,
        Ok((0, u64::from(Permissions::READ.bits()))),
    );
    // A VMSA that the guest makes itself would be a vCPU of any privilege.
    let _ = call(3, Permissions::READ, true);
    let seen = instructions::rmpquery(page, 3).map(|(_, rdx, _)| rdx >> 16 & 1);
    report.equal("RMPADJUST sets no VMSA bit below VMPL0", seen, Ok(0));
}

fn rmpadjust(report: &mut Report) {
    let page = scratch::page();
    let call = |vmpl: u8, permissions: Permissions| {
        instructions::rmpadjust(page, SMALL, RmpAttributes::new(vmpl, permissions, false))
    };
    let success = Ok(RmpResult::Success as u64);
    let refused = Ok(RmpResult::FailPermission as u64);
    report.equal(
        "RMPADJUST for its own VMPL",
        call(0, Permissions::FULL),
        refused,
    );
    for vmpl in 1..4 {
        report.equal(
            "RMPADJUST for a lower VMPL",
            call(vmpl, Permissions::READ),
            success,
        );
    }
    let seen = call(4, Permissions::READ);
    report.equal(
        "RMPADJUST for a VMPL that does not exist",
        seen,
        Ok(RmpResult::FailInput as u64),
    );
    let invalid = scratch::page();
    report.equal(
        "a page is invalidated",
        instructions::pvalidate(invalid, SMALL, false),
        Ok((0, false)),
    );
    let attributes = RmpAttributes::new(1, Permissions::READ, false);
    let seen = instructions::rmpadjust(invalid, SMALL, attributes);
    report.equal("RMPADJUST of an invalid page", seen, Err(NOT_VALIDATED));
}

fn rmpquery(report: &mut Report) {
    let page = scratch::page();
    let granted = Permissions::READ | Permissions::WRITE;
    let attributes = RmpAttributes::new(2, granted, false);
    report.equal(
        "RMPADJUST grants",
        instructions::rmpadjust(page, SMALL, attributes),
        Ok(0),
    );
    let seen = instructions::rmpquery(page, 2).map(|(eax, rdx, _)| (eax, rdx >> 8 & 0xFF));
    report.equal(
        "RMPQUERY tells it",
        seen,
        Ok((0, u64::from(granted.bits()))),
    );
    let seen = instructions::rmpquery(page, 3).map(|(eax, rdx, _)| (eax, rdx >> 8 & 0xFF));
    report.equal("and nothing for another VMPL", seen, Ok((0, 0)));
    let attributes = RmpAttributes::new(1, Permissions::empty(), true);
    report.equal(
        "RMPADJUST sets the VMSA bit",
        instructions::rmpadjust(page, SMALL, attributes),
        Ok(0),
    );
    let seen = instructions::rmpquery(page, 1).map(|(eax, rdx, _)| (eax, rdx >> 16 & 1));
    report.equal("RMPQUERY tells the VMSA bit", seen, Ok((0, 1)));
    let attributes = RmpAttributes::new(1, Permissions::empty(), false);
    report.equal(
        "and it can be cleared",
        instructions::rmpadjust(page, SMALL, attributes),
        Ok(0),
    );
}

fn page_states(report: &mut Report) {
    let page = scratch::page();
    access::fill(page, 0xA5);
    report.equal("a page becomes shared", ghcb::make_shared(page), Ok(()));
    let pattern = u64::from_ne_bytes([0xA5; 8]);
    report.holds(
        "the host does not see what it held",
        access::load_shared::<u64>(page) != pattern,
    );
    access::store_shared(page, 0x1234_5678u64);
    report.equal(
        "it can be written as a shared page",
        access::load_shared::<u64>(page),
        0x1234_5678,
    );
    let request = protocol::PSC_REQUEST | psc::Entry::new(page, psc::OP_PRIVATE, false).0;
    report.equal(
        "it becomes private",
        ghcb::msr_request(request),
        protocol::PSC_RESPONSE,
    );
    report.equal(
        "but not valid",
        instructions::load(page),
        Err(NOT_VALIDATED),
    );
    report.equal(
        "PVALIDATE",
        instructions::pvalidate(page, SMALL, true),
        Ok((0, false)),
    );
    let held = instructions::load(page);
    report.holds("neither the old private contents", held != Ok(pattern));
    report.holds("nor the shared ones are in it", held != Ok(0x1234_5678));
}

fn sizes(report: &mut Report) {
    let page = scratch::huge_page();
    let mismatch = Ok(RmpResult::FailSizeMismatch as u64);
    let inner = page + 0x3000;
    report.equal(
        "a 4K page in a 2M one",
        instructions::pvalidate(inner, SMALL, false),
        Ok((0, false)),
    );
    let seen = instructions::pvalidate(page, HUGE, true).map(|(eax, _)| eax);
    report.equal("2M PVALIDATE over 4K pages", seen, mismatch);
    let attributes = RmpAttributes::new(1, Permissions::READ, false);
    let seen = instructions::rmpadjust(page, HUGE, attributes);
    report.equal("2M RMPADJUST over 4K pages", seen, mismatch);
    report.equal(
        "its neighbour is untouched",
        instructions::load(inner + 0x1000),
        Ok(0),
    );
    report.equal(
        "and back",
        instructions::pvalidate(inner, SMALL, true),
        Ok((0, false)),
    );
}

fn flushes(report: &mut Report) {
    report.equal(
        "INVLPGB of everything",
        instructions::invlpgb(0x8, 0, 0),
        Ok(()),
    );
    report.equal("TLBSYNC", instructions::tlbsync(), Ok(()));
    let page = scratch::page();
    report.equal(
        "INVLPGB of a page",
        instructions::invlpgb(page | 0x1, 0, 0),
        Ok(()),
    );
    let seen = instructions::invlpgb(page | 0x1, 0xFFFF, 0);
    report.equal(
        "INVLPGB of more pages than CPUID allows",
        seen,
        Err(GENERAL_PROTECTION),
    );
}

fn intercepted(report: &mut Report) {
    let vc = |code: u64| Err::<u64, _>(Trap { vector: 29, code });
    report.equal(
        "CPUID raises #VC",
        instructions::cpuid(0, 0),
        vc(exit::CPUID),
    );
    report.equal("RDMSR raises #VC", instructions::rdmsr(0x1B), vc(exit::MSR));
    let status = instructions::rdmsr(snp_defs::msr::SEV_STATUS).map(|value| value & 7);
    report.equal("SEV_STATUS is read without an exit", status, Ok(7));
    let device = instructions::load(crate::machine::tables::SHARED + 0xFEC0_0000);
    report.equal("a device's memory raises #VC", device, vc(exit::NPF));
}
