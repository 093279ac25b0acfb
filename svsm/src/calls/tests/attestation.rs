// SPDX-License-Identifier: MIT OR Apache-2.0
//! ATTEST_SERVICES and ATTEST_SINGLE_SERVICE.

use super::std::vec::Vec;
use super::*;
use crate::guest::Registers;
use crate::platform::EvidenceError;
use sha2::{Digest, Sha512};
use svsm_abi::attestation::{
    ATTEST_SERVICES, ATTEST_SINGLE_SERVICE, AttestServices, AttestSingleService, Buffer, PROTOCOL,
};
use zerocopy::IntoBytes;

const ARGUMENTS: u64 = LIST + 8;
const REPORT_SIZE: u64 = 1184;
const MANIFEST_SIZE: u64 = 24;

fn buffer(gpa: u64, size: u32) -> Buffer {
    Buffer {
        gpa,
        size,
        reserved: 0,
    }
}

/// Arguments as Linux gives them.
fn arguments(rig: &Rig<'_>) -> AttestServices {
    AttestServices {
        report: buffer(rig.page(0), 4096),
        nonce: buffer(rig.page(1) + 3, 64),
        manifest: buffer(rig.page(2), 4096),
        certificates: buffer(rig.page(3), 4 * 4096),
    }
}

fn attest(rig: &Rig<'_>, arguments: &AttestServices) -> Registers {
    rig.memory().poke(ARGUMENTS, arguments.as_bytes());
    rig.call(0, PROTOCOL, ATTEST_SERVICES, [ARGUMENTS, 0, 0, 0])
}

fn sizes(registers: Registers) -> (u64, u64, u64, u64) {
    (registers.rax, registers.rcx, registers.rdx, registers.r8)
}

fn bytes(rig: &Rig<'_>, gpa: u64, length: usize) -> Vec<u8> {
    let mut bytes = super::std::vec![0; length];
    rig.memory().peek(gpa, &mut bytes);
    bytes
}

#[test]
fn a_report_over_nonce_and_manifest() {
    with_rig(|rig| {
        let free = rig.machine.pool.free();
        let nonce = [0xA7; 64];
        rig.memory().poke(rig.page(1) + 3, &nonce);
        rig.platform.set_certificates(&[0xCE; 5000]);
        let result = attest(rig, &arguments(rig));
        assert_eq!(sizes(result), (SUCCESS, MANIFEST_SIZE, 5000, REPORT_SIZE));
        let manifest = bytes(rig, rig.page(2), MANIFEST_SIZE as usize);
        let mut signed = nonce.to_vec();
        signed.extend_from_slice(&manifest);
        let digest: [u8; 64] = Sha512::digest(&signed).into();
        assert_eq!(rig.platform.reports(), [digest]);
        let report = bytes(rig, rig.page(0), REPORT_SIZE as usize);
        assert_eq!(report[0x50..0x90], digest);
        assert_eq!(bytes(rig, rig.page(3), 5000), [0xCE; 5000]);
        assert_eq!(
            bytes(rig, rig.page(4) + 904, 1),
            [0],
            "no more than the certificates"
        );
        assert_eq!(rig.machine.pool.free(), free);
    });
}

#[test]
fn without_certificates() {
    with_rig(|rig| {
        rig.platform.set_certificates(&[0xCE; 5000]);
        let none = AttestServices {
            certificates: Buffer::default(),
            ..arguments(rig)
        };
        assert_eq!(
            sizes(attest(rig, &none)),
            (SUCCESS, MANIFEST_SIZE, 0, REPORT_SIZE)
        );
    });
}

#[test]
fn buffers_that_are_too_small_are_told_what_is_enough() {
    with_rig(|rig| {
        let good = arguments(rig);
        let enough = (INVALID_PARAMETER, MANIFEST_SIZE, 0, REPORT_SIZE);
        let report = AttestServices {
            report: buffer(rig.page(0), 1183),
            ..good
        };
        assert_eq!(sizes(attest(rig, &report)), enough);
        let manifest = AttestServices {
            manifest: buffer(rig.page(2), 23),
            ..good
        };
        assert_eq!(sizes(attest(rig, &manifest)), enough);
        // The firmware was not asked for these.
        assert!(rig.platform.reports().is_empty());
        rig.platform.set_certificates(&[0xCE; 9000]);
        let certificates = AttestServices {
            certificates: buffer(rig.page(3), 2 * 4096),
            ..good
        };
        let expected = (INVALID_PARAMETER, MANIFEST_SIZE, 9000, REPORT_SIZE);
        assert_eq!(sizes(attest(rig, &certificates)), expected);
    });
}

