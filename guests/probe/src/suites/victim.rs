// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest does with a host that may be hostile: it uses each service once or a few times, and tells what it got. A
//! refusal is no failure here. A wrong success is: contents that are not what they were, a page that was not zeroed, a
//! report over something else (which the reader of the notes holds against a run with an honest host).

use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use snp_defs::exit;
use snp_defs::ghcb::{Ghcb, SHARED_BUFFER_OFFSET, ap_creation};
use snp_defs::psc;
use snp_defs::report::{AttestationReport, REPORT_SIZE};
use snp_defs::vmsa::sev_features;
use svsm_abi::attestation::{self as calls, AttestServices, Buffer};
use svsm_abi::core_protocol::{self as core_calls, PvalidateEntry};
use svsm_abi::result::ResultCode;

use crate::machine::boot_params::BootParams;
use crate::machine::{access, entry, ghcb, instructions};
use crate::report::Report;
use crate::scratch;
use crate::svsm::Caller;
use crate::vcpu::state;

/// Pages whose contents are looked at again and again.
const WATCHED: usize = 4;
/// Rounds of calls, each followed by a look.
const ROUNDS: u64 = 60;
/// How long another vCPU is waited for.
const PATIENCE: u64 = 10_000_000;
/// No result: the other vCPU did not come that far.
const NOTHING: u64 = 0xFFFF;

/// Calling area of the second vCPU, and what came of its call.
static AREA: AtomicU64 = AtomicU64::new(0);
static RESULT: AtomicU64 = AtomicU64::new(NOTHING);

/// Does what a guest does.
pub(crate) fn check(params: &BootParams, report: &mut Report) {
    let mut line = [0; 256];
    let several = params
        .command_line(&mut line)
        .split(' ')
        .any(|word| word == "vcpus=2");
    let caller = Caller::first();
    let list = scratch::page();
    let watched: [u64; WATCHED] = core::array::from_fn(|_| scratch::page());
    for page in watched {
        access::fill(page, pattern(page));
    }
    report.note("watched", watched[0]);
    report.note("alive", query(&caller).0);
    reports(&caller, report);
    a_page_comes_and_goes(&caller, list, report);
    look(&caller, list, watched, report);
    if several {
        a_vcpu(&caller, report);
    }
    rounds(&caller, list, watched, report);
    report.note("alive at the end", query(&caller).0);
}

/// The byte that fills a page.
const fn pattern(page: u64) -> u8 {
    0xA0 | (page >> 12) as u8 & 0xF
}

