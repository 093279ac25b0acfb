// SPDX-License-Identifier: MIT OR Apache-2.0
//! The firmware's side of guest messages, on messages that are sealed with the right key: the guest
//! is the attacker, and it has its keys.
//!
//! `cargo +nightly fuzz run guest_message`
#![no_main]

use aes_gcm::{AeadInPlace, Aes256Gcm, KeyInit};
use emulator::snp::firmware::{Launch, Status, launch::policy};
use libfuzzer_sys::fuzz_target;
use snp_defs::guest_message::{AAD_OFFSET, HEADER_SIZE, Header, MAX_PAYLOAD};
use zerocopy::{FromBytes, IntoBytes};

const PAGE: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let launch = Launch::start(policy::ONE, 1).expect("the policy is valid");
    let keys = launch.secrets_page(0).vmpck;
    let mut guest = launch.finish(None, [0; 32]).expect("no ID block");
    let mut next = [1_u64; 4];
    // Several messages in a row: header, then payload.
    let mut rest = data;
    while let Ok((mut header, after)) = Header::read_from_prefix(rest) {
        let key = usize::from(header.msg_vmpck % 4);
        // Half of the time the fields that any other value of is refused are right.
        if header.authtag[31] & 1 == 0 {
            header.msg_seqno = next[key];
            header.reserved = [0; 8];
            (header.algo, header.hdr_version) = (1, 1);
            header.hdr_size = HEADER_SIZE as u16;
            header.msg_version = 1;
            (header.reserved1, header.reserved2) = (0, [0; 35]);
            header.msg_vmpck = key as u8;
        }
        header.authtag = [0; 32];
        let size = usize::from(header.msg_size)
            .min(MAX_PAYLOAD)
            .min(after.len());
        header.msg_size = size as u16;
        let (payload, later) = after.split_at(size);
        rest = later;

        let mut page = [0; PAGE];
        let body = &mut page[HEADER_SIZE..HEADER_SIZE + size];
        body.copy_from_slice(payload);
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&header.msg_seqno.to_le_bytes());
        let tag = Aes256Gcm::new(&keys[key].into())
            .encrypt_in_place_detached(&nonce.into(), &header.as_bytes()[AAD_OFFSET..], body)
            .expect("the payload is small");
        header.authtag[..16].copy_from_slice(&tag);
        page[..HEADER_SIZE].copy_from_slice(header.as_bytes());

        let mut response = [0xA5; PAGE];
        if guest.request(&page, &mut response) == Status::Success {
            let answer = Header::read_from_prefix(&response).expect("it is a page").0;
            assert_eq!(header.msg_seqno, next[key]);
            assert_eq!(answer.msg_seqno, next[key] + 1);
            next[key] += 2;
        } else {
            assert_eq!(response, [0xA5; PAGE]);
        }
    }
});
