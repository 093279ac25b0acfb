// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reports and certificates as the `sev` crate, which this project did not write, takes them.

extern crate std;

use std::vec::Vec;

use sev::certs::snp::{Chain, Verifiable};
use sev::firmware::guest::AttestationReport as SevReport;
use sev::firmware::host::CertTableEntry;
use sev::parser::ByteParser;

use super::super::certificates;
use super::super::identity::Owner;
use super::*;

fn guest() -> Identity {
    Identity {
        policy: 0x3_0000,
        measurement: [0xAB; 48],
        owner: Owner::default(),
        host_data: [0xCD; 32],
        report_id: [0xEF; 32],
    }
}

fn request() -> ReportRequest {
    let mut report_data = [0; 64];
    report_data[..5].copy_from_slice(b"nonce");
    ReportRequest {
        report_data,
        vmpl: 2,
        key_sel: 0,
        reserved: [0; 24],
    }
}

fn chain() -> Chain {
    let mut table = certificates::table().to_vec();
    let entries = CertTableEntry::vec_bytes_to_cert_table(&mut table).unwrap();
    assert_eq!(entries.len(), 3);
    Chain::from_cert_table_der(entries).unwrap()
}

#[test]
fn the_sev_crate_verifies_chain_and_report() {
    let response = respond(&request(), 0, &guest());
    assert_eq!(response.header.status, 0);
    assert_eq!(response.header.report_size, 1184);
    let bytes = response.report.as_bytes();
    let report = SevReport::from_bytes(bytes).unwrap();
    let chain = chain();
    chain.verify().unwrap();
    (&chain, &report).verify().unwrap();

    assert_eq!((report.version, report.vmpl, report.guest_svn), (2, 2, 0));
    assert_eq!(report.report_data, request().report_data);
    assert_eq!(report.measurement[..], [0xAB; 48]);
    assert_eq!(report.host_data[..], [0xCD; 32]);
    assert_eq!(report.report_id[..], [0xEF; 32]);
    assert_eq!(report.chip_id[..], CHIP_ID);
    assert_eq!(u64::from(report.policy), 0x3_0000);
    assert_eq!((report.current.major, report.current.minor), VERSION);
    let tcb = report.reported_tcb;
    assert_eq!((tcb.bootloader, tcb.tee), (TCB.boot_loader, TCB.tee));
    assert_eq!((tcb.snp, tcb.microcode), (TCB.snp, TCB.microcode));
    assert_eq!(report.to_bytes().unwrap()[..], *bytes);
}

#[test]
fn a_changed_report_does_not_verify() {
    let response = respond(&request(), 0, &guest());
    let chain = chain();
    for offset in [0x30, 0x50, 0x90, 0x2A0, 0x2A0 + 72] {
        let mut bytes: Vec<u8> = response.report.as_bytes().to_vec();
        bytes[offset] ^= 1;
        let report = SevReport::from_bytes(bytes.as_slice()).unwrap();
        assert!((&chain, &report).verify().is_err(), "{offset:#x}");
    }
}

#[test]
fn the_table_ends_with_an_empty_entry_and_has_no_gap() {
    let table = certificates::table();
    let word = |at: usize| u32::from_le_bytes(table[at..at + 4].try_into().unwrap());
    let mut next = 4 * 24;
    for entry in 0..3 {
        assert_eq!(word(entry * 24 + 16), next);
        next += word(entry * 24 + 20);
    }
    assert_eq!(table[3 * 24..4 * 24], [0; 24]);
    assert_eq!(next as usize, table.len());
}

#[test]
fn signing_is_deterministic() {
    let report = |data| {
        let request = ReportRequest {
            report_data: [data; 64],
            ..request()
        };
        respond(&request, 0, &guest()).report
    };
    assert_eq!(report(1), report(1));
    assert_ne!(report(1).signature, report(2).signature);
}

#[test]
fn asking_for_too_much_is_refused() {
    let status = |sender, change: fn(&mut ReportRequest)| {
        let mut request = request();
        change(&mut request);
        let response = respond(&request, sender, &guest());
        let empty = response.report == AttestationReport::new_zeroed();
        assert_eq!(empty, response.header.status != 0);
        assert_eq!(response.header.report_size == 0, empty);
        response.header.status
    };
    assert_eq!(status(2, |_| {}), 0);
    assert_eq!(status(3, |_| {}), INVALID_PARAMETERS);
    assert_eq!(status(0, |r| r.vmpl = 4), INVALID_PARAMETERS);
    assert_eq!(status(0, |r| r.reserved[5] = 1), INVALID_PARAMETERS);
    assert_eq!(status(0, |r| r.key_sel = 1), 0);
    assert_eq!(status(0, |r| r.key_sel = 2), INVALID_KEY_SELECTION);
    assert_eq!(status(0, |r| r.key_sel = 3), INVALID_PARAMETERS);
}