#[test]
fn arguments_that_are_wrong() {
    with_rig(|rig| {
        let good = arguments(rig);
        let wrong: &[(AttestServices, u64)] = &[
            (
                AttestServices {
                    report: buffer(rig.page(0) + 8, 4096),
                    ..good
                },
                INVALID_PARAMETER,
            ),
            (
                AttestServices {
                    manifest: buffer(rig.page(2) + 1, 4096),
                    ..good
                },
                INVALID_PARAMETER,
            ),
            (
                AttestServices {
                    certificates: buffer(8, 4096),
                    ..good
                },
                INVALID_PARAMETER,
            ),
            (
                AttestServices {
                    nonce: buffer(rig.page(1), 0),
                    ..good
                },
                INVALID_PARAMETER,
            ),
            (
                AttestServices {
                    nonce: buffer(rig.page(1), 4097),
                    ..good
                },
                INVALID_PARAMETER,
            ),
            (
                AttestServices {
                    nonce: buffer(rig.page(1), u32::MAX),
                    ..good
                },
                INVALID_PARAMETER,
            ),
            (
                AttestServices {
                    nonce: buffer(REGION, 64),
                    ..good
                },
                INVALID_ADDRESS,
            ),
            (
                AttestServices {
                    nonce: buffer(u64::MAX, 64),
                    ..good
                },
                INVALID_ADDRESS,
            ),
            // Half in the machine, half in the hole.
            (
                AttestServices {
                    nonce: buffer(0xA_0000 - 32, 64),
                    ..good
                },
                INVALID_ADDRESS,
            ),
            (
                AttestServices {
                    report: buffer(REGION, 4096),
                    ..good
                },
                INVALID_ADDRESS,
            ),
            (
                AttestServices {
                    manifest: buffer(REGION + 0x8_0000, 4096),
                    ..good
                },
                INVALID_ADDRESS,
            ),
            (
                AttestServices {
                    report: buffer(0xA_0000, 4096),
                    ..good
                },
                INVALID_ADDRESS,
            ),
        ];
        for (index, (arguments, code)) in wrong.iter().enumerate() {
            assert_eq!(attest(rig, arguments).rax, *code, "number {index}");
        }
        for which in 0..4 {
            let mut bad = good;
            let buffers = [
                &mut bad.report,
                &mut bad.nonce,
                &mut bad.manifest,
                &mut bad.certificates,
            ];
            buffers.into_iter().nth(which).unwrap().reserved = 1;
            assert_eq!(attest(rig, &bad).rax, INVALID_PARAMETER);
        }
        for gpa in NOT_THE_GUESTS {
            let result = rig.call(0, PROTOCOL, ATTEST_SERVICES, [gpa, 0, 0, 0]);
            assert_eq!(result.rax, INVALID_ADDRESS);
        }
    });
}

#[test]
fn no_evidence_to_be_had() {
    with_rig(|rig| {
        let free = rig.machine.pool.free();
        for (error, code) in [
            (EvidenceError::Busy, BUSY),
            (EvidenceError::Closed, INVALID_REQUEST),
            (EvidenceError::Refused(9), INVALID_REQUEST),
        ] {
            rig.platform.fail_report(error);
            assert_eq!(attest(rig, &arguments(rig)).rax, code);
        }
        assert_eq!(rig.machine.pool.free(), free);
        assert_eq!(attest(rig, &arguments(rig)).rax, SUCCESS);
    });
}

#[test]
fn memory_that_is_missing_can_be_deposited() {
    with_rig(|rig| {
        // Others have nearly all of it.
        let free = rig.machine.pool.free();
        let used: Vec<_> = (2..free)
            .filter_map(|_| rig.machine.pool.allocate())
            .collect();
        // One for the report, and one of the four for certificates.
        assert_eq!(attest(rig, &arguments(rig)).rax, 0x4000_0003);
        assert_eq!(rig.machine.pool.free(), 2);
        rig.write_list(LIST, 0, &[rig.page(20), rig.page(21), rig.page(22)]);
        assert_eq!(rig.core_call(abi::DEPOSIT_MEM, LIST), SUCCESS);
        rig.platform.set_certificates(&[0xCE; 16384]);
        let result = attest(rig, &arguments(rig));
        assert_eq!(sizes(result), (SUCCESS, MANIFEST_SIZE, 16384, REPORT_SIZE));
        drop(used);
    });
}

#[test]
fn no_service_goes_by_any_name() {
    with_rig(|rig| {
        for (guid, manifest_version, reserved) in
            [([0; 16], 0, 0), ([7; 16], 1, 0), ([0; 16], 0, 1)]
        {
            let single = AttestSingleService {
                common: arguments(rig),
                service_guid: guid,
                manifest_version,
                reserved,
            };
            rig.memory().poke(ARGUMENTS, single.as_bytes());
            let result = rig.call(0, PROTOCOL, ATTEST_SINGLE_SERVICE, [ARGUMENTS, 0, 0, 0]);
            assert_eq!(result.rax, INVALID_PARAMETER);
        }
    });
}

#[test]
fn arguments_that_change_while_they_are_read() {
    with_rig(|rig| {
        rig.memory().poke(rig.page(1) + 3, &[1; 64]);
        let bad = AttestServices {
            report: buffer(REGION, 4096),
            ..arguments(rig)
        };
        let page = rig.page(1);
        rig.memory().after_read(move |memory, gpa, _| {
            if gpa == ARGUMENTS {
                memory.poke(ARGUMENTS, bad.as_bytes());
            }
            if gpa == page + 3 {
                memory.poke(page + 3, &[2; 64]);
            }
        });
        assert_eq!(attest(rig, &arguments(rig)).rax, SUCCESS);
        rig.memory().clear_hook();
        let manifest = bytes(rig, rig.page(2), MANIFEST_SIZE as usize);
        let mut signed = [1; 64].to_vec();
        signed.extend_from_slice(&manifest);
        assert_eq!(rig.platform.reports()[0][..], Sha512::digest(&signed)[..]);
    });
}

/// Pages of the guest's may be in use for a report when another CPU looks whether there are any to withdraw.
#[test]
fn pages_that_were_in_use_are_told_of_again() {
    with_rig(|rig| {
        rig.write_list(LIST, 0, &[rig.page(20)]);
        assert_eq!(rig.core_call(abi::DEPOSIT_MEM, LIST), SUCCESS);
        for arguments in [arguments(rig), AttestServices::default()] {
            // What that CPU wrote.
            let flag = rig.calling_area(0) + svsm_abi::calling_area::MEM_AVAILABLE;
            rig.memory().poke(flag, &[0]);
            attest(rig, &arguments);
            assert_eq!(rig.mem_available(0), 1);
        }
    });
}
