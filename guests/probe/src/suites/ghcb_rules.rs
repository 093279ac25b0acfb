// SPDX-License-Identifier: MIT OR Apache-2.0
//! The GHCB and its MSR protocol (56421): what the host answers to requests, right and malformed.

use core::mem::offset_of;

use snp_defs::exit;
use snp_defs::ghcb::{Ghcb, malformed, result};
use snp_defs::msr::{hv_features, protocol};
use snp_defs::psc;

use crate::machine::boot_params::BootParams;
use crate::machine::{access, ghcb};
use crate::report::Report;
use crate::scratch;
use crate::svsm;

/// Runs the checks.
pub(crate) fn check(_: &BootParams, report: &mut Report) {
    msr_protocol(report);
    the_page(report);
    inputs(report);
    page_state_lists(report);
    vcpus(report);
    guest_requests(report);
}

/// Low halves of SW_EXITINFO1 and SW_EXITINFO2 of the answer.
fn answer(page: &Ghcb) -> (u64, u64) {
    let seen = ghcb::exchange(page);
    (seen.sw_exit_info1 & 0xFFFF_FFFF, seen.sw_exit_info2)
}

fn msr_protocol(report: &mut Report) {
    let info = ghcb::msr_request(protocol::SEV_INFO_REQUEST);
    report.equal(
        "SEV information: code",
        info & 0xFFF,
        protocol::SEV_INFO_RESPONSE,
    );
    report.equal("SEV information: C-bit", info >> 24 & 0xFF, 51);
    report.equal(
        "SEV information: version 2 is spoken",
        (info >> 32 & 0xFFFF <= 2, info >> 48 >= 2),
        (true, true),
    );
    let features = ghcb::msr_request(protocol::HV_FEATURES_REQUEST);
    let needed = hv_features::SNP | hv_features::AP_CREATION;
    report.equal(
        "features: code",
        features & 0xFFF,
        protocol::HV_FEATURES_RESPONSE,
    );
    report.equal(
        "features: SNP and AP creation",
        features >> 12 & needed,
        needed,
    );
    for register in 0..4u64 {
        let seen = ghcb::msr_request(protocol::CPUID_REQUEST | register << 30 | 0x8000_0000 << 32);
        report.equal(
            "CPUID: code and register",
            seen & 0xC000_0FFF,
            protocol::CPUID_RESPONSE | register << 30,
        );
    }
    let none = ghcb::msr_request(protocol::PREFERRED_GHCB_REQUEST);
    report.equal(
        "preferred GHCB: code",
        none & 0xFFF,
        protocol::PREFERRED_GHCB_RESPONSE,
    );
    let wrong = psc::Entry::new(1 << 50, psc::OP_SHARED, false).0;
    let seen = ghcb::msr_request(protocol::PSC_REQUEST | wrong);
    report.holds(
        "page state of no memory",
        seen & 0xFFF == protocol::PSC_RESPONSE && seen >> 32 != 0,
    );
    let wrong = psc::Entry::new(scratch::page(), 9, false).0;
    let seen = ghcb::msr_request(protocol::PSC_REQUEST | wrong);
    report.holds(
        "page state that does not exist",
        seen & 0xFFF == protocol::PSC_RESPONSE && seen >> 32 != 0,
    );
    // An own VMPL is no other one, and under the SVSM VMPL0 has a vCPU, which comes back at once.
    for vmpl in [1u64, 3, 9] {
        let seen = ghcb::msr_request(protocol::RUN_VMPL_REQUEST | vmpl << 32);
        let refused = seen & 0xFFF == protocol::RUN_VMPL_RESPONSE && seen >> 32 != 0;
        report.holds("running a VMPL that has no vCPU", refused);
    }
    // The probe says nothing until its own page is registered again.
    ghcb::msr_request(protocol::REGISTER_GHCB_REQUEST | scratch::page());
    let unregistered = answer(&ghcb::request(exit::HV_FEATURES, 0, 0));
    let again = protocol::REGISTER_GHCB_REQUEST | ghcb::GHCB_GPA;
    let seen = ghcb::msr_request(again);
    let refused = (result::MALFORMED, malformed::NOT_REGISTERED);
    report.equal(
        "a GHCB that is not the registered one",
        unregistered,
        refused,
    );
    report.equal(
        "registering the GHCB",
        seen,
        protocol::REGISTER_GHCB_RESPONSE | ghcb::GHCB_GPA,
    );
}

