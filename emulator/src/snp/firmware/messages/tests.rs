// SPDX-License-Identifier: MIT OR Apache-2.0
//! The talk between guest and firmware: what is answered, what is refused, and that nothing is
//! served twice. The guest's side is written out here from 56860, over the cipher alone.

extern crate std;

use std::vec::Vec;

use aes_gcm::aead::{Aead, Payload as AeadPayload};
use proptest::prelude::*;
use snp_defs::guest_message::{KeyResponse, ReportResponseHeader, TYPE_KEY_RSP, TYPE_REPORT_RSP};
use zerocopy::FromZeros;

use super::super::launch::{Launch, policy};
use super::*;

/// A guest that has read its secrets page.
struct Talker {
    firmware: Guest,
    keys: [[u8; 32]; 4],
    next: [u64; 4],
}

impl Talker {
    fn new() -> Self {
        let launch = Launch::start(policy::ONE, 42).unwrap();
        let keys = launch.secrets_page(0).vmpck;
        let firmware = launch.finish(None, [0; 32]).unwrap();
        Self {
            firmware,
            keys,
            next: [1; 4],
        }
    }

    fn message(&self, key: u8, kind: u8, payload: &[u8]) -> [u8; PAGE_SIZE] {
        self.with_header(key, kind, payload, |_| {})
    }

    /// A message whose header is changed before it is authenticated.
    fn with_header(
        &self,
        key: u8,
        kind: u8,
        payload: &[u8],
        change: impl Fn(&mut Header),
    ) -> [u8; PAGE_SIZE] {
        let mut header = Header::new_zeroed();
        header.msg_seqno = self.next[usize::from(key)];
        header.algo = 1;
        header.hdr_version = 1;
        header.hdr_size = 0x60;
        header.msg_type = kind;
        header.msg_version = 1;
        header.msg_size = payload.len() as u16;
        header.msg_vmpck = key;
        change(&mut header);
        let cipher = Aes256Gcm::new(&self.keys[usize::from(key)].into());
        let sealed = cipher
            .encrypt(
                &nonce(&header).into(),
                AeadPayload {
                    msg: payload,
                    aad: &header.as_bytes()[0x30..],
                },
            )
            .unwrap();
        let (text, tag) = sealed.split_at(payload.len());
        header.authtag[..16].copy_from_slice(tag);
        let mut page = [0; PAGE_SIZE];
        page[..0x60].copy_from_slice(header.as_bytes());
        page[0x60..0x60 + text.len()].copy_from_slice(text);
        page
    }

    /// Sends a message that has to be refused: nothing is written, and nothing moves.
    fn refused(&mut self, page: &[u8; PAGE_SIZE]) -> Status {
        let mut response = [0x5A; PAGE_SIZE];
        let counts = self.firmware.counts;
        let status = self.firmware.request(page, &mut response);
        assert_ne!(status, Status::Success);
        assert_eq!(response, [0x5A; PAGE_SIZE]);
        assert_eq!(self.firmware.counts, counts);
        status
    }

    /// Sends a message and opens the answer.
    fn answered(&mut self, page: &[u8; PAGE_SIZE]) -> (Header, Vec<u8>) {
        let mut response = [0x5A; PAGE_SIZE];
        assert_eq!(self.firmware.request(page, &mut response), Status::Success);
        let (header, body) = Header::read_from_prefix(&response).unwrap();
        let key = usize::from(header.msg_vmpck);
        assert_eq!(header.msg_seqno, self.next[key] + 1);
        self.next[key] = self.next[key].wrapping_add(2);
        let size = usize::from(header.msg_size);
        assert!(body[size..].iter().all(|byte| *byte == 0));
        let sealed = [&body[..size], &header.authtag[..16]].concat();
        let cipher = Aes256Gcm::new(&self.keys[key].into());
        let aad = &header.as_bytes()[0x30..];
        let opened = cipher.decrypt(&nonce(&header).into(), AeadPayload { msg: &sealed, aad });
        (header, opened.unwrap())
    }

    fn report(&mut self, key: u8, vmpl: u32) -> u32 {
        let page = self.message(key, TYPE_REPORT_REQ, report_request(vmpl).as_bytes());
        let (header, payload) = self.answered(&page);
        assert_eq!(header.msg_type, TYPE_REPORT_RSP);
        assert_eq!(payload.len(), 32 + 1184);
        let (response, _) = ReportResponseHeader::read_from_prefix(&payload).unwrap();
        response.status
    }
}

fn report_request(vmpl: u32) -> ReportRequest {
    ReportRequest {
        report_data: [7; 64],
        vmpl,
        key_sel: 0,
        reserved: [0; 24],
    }
}

#[test]
fn reports_and_keys_are_answered_in_turn() {
    let mut talker = Talker::new();
    assert_eq!(talker.report(0, 0), 0);
    let page = talker.message(0, TYPE_KEY_REQ, &[0; 0x20]);
    let (header, payload) = talker.answered(&page);
    assert_eq!((header.msg_type, header.msg_seqno), (TYPE_KEY_RSP, 4));
    let response = KeyResponse::read_from_bytes(&payload).unwrap();
    assert_eq!(response.status, 0);
    assert_ne!(response.derived_key, [0; 32]);
    // Every key counts for itself.
    assert_eq!(talker.report(2, 2), 0);
    assert_eq!(talker.next, [5, 1, 3, 1]);
}