fn query(caller: &Caller) -> ResultCode {
    caller.result(core_calls::PROTOCOL, core_calls::QUERY_PROTOCOL, [1, 0, 0])
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// Three reports, each over a nonce of its own.
fn reports(caller: &Caller, report: &mut Report) {
    const NAMES: [[&str; 3]; 3] = [
        ["report 1", "report 1 data", "report 1 hash"],
        ["report 2", "report 2 data", "report 2 hash"],
        ["report 3", "report 3 data", "report 3 hash"],
    ];
    let buffer = |gpa, size| Buffer {
        gpa,
        size,
        reserved: 0,
    };
    let argument = scratch::page();
    let place = scratch::page();
    let nonce = scratch::page();
    let services = AttestServices {
        report: buffer(place, 0x1000),
        nonce: buffer(nonce, 64),
        manifest: buffer(scratch::page(), 0x1000),
        certificates: Buffer::default(),
    };
    for (number, [result, data, all]) in (1u8..).zip(NAMES) {
        access::fill(nonce, 0x50 + number);
        access::fill(place, 0);
        access::store(argument, services);
        let code = caller.result(calls::PROTOCOL, calls::ATTEST_SERVICES, [argument, 0, 0]);
        report.note(result, code.0);
        if code == ResultCode::SUCCESS {
            let told: AttestationReport = access::load(place);
            let bytes: [u8; REPORT_SIZE] = access::load(place);
            report.note(
                data,
                told.report_data
                    .first_chunk()
                    .map_or(0, |bytes| u64::from_le_bytes(*bytes)),
            );
            report.note(all, hash(&bytes));
            report.note("measurement", hash(&told.measurement));
        } else {
            report.holds("no report, no bytes of one", access::page_is(place, 0));
        }
    }
}

/// A page-state change through the GHCB: SW_EXITINFO1 and 2.
fn change(gpa: u64, op: u8) -> (u64, u64) {
    let mut page = ghcb::request(exit::PAGE_STATE_CHANGE, 0, 0);
    page.sw_scratch = ghcb::GHCB_GPA + SHARED_BUFFER_OFFSET as u64;
    ghcb::mark(&mut page, offset_of!(Ghcb, sw_scratch));
    let entry = psc::Entry::new(gpa, op, false);
    page.shared_buffer[8..16].copy_from_slice(&entry.0.to_le_bytes());
    let seen = ghcb::exchange(&page);
    (seen.sw_exit_info1 & 0xFFFF_FFFF, seen.sw_exit_info2)
}

/// A page is given to the host and taken back.
fn a_page_comes_and_goes(caller: &Caller, list: u64, report: &mut Report) {
    let page = scratch::page();
    access::fill(page, 0x77);
    let invalidate = PvalidateEntry::new(page, false, false, false);
    let code = caller.pvalidate(list, &[invalidate]);
    report.note("invalidate", code.0);
    if code != ResultCode::SUCCESS {
        return;
    }
    let (info1, info2) = change(page, psc::OP_SHARED);
    report.note("make shared", info1 << 48 | info2);
    if (info1, info2) != (0, 0) {
        return;
    }
    // What a shared page holds is the host's business, too.
    access::store_shared(page, 0x1234u64);
    let (info1, info2) = change(page, psc::OP_PRIVATE);
    report.note("make private", info1 << 48 | info2);
    let validate = PvalidateEntry::new(page, false, true, false);
    let code = caller.pvalidate(list, &[validate]);
    report.note("validate", code.0);
    if code == ResultCode::SUCCESS {
        report.holds("a validated page is zeroed", is_page(page, 0));
    }
}

/// Whether all of a page, which may fault, has this value.
fn is_page(page: u64, value: u64) -> bool {
    (page..page + 0x1000)
        .step_by(8)
        .all(|at| instructions::load(at) == Ok(value))
}

/// Looks at the watched pages. Where one is gone, the SVSM is asked to validate it once more, which is what a host
/// that has another page ready for its place waits for.
fn look(caller: &Caller, list: u64, watched: [u64; WATCHED], report: &mut Report) {
    for page in watched {
        let expected = u64::from_ne_bytes([pattern(page); 8]);
        match instructions::load(page) {
            Ok(_) => {
                if !is_page(page, expected) {
                    report.holds("a page is what it was", false);
                }
            }
            Err(trap) => {
                report.note("missing page", page);
                report.note("its exception", trap.vector << 32 | trap.code);
                let again = PvalidateEntry::new(page, false, true, false);
                let code = caller.pvalidate(list, &[again]);
                report.note("validate it again", code.0);
                report.holds("and it is not validated twice", code != ResultCode::SUCCESS);
            }
        }
    }
    report.holds("the watched pages were looked at", true);
}

/// A second vCPU is created and makes a call.
fn a_vcpu(caller: &Caller, report: &mut Report) {
    let (page, area) = (scratch::page(), scratch::page());
    access::fill(area, 0);
    access::store(page, state(1));
    AREA.store(area, Ordering::Relaxed);
    entry::set_work(further);
    let arguments = [page, area, 1];
    let code = caller.result(core_calls::PROTOCOL, core_calls::CREATE_VCPU, arguments);
    report.note("create a vCPU", code.0);
    if code != ResultCode::SUCCESS {
        return;
    }
    let info = ap_creation::NOW | 2 << 16 | 1 << 32;
    let mut request = ghcb::request(exit::AP_CREATION, info, page);
    request.rax = sev_features::SNP_ACTIVE;
    ghcb::mark(&mut request, offset_of!(Ghcb, rax));
    let seen = ghcb::exchange(&request).sw_exit_info1;
    report.note("start it", seen & 0xFFFF_FFFF);
    let mut left = PATIENCE;
    while RESULT.load(Ordering::Acquire) == NOTHING && left > 0 {
        left -= 1;
        core::hint::spin_loop();
    }
    report.note("its call", RESULT.load(Ordering::Acquire));
}

/// What the second vCPU does: one call, and then nothing.
fn further(_: usize) -> ! {
    let caller = Caller {
        area: AREA.load(Ordering::Relaxed),
        has_ghcb: false,
    };
    RESULT.store(query(&caller).0, Ordering::Release);
    loop {
        instructions::halt();
    }
}

/// Calls and looks, so that whatever the host does later has something to hit.
fn rounds(caller: &Caller, list: u64, watched: [u64; WATCHED], report: &mut Report) {
    let page = scratch::page();
    let mut answered = 0;
    let mut refused = 0;
    for _ in 0..ROUNDS {
        answered += u64::from(query(caller) == ResultCode::SUCCESS);
        let mut done = true;
        for validate in [false, true] {
            let entry = PvalidateEntry::new(page, false, validate, true);
            let code = caller.pvalidate(list, &[entry]);
            done &= code == ResultCode::SUCCESS;
            refused += u64::from(code != ResultCode::SUCCESS);
        }
        if done && !is_page(page, 0) {
            report.holds("a page that came back is zeroed", false);
        }
        let _ = instructions::store(page, u64::MAX);
        let odd = watched
            .iter()
            .any(|&page| instructions::load(page) != Ok(u64::from_ne_bytes([pattern(page); 8])));
        if odd {
            look(caller, list, watched, report);
        }
    }
    look(caller, list, watched, report);
    report.note("queries answered", answered);
    report.note("changes refused", refused);
}