fn the_page(report: &mut Report) {
    let mut page = ghcb::request(exit::HV_FEATURES, 0, 0);
    page.usage = 1;
    let invalid = (result::MALFORMED, malformed::INVALID_USAGE);
    report.equal("a GHCB of unknown usage", answer(&page), invalid);
    let features = answer(&ghcb::request(exit::HV_FEATURES, 0, 0));
    report.holds(
        "features by the GHCB",
        features.0 == 0 && features.1 & hv_features::SNP != 0,
    );
    let mut page = ghcb::request(exit::HV_FEATURES, 0, 0);
    page.valid_bitmap = [0; 16];
    let seen = answer(&page);
    report.equal(
        "a GHCB with nothing marked",
        seen,
        (result::MALFORMED, malformed::MISSING_INPUT),
    );
    let seen = answer(&ghcb::request(0x8000_1234, 0, 0));
    report.equal(
        "an exit code that does not exist",
        seen,
        (result::MALFORMED, malformed::INVALID_EVENT),
    );
}

fn inputs(report: &mut Report) {
    let missing = (result::MALFORMED, malformed::MISSING_INPUT);
    let mut page = ghcb::request(exit::CPUID, 0, 0);
    page.rax = 0;
    report.equal("CPUID without RAX and RCX", answer(&page), missing);
    let info = 0x3F8u64 << 16 | 1 << 4 | 1 << 9;
    report.equal(
        "OUT without RAX",
        answer(&ghcb::request(exit::IOIO, info, 0)),
        missing,
    );
    report.equal(
        "RDMSR without RCX",
        answer(&ghcb::request(exit::MSR, 0, 0)),
        missing,
    );
    let seen = answer(&ghcb::request(exit::MMIO_READ, 0xFEC0_0000, 4));
    report.equal("MMIO without a scratch area", seen, missing);
    let mut page = ghcb::request(exit::MMIO_READ, 0xFEC0_0000, 4);
    page.sw_scratch = scratch::page();
    ghcb::mark(&mut page, offset_of!(Ghcb, sw_scratch));
    let seen = answer(&page);
    report.equal(
        "MMIO to a private scratch area",
        seen,
        (result::MALFORMED, malformed::INVALID_SCRATCH),
    );
    let mut page = ghcb::request(exit::MMIO_READ, 0xFEC0_0000, 4);
    page.sw_scratch = ghcb::GHCB_GPA + snp_defs::ghcb::SHARED_BUFFER_OFFSET as u64;
    ghcb::mark(&mut page, offset_of!(Ghcb, sw_scratch));
    report.equal("MMIO to the shared buffer", answer(&page).0, result::OK);
    let mut page = ghcb::request(exit::MSR, 0, 0);
    page.rcx = 0x1234_5678;
    ghcb::mark(&mut page, offset_of!(Ghcb, rcx));
    let seen = answer(&page);
    report.equal(
        "an MSR that does not exist",
        (seen.0, seen.1 & 0xFFFF),
        (result::EXCEPTION, 0xB0D),
    );
}

