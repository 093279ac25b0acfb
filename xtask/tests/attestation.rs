// SPDX-License-Identifier: MIT OR Apache-2.0
//! Verifies an attestation report with the `sev` crate, which this project did not write, down to
//! the emulated root.
//!
//! `cargo xtask test` fetches the report in a guest, writes what belongs to it into a folder, and
//! has it verified here, so that the tool itself need not be built with the crate.

use std::path::{Path, PathBuf};

use sev::certs::snp::{Chain, Verifiable};
use sev::firmware::guest::AttestationReport;
use sev::firmware::host::CertTableEntry;
use sev::parser::ByteParser;

/// Names the folder.
const FOLDER: &str = "PARAPET_ATTESTATION";
/// The root of the emulated hierarchy: not AMD's.
const ROOT: &[u8] = include_bytes!("../../emulator/keys/ark.der");

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
#[ignore = "needs a report from a guest: the machine tests run it"]
fn the_report_verifies_down_to_the_emulated_root() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("PARAPET_ATTESTATION is set"));
    let bytes = read(&folder, "report");
    let report = AttestationReport::from_bytes(bytes.as_slice()).expect("a report");

    let mut table = read(&folder, "certificates");
    let entries = CertTableEntry::vec_bytes_to_cert_table(&mut table).expect("certificates");
    let root = entries.iter().find(|entry| entry.data() == ROOT);
    assert!(
        root.is_some(),
        "the chain does not end in the emulated root"
    );
    let chain = Chain::from_cert_table_der(entries).expect("a chain of three certificates");
    chain
        .verify()
        .expect("each certificate is signed by the next");
    (&chain, &report)
        .verify()
        .expect("the report is signed by the chip's key");

    assert_eq!(
        report.measurement[..],
        read(&folder, "measurement")[..],
        "launch digest"
    );
    assert_eq!(
        report.report_data[..],
        read(&folder, "data")[..],
        "report data"
    );
    let vmpl = String::from_utf8(read(&folder, "vmpl")).expect("a number");
    assert_eq!(report.vmpl.to_string(), vmpl.trim(), "VMPL");
}