#[test]
fn a_key_speaks_for_its_own_vmpl_and_those_below() {
    let mut talker = Talker::new();
    for key in 0..4 {
        for vmpl in 0..5 {
            let allowed = vmpl >= u32::from(key) && vmpl < 4;
            let status = talker.report(key, vmpl);
            assert_eq!(
                status,
                if allowed { 0 } else { 0x16 },
                "key {key}, VMPL {vmpl}"
            );
        }
    }
}

#[test]
fn nothing_is_served_twice_or_out_of_order() {
    let mut talker = Talker::new();
    let first = talker.message(1, TYPE_REPORT_REQ, report_request(1).as_bytes());
    talker.answered(&first);
    assert_eq!(talker.refused(&first), Status::InvalidParameter);
    for wrong in [0, 1, 2, 4, 5, u64::MAX] {
        let page = talker.with_header(1, TYPE_REPORT_REQ, report_request(1).as_bytes(), |h| {
            h.msg_seqno = wrong;
        });
        assert_eq!(talker.refused(&page), Status::InvalidParameter);
    }
    assert_eq!(talker.report(1, 1), 0);
}

#[test]
fn numbers_do_not_start_over() {
    let mut talker = Talker::new();
    talker.firmware.counts[0] = u64::MAX - 2;
    talker.next[0] = u64::MAX - 1;
    assert_eq!(talker.report(0, 0), 0);
    talker.next[0] = 0;
    let page = talker.message(0, TYPE_REPORT_REQ, report_request(0).as_bytes());
    assert_eq!(talker.refused(&page), Status::AeadOverflow);
}

#[test]
fn what_was_changed_on_the_way_is_refused() {
    let mut talker = Talker::new();
    let page = talker.message(0, TYPE_REPORT_REQ, report_request(0).as_bytes());
    for offset in [0, 15, 0x34, 0x60, 0x60 + 95] {
        let mut page = page;
        page[offset] ^= 1;
        assert_eq!(talker.refused(&page), Status::BadMeasurement, "{offset:#x}");
    }
    // Sent under one key, said to be of another.
    let mut other = page;
    other[0x3C] = 1;
    assert_eq!(talker.refused(&other), Status::BadMeasurement);
    // Bytes behind the payload mean nothing.
    let mut longer = page;
    longer[0x60 + 96] = 1;
    talker.answered(&longer);
}

#[test]
fn malformed_messages_are_refused() {
    let mut talker = Talker::new();
    let good = report_request(0);
    let changes: [fn(&mut Header); 12] = [
        |h| h.algo = 0,
        |h| h.algo = 2,
        |h| h.hdr_version = 2,
        |h| h.hdr_size = 0x40,
        |h| h.reserved[3] = 1,
        |h| h.reserved1 = 1,
        |h| h.reserved2[34] = 1,
        |h| h.authtag[16] = 1,
        |h| h.msg_vmpck = 4,
        |h| h.msg_vmpck = 0xFF,
        |h| h.msg_version = 2,
        |h| h.msg_size = MAX_PAYLOAD as u16 + 1,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let page = talker.with_header(0, TYPE_REPORT_REQ, good.as_bytes(), change);
        assert_eq!(
            talker.refused(&page),
            Status::InvalidParameter,
            "case {index}"
        );
    }
    for kind in [0, 1, 2, 4, 6, 17, 0xFF] {
        let page = talker.message(0, kind, good.as_bytes());
        assert_eq!(
            talker.refused(&page),
            Status::InvalidParameter,
            "type {kind}"
        );
    }
    for length in [0, 95, 97, MAX_PAYLOAD] {
        let page = talker.message(0, TYPE_REPORT_REQ, &[0; MAX_PAYLOAD][..length]);
        assert_eq!(
            talker.refused(&page),
            Status::InvalidParameter,
            "{length} bytes"
        );
    }
    let page = talker.message(0, TYPE_KEY_REQ, &[0; 0x21]);
    assert_eq!(talker.refused(&page), Status::InvalidParameter);
    assert_eq!(talker.report(0, 0), 0);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_answer(bytes in prop::collection::vec(any::<u8>(), PAGE_SIZE)) {
        let mut talker = Talker::new();
        talker.refused(&bytes.try_into().unwrap());
    }

    /// Behind the cipher: a guest can send any payload, correctly sealed.
    #[test]
    fn no_payload_makes_it_panic(
        kind in prop::sample::select(std::vec![TYPE_REPORT_REQ, TYPE_KEY_REQ]),
        payload in prop::collection::vec(any::<u8>(), 0..200),
        exact in any::<bool>(),
    ) {
        let mut talker = Talker::new();
        let mut payload = payload;
        if exact {
            payload.resize(if kind == TYPE_KEY_REQ { 0x20 } else { 0x60 }, 0);
        }
        let page = talker.message(0, kind, &payload);
        let mut response = [0; PAGE_SIZE];
        let status = talker.firmware.request(&page, &mut response);
        prop_assert_eq!(status == Status::Success, exact || payload.len()
            == if kind == TYPE_KEY_REQ { 0x20 } else { 0x60 });
    }
}