fn page_state_lists(report: &mut Report) {
    let list = |header: psc::Header, entries: &[psc::Entry]| {
        let mut page = ghcb::request(exit::PAGE_STATE_CHANGE, 0, 0);
        page.sw_scratch = ghcb::GHCB_GPA + snp_defs::ghcb::SHARED_BUFFER_OFFSET as u64;
        ghcb::mark(&mut page, offset_of!(Ghcb, sw_scratch));
        page.shared_buffer[0..2].copy_from_slice(&header.cur_entry.to_le_bytes());
        page.shared_buffer[2..4].copy_from_slice(&header.end_entry.to_le_bytes());
        for (chunk, entry) in page.shared_buffer[8..].chunks_exact_mut(8).zip(entries) {
            chunk.copy_from_slice(&entry.0.to_le_bytes());
        }
        let seen = ghcb::exchange(&page);
        let cur = u16::from_le_bytes([seen.shared_buffer[0], seen.shared_buffer[1]]);
        (seen.sw_exit_info2, cur)
    };
    let header = |cur: u16, end: u16| psc::Header {
        cur_entry: cur,
        end_entry: end,
        reserved: 0,
    };
    let bad_header = psc::ERROR_INVALID | psc::INVALID_HEADER;
    let bad_entry = psc::ERROR_INVALID | psc::INVALID_ENTRY;
    report.equal(
        "a list that is too long",
        list(header(0, 253), &[]).0,
        bad_header,
    );
    // Nothing is left to do then, says KVM, and so says the emulator.
    report.equal(
        "a list that starts behind its end",
        list(header(5, 4), &[]).0,
        0,
    );
    let wrong = psc::Entry::new(scratch::page(), 7, false);
    report.equal(
        "an entry with no known operation",
        list(header(0, 0), &[wrong]),
        (bad_entry, 0),
    );
    let outside = psc::Entry::new(1 << 50, psc::OP_PRIVATE, false);
    report.holds(
        "an entry outside of memory",
        list(header(0, 0), &[outside]).0 != 0,
    );
    let pages = [scratch::page(), scratch::page()];
    for page in pages {
        report.equal("a page is invalidated", svsm::rescind(page), Ok(()));
    }
    let entries = pages.map(|page| psc::Entry::new(page, psc::OP_SHARED, false));
    report.equal(
        "two pages become shared",
        list(header(0, 1), &entries),
        (0, 2),
    );
    access::store_shared(pages[1], 9u64);
    report.equal("and can be used", access::load_shared::<u64>(pages[1]), 9);
    let mixed = [psc::Entry::new(pages[0], psc::OP_PRIVATE, false), wrong];
    report.equal(
        "a bad entry behind a good one",
        list(header(0, 1), &mixed),
        (bad_entry, 1),
    );
}

fn vcpus(report: &mut Report) {
    let create = |info: u64, vmsa: u64| {
        let mut page = ghcb::request(exit::AP_CREATION, info, vmsa);
        page.rax = 1;
        ghcb::mark(&mut page, offset_of!(Ghcb, rax));
        answer(&page)
    };
    let invalid = (result::MALFORMED, malformed::INVALID_INPUT);
    let page = scratch::page();
    report.equal(
        "AP creation for no vCPU",
        create(1 | 0x7777 << 32, page),
        invalid,
    );
    report.equal(
        "AP creation of no known kind",
        create(9 | 1 << 32, page),
        invalid,
    );
    report.equal(
        "AP creation with a VMSA that is not aligned",
        create(1 | 1 << 32, page + 8),
        invalid,
    );
    let mut request = ghcb::request(exit::APIC_ID_LIST, 0, 0);
    request.rax = 0;
    ghcb::mark(&mut request, offset_of!(Ghcb, rax));
    let seen = ghcb::exchange(&request);
    report.holds(
        "an APIC id list without room says how much it needs",
        seen.rax >= 1,
    );
}

fn guest_requests(report: &mut Report) {
    let invalid = (result::MALFORMED, malformed::INVALID_INPUT);
    let seen = answer(&ghcb::request(exit::GUEST_REQUEST, 8, 16));
    report.equal("a guest request that is not aligned", seen, invalid);
    let (request, response) = (scratch::page(), scratch::page());
    let seen = answer(&ghcb::request(exit::GUEST_REQUEST, request, response));
    report.equal("a guest request in private pages", seen, invalid);
    for page in [request, response] {
        report.equal("a page becomes shared", ghcb::make_shared(page), Ok(()));
    }
    ghcb::restore();
    let seen = ghcb::exchange(&ghcb::request(exit::GUEST_REQUEST, request, response));
    report.holds(
        "a guest request of zeros is refused",
        seen.sw_exit_info2 != 0,
    );
}
