// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attestation reports (MSG_REPORT_REQ; 56860, 7.3 and table "ATTESTATION_REPORT").
//!
//! The version is 2. Version 3 adds family, model and stepping of the processor, and verifiers that
//! find there a processor without SEV-SNP (QEMU's is of family 0xF) refuse the report as malformed.

use emulator_defs::firmware::{BUILD, CHIP_ID, TCB, VERSION};
use p384::ecdsa::Signature;
use p384::ecdsa::signature::Signer;
use snp_defs::VMPL_COUNT;
use snp_defs::guest_message::{ReportRequest, ReportResponseHeader};
use snp_defs::report::{ALGO_ECDSA_P384_SHA384, AttestationReport, REPORT_SIZE, SIGNED_SIZE};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::identity::Identity;
use super::keys::{self, INVALID_KEY_SELECTION, INVALID_PARAMETERS};

/// Version of the layout.
const REPORT_VERSION: u32 = 2;

/// Answer to MSG_REPORT_REQ.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Response {
    header: ReportResponseHeader,
    report: AttestationReport,
}

/// Answers MSG_REPORT_REQ, which came under the key of VMPL `sender`.
pub(super) fn respond(request: &ReportRequest, sender: u8, guest: &Identity) -> Response {
    match report(request, sender, guest) {
        Ok(report) => Response {
            header: ReportResponseHeader {
                status: 0,
                report_size: REPORT_SIZE as u32,
                reserved: [0; 24],
            },
            report,
        },
        Err(status) => Response {
            header: ReportResponseHeader {
                status,
                report_size: 0,
                reserved: [0; 24],
            },
            report: AttestationReport::new_zeroed(),
        },
    }
}

fn report(request: &ReportRequest, sender: u8, guest: &Identity) -> Result<AttestationReport, u32> {
    if request.reserved != [0; 24]
        || request.vmpl < u32::from(sender)
        || request.vmpl >= VMPL_COUNT as u32
    {
        return Err(INVALID_PARAMETERS);
    }
    match request.key_sel {
        // "VLEK if installed, else VCEK", and "VCEK". There is no VLEK.
        0 | 1 => {}
        2 => return Err(INVALID_KEY_SELECTION),
        _ => return Err(INVALID_PARAMETERS),
    }
    let key = keys::chip_key().ok_or(INVALID_KEY_SELECTION)?;
    let owner = &guest.owner;
    let version = [BUILD, VERSION.1, VERSION.0, 0];
    let tcb = TCB.to_u64();
    let mut report = AttestationReport {
        version: REPORT_VERSION,
        guest_svn: owner.guest_svn,
        policy: guest.policy,
        family_id: owner.family_id,
        image_id: owner.image_id,
        vmpl: request.vmpl,
        signature_algo: ALGO_ECDSA_P384_SHA384,
        current_tcb: tcb,
        // No SMT, no transparent SME, no ECC that is known of.
        platform_info: 0,
        flags: u32::from(owner.author_key_digest.is_some()),
        reserved: 0,
        report_data: request.report_data,
        measurement: guest.measurement,
        host_data: guest.host_data,
        id_key_digest: owner.id_key_digest.0,
        author_key_digest: owner.author_key_digest.unwrap_or_default().0,
        report_id: guest.report_id,
        report_id_ma: [0xFF; 32],
        reported_tcb: tcb,
        cpuid_fam_id: 0,
        cpuid_mod_id: 0,
        cpuid_step: 0,
        reserved1: [0; 21],
        chip_id: CHIP_ID,
        committed_tcb: tcb,
        current_version: version,
        committed_version: version,
        launch_tcb: tcb,
        reserved2: [0; 168],
        signature: [0; 512],
    };
    // Deterministic (RFC 6979), over the SHA-384 of what comes before it.
    let signature: Signature = key
        .try_sign(&report.as_bytes()[..SIGNED_SIZE])
        .map_err(|_| INVALID_KEY_SELECTION)?;
    let (r, s) = signature.split_bytes();
    let (to_r, rest) = report.signature.split_at_mut(72);
    little_endian(&r, to_r);
    little_endian(&s, rest);
    Ok(report)
}

fn little_endian(number: &[u8], to: &mut [u8]) {
    for (to, from) in to.iter_mut().zip(number.iter().rev()) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests;
