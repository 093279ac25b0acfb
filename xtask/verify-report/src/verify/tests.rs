// SPDX-License-Identifier: MIT OR Apache-2.0
//! A report of a guest under the SVSM, as `attest` printed it, holds; with anything changed it does
//! not.

use super::*;
use crate::EMULATED_ROOT;

/// `cargo xtask run -- attest 00112233`
const RECORDED: &str = include_str!("recorded.txt");

fn evidence() -> Evidence {
    Evidence::parse(RECORDED).unwrap()
}

fn expected() -> Expected<'static> {
    let digest = evidence().report[0x90..0xC0].try_into().unwrap();
    Expected {
        root: EMULATED_ROOT,
        digest,
        vmpl: 0,
        nonce: Some(hex::nonce("00112233").unwrap()),
    }
}

/// What the refusal of the changed evidence, or with other expectations, says.
fn refusal(change: impl FnOnce(&mut Evidence, &mut Expected<'_>)) -> String {
    let (mut evidence, mut expected) = (evidence(), expected());
    change(&mut evidence, &mut expected);
    let verdict = verify(&evidence, &expected);
    format!("{:#}", verdict.refused.expect("a refusal"))
}

#[test]
fn a_true_report_holds() {
    let verdict = verify(&evidence(), &expected());
    assert!(verdict.refused.is_none(), "{:?}", verdict.refused);
    assert_eq!(verdict.held.len(), 8, "{:?}", verdict.held);
    assert!(verdict.unchecked.is_empty());
}

#[test]
fn a_nonce_of_the_guests_own_is_no_proof_of_freshness() {
    let expected = Expected {
        nonce: None,
        ..expected()
    };
    let verdict = verify(&evidence(), &expected);
    assert!(verdict.refused.is_none());
    assert!(verdict.unchecked[0].contains("old report"));
}

#[test]
fn other_expectations_are_not_met() {
    assert!(refusal(|_, expected| expected.digest[0] ^= 1).contains("another image"));
    assert!(refusal(|_, expected| expected.vmpl = 2).contains("VMPL 0, not 2"));
    assert!(refusal(|_, expected| expected.nonce = Some([0; 64])).contains("not over"));
    // A certificate of the same hierarchy, but not its root.
    let not_the_root = include_bytes!("../../../../emulator/keys/ask.der");
    let said = refusal(|_, expected| expected.root = not_the_root);
    assert!(said.contains("do not lead to the root"), "{said}");
}

#[test]
fn no_byte_of_the_report_can_be_changed() {
    // Digest, nonce, VMPL, policy, chip, a reserved byte, both parts of the signature.
    for offset in [0x90, 0x50, 0x30, 0x08, 0x1A0, 0x200, 0x2A0, 0x2A0 + 72] {
        let said = refusal(|evidence, _| evidence.report[offset] ^= 1);
        assert!(
            said.contains("did not sign") || said.contains("can't be read"),
            "{offset:#x}: {said}"
        );
    }
    assert!(refusal(|evidence, _| evidence.report.push(0)).contains("1185 bytes"));
}

#[test]
fn the_manifest_belongs_to_the_report() {
    let other = refusal(|evidence, _| evidence.manifest.as_mut().unwrap()[20] = 1);
    assert!(other.contains("and this manifest"), "{other}");
    let none = refusal(|evidence, _| evidence.manifest = None);
    assert!(none.contains("not over the expected nonce"), "{none}");
}

#[test]
fn no_certificate_can_be_changed() {
    // Inside of the certificates of chip and signing key.
    for offset in [0x60 + 0x100, 0x60 + 0x400, 0x5BC + 0x100, 0x5BC + 0x500] {
        let said = refusal(|evidence, _| evidence.certificates[offset] ^= 1);
        assert!(
            said.contains("do not lead to the root") || said.contains("can't be read"),
            "{offset:#x}: {said}"
        );
    }
}

#[test]
fn the_key_belongs_to_the_chip() {
    let evidence = evidence();
    let certificates = Certificates::parse(&evidence.certificates).unwrap();
    let key = sev::certs::snp::Certificate::from_der(certificates.vcek).unwrap();
    let report = AttestationReport::from_bytes(evidence.report.as_slice()).unwrap();
    certificates::same_chip(&key, &report).unwrap();
    let mut other = report;
    other.chip_id[0] ^= 1;
    assert!(certificates::same_chip(&key, &other).is_err());
    let mut other = report;
    other.reported_tcb.snp += 1;
    assert!(certificates::same_chip(&key, &other).is_err());
}
