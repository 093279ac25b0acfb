// SPDX-License-Identifier: MIT OR Apache-2.0
//! The attestation protocol (58019, 7): reports over a nonce, and buffers of every wrong kind.

use snp_defs::report::{AttestationReport, REPORT_SIZE};
use svsm_abi::attestation::{self as calls, AttestServices, AttestSingleService, Buffer};
use svsm_abi::result::ResultCode;

use crate::machine::{access, ghcb};
use crate::report::Report;
use crate::scratch;
use crate::svsm::{self, Caller};

/// A page-sized buffer of the guest's.
fn buffer(gpa: u64, size: u32) -> Buffer {
    Buffer {
        gpa,
        size,
        reserved: 0,
    }
}

/// Runs the checks.
pub(crate) fn check(report: &mut Report) {
    let caller = Caller::first();
    let argument = scratch::page();
    let services = AttestServices {
        report: buffer(scratch::huge_page(), 0x4000),
        nonce: buffer(scratch::page(), 64),
        manifest: buffer(scratch::page(), 0x1000),
        certificates: Buffer::default(),
    };
    access::fill(services.nonce.gpa, 0x42);
    let attest = |services: AttestServices| {
        access::store(argument, services);
        caller.result(calls::PROTOCOL, calls::ATTEST_SERVICES, [argument, 0, 0])
    };
    where_things_lie(&caller, services, &attest, report);
    sizes(services, &attest, report);
    reserved(services, &attest, report);
    single(&caller, services, argument, report);

    report.equal("a report", attest(services), ResultCode::SUCCESS);
    let told: AttestationReport = access::load(services.report.gpa);
    report.equal("its VMPL", told.vmpl, 0);
    let first = told.report_data;
    report.holds("it carries a hash", first != [0; 64]);
    access::fill(services.nonce.gpa, 0x43);
    report.equal(
        "a report over another nonce",
        attest(services),
        ResultCode::SUCCESS,
    );
    let told: AttestationReport = access::load(services.report.gpa);
    report.holds("it carries another hash", told.report_data != first);
}

fn where_things_lie(
    caller: &Caller,
    good: AttestServices,
    attest: &dyn Fn(AttestServices) -> ResultCode,
    report: &mut Report,
) {
    let at = |gpa: u64| caller.result(calls::PROTOCOL, calls::ATTEST_SERVICES, [gpa, 0, 0]);
    let bad = [
        svsm::base(),
        svsm::base() + svsm::size() - 8,
        1 << 51,
        0xA_0000,
        u64::MAX - 7,
        ghcb::GHCB_GPA,
    ];
    for gpa in bad {
        let invalid = ResultCode::INVALID_ADDRESS;
        // Where something is put starts a page; where something is read from need not.
        let put = if gpa.is_multiple_of(0x1000) {
            invalid
        } else {
            ResultCode::INVALID_PARAMETER
        };
        report.equal(
            "an argument where the guest has no memory",
            (gpa, at(gpa)),
            (gpa, invalid),
        );
        let place = |buffer: Buffer| Buffer { gpa, ..buffer };
        let seen = attest(AttestServices {
            report: place(good.report),
            ..good
        });
        report.equal("a report buffer there", (gpa, seen), (gpa, put));
        let seen = attest(AttestServices {
            nonce: place(good.nonce),
            ..good
        });
        report.equal("a nonce there", (gpa, seen), (gpa, invalid));
        let seen = attest(AttestServices {
            manifest: place(good.manifest),
            ..good
        });
        report.equal("a manifest buffer there", (gpa, seen), (gpa, put));
        let certificates = Buffer {
            gpa,
            size: 0x4000,
            reserved: 0,
        };
        let seen = attest(AttestServices {
            certificates,
            ..good
        });
        report.equal("a certificate buffer there", (gpa, seen), (gpa, put));
    }
}

fn sizes(good: AttestServices, attest: &dyn Fn(AttestServices) -> ResultCode, report: &mut Report) {
    let small = Buffer {
        size: REPORT_SIZE as u32 - 1,
        ..good.report
    };
    let seen = attest(AttestServices {
        report: small,
        ..good
    });
    report.equal(
        "a report buffer one byte too small",
        seen,
        ResultCode::INVALID_PARAMETER,
    );
    let small = Buffer {
        size: 1,
        ..good.manifest
    };
    let seen = attest(AttestServices {
        manifest: small,
        ..good
    });
    report.equal(
        "a manifest buffer of one byte",
        seen,
        ResultCode::INVALID_PARAMETER,
    );
    for size in [0, 0x1001, u32::MAX, 0x8000_0000] {
        let seen = attest(AttestServices {
            nonce: Buffer { size, ..good.nonce },
            ..good
        });
        report.equal(
            "a nonce of no bytes, or of more than a page",
            seen,
            ResultCode::INVALID_PARAMETER,
        );
    }
}

/// Fields that have to be zero, and buffers that do not start a page.
fn reserved(
    good: AttestServices,
    attest: &dyn Fn(AttestServices) -> ResultCode,
    report: &mut Report,
) {
    let spoil: [fn(&mut AttestServices); 7] = [
        |services| services.report.reserved = 1,
        |services| services.nonce.reserved = 1,
        |services| services.manifest.reserved = 1,
        |services| services.certificates.reserved = 1,
        |services| services.report.gpa += 8,
        |services| services.manifest.gpa += 8,
        |services| services.certificates.gpa += 8,
    ];
    for (number, spoil) in spoil.into_iter().enumerate() {
        let mut services = good;
        spoil(&mut services);
        report.equal(
            "a reserved field, or a buffer that is not aligned",
            (number, attest(services)),
            (number, ResultCode::INVALID_PARAMETER),
        );
    }
}

fn single(caller: &Caller, good: AttestServices, argument: u64, report: &mut Report) {
    let unknown = AttestSingleService {
        common: good,
        service_guid: [0xEE; 16],
        manifest_version: 0,
        reserved: 0,
    };
    access::store(argument, unknown);
    let seen = caller.result(
        calls::PROTOCOL,
        calls::ATTEST_SINGLE_SERVICE,
        [argument, 0, 0],
    );
    report.equal(
        "a service that does not exist",
        seen,
        ResultCode::INVALID_PARAMETER,
    );
}
