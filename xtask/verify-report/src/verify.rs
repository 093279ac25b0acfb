// SPDX-License-Identifier: MIT OR Apache-2.0
//! The checks. The first that does not hold ends the verification.

use anyhow::{Context as _, Error, Result, ensure};
use sev::certs::snp::{Chain, Verifiable as _};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;
use sha2::{Digest as _, Sha512};

use crate::certificates::{self, Certificates};
use crate::evidence::Evidence;
use crate::{hex, manifest};

/// Bytes of a report (56860, table "ATTESTATION_REPORT").
const REPORT_SIZE: usize = 0x4A0;
/// ECDSA on P-384 with SHA-384 (56860, table "Encodings for the SIGNATURE_ALGO field").
const ECDSA_P384_SHA384: u32 = 1;
/// SIGNING_KEY of the chip's own key (56860, table "ATTESTATION_REPORT").
const SIGNED_BY_VCEK: u32 = 0;

/// What the caller knows without the guest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// The certificate of the root, in DER.
    pub(crate) root: &'a [u8],
    /// The launch digest.
    pub(crate) digest: [u8; 48],
    /// The privilege level for which the report was made.
    pub(crate) vmpl: u32,
    /// The nonce, if the caller chose it.
    pub(crate) nonce: Option<[u8; 64]>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// What was checked and holds.
    pub(crate) held: Vec<String>,
    /// What the caller should know that nobody checked.
    pub(crate) unchecked: Vec<String>,
    /// Why the report is refused, if it is.
    pub(crate) refused: Option<Error>,
}

/// Verifies `evidence`.
pub(crate) fn verify(evidence: &Evidence, expected: &Expected<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    verdict.refused = check(evidence, expected, &mut verdict).err();
    verdict
}

fn check(evidence: &Evidence, expected: &Expected<'_>, verdict: &mut Verdict) -> Result<()> {
    let report = signed(evidence, expected, verdict)?;
    policy(&report, verdict)?;
    ensure!(
        report.measurement == expected.digest,
        "the launch digest is {}, not {}: another image was started",
        hex::digits(&report.measurement),
        hex::digits(&expected.digest)
    );
    verdict.held.push(format!(
        "the launch digest is the expected one: {}",
        hex::digits(&report.measurement)
    ));
    ensure!(
        report.vmpl == expected.vmpl,
        "the report is for VMPL {}, not {}",
        report.vmpl,
        expected.vmpl
    );
    verdict
        .held
        .push(format!("it was made for VMPL {}", report.vmpl));
    data(&report, evidence, expected, verdict)
}

/// The certificates up to the root, and the signature.
fn signed(
    evidence: &Evidence,
    expected: &Expected<'_>,
    verdict: &mut Verdict,
) -> Result<AttestationReport> {
    ensure!(
        evidence.report.len() == REPORT_SIZE,
        "the report has {} bytes, not {REPORT_SIZE}",
        evidence.report.len()
    );
    let certificates = Certificates::parse(&evidence.certificates)?;
    let chain = Chain::from_der(expected.root, certificates.ask, certificates.vcek)
        .context("a certificate can't be read")?;
    chain
        .verify()
        .context("the certificates do not lead to the root")?;
    verdict
        .held
        .push("the root signs the signing key (ASK), and that the chip's key (VCEK)".to_owned());
    let report = AttestationReport::from_bytes(evidence.report.as_slice())
        .context("the report can't be read")?;
    // The signature covers bytes, and the checks look at fields.
    let same = report
        .to_bytes()
        .is_ok_and(|bytes| bytes[..] == evidence.report[..]);
    ensure!(same, "the report has bytes that no field explains");
    ensure!(
        report.sig_algo == ECDSA_P384_SHA384,
        "the report is signed by the unknown algorithm {}",
        report.sig_algo
    );
    ensure!(
        report.key_info.signing_key() == SIGNED_BY_VCEK,
        "the report is not signed by the chip's own key"
    );
    (&chain, &report)
        .verify()
        .context("the chip's key did not sign this report")?;
    verdict.held.push(format!(
        "the chip's key signs the report (version {})",
        report.version
    ));
    certificates::same_chip(&chain.vek, &report)?;
    verdict
        .held
        .push("the chip and its firmware are those of the key's certificate".to_owned());
    Ok(report)
}

/// What the host may do to the guest.
fn policy(report: &AttestationReport, verdict: &mut Verdict) -> Result<()> {
    ensure!(
        !report.policy.debug_allowed(),
        "the guest's policy lets the host read its memory (DEBUG)"
    );
    ensure!(
        !report.policy.migrate_ma_allowed(),
        "the guest's policy lets a migration agent have it (MIGRATE_MA)"
    );
    verdict.held.push(format!(
        "its policy {:#x} allows neither debugging nor migration",
        u64::from(report.policy)
    ));
    Ok(())
}

/// What the guest had signed: the nonce, or the SVSM's hash of nonce and manifest (58019, 7.1).
fn data(
    report: &AttestationReport,
    evidence: &Evidence,
    expected: &Expected<'_>,
    verdict: &mut Verdict,
) -> Result<()> {
    let nonce = match &expected.nonce {
        Some(nonce) => nonce.as_slice(),
        None => {
            verdict.unchecked.push(
                "the nonce is the guest's own, so this may be an old report: --nonce tells"
                    .to_owned(),
            );
            &evidence.nonce
        }
    };
    let whose = if expected.nonce.is_some() {
        "the expected nonce"
    } else {
        "the guest's nonce"
    };
    match &evidence.manifest {
        None => {
            ensure!(report.report_data[..] == *nonce, "it is not over {whose}");
            verdict.held.push(format!("it is over {whose}"));
        }
        Some(manifest) => {
            let hash = Sha512::new()
                .chain_update(nonce)
                .chain_update(manifest)
                .finalize();
            ensure!(
                report.report_data[..] == hash[..],
                "it is not over {whose} and this manifest"
            );
            verdict.held.push(format!(
                "it is over {whose} and the SVSM's manifest (SHA-512 of both)"
            ));
            let services = manifest::parse(manifest)?;
            verdict.held.push(match services.len() {
                0 => "the manifest is whole: the SVSM vouches for no service".to_owned(),
                _ => {
                    let list: Vec<_> = services
                        .iter()
                        .map(|service| format!("{} ({} bytes)", service.guid, service.size))
                        .collect();
                    format!(
                        "the manifest is whole: the SVSM vouches for {}",
                        list.join(", ")
                    )
                }
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
