// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest requests.

use super::*;

const RESPONSE: u64 = SHARED + 0x1000;
const DATA: u64 = 0x5000;

#[test]
fn a_guest_request_takes_two_shared_pages() {
    let mut vcpu = Vcpu::default();
    vcpu.put(SHARED, &[0x0F; 4096]);
    let _ = vcpu.call(exit::GUEST_REQUEST, SHARED, RESPONSE, &[]);
    assert_eq!(vcpu.answer(), SERVED);
    assert!(vcpu.get(RESPONSE, 4096).iter().all(|byte| *byte == 0xF0));
    for (request, response) in [
        (SHARED, SHARED),
        (SHARED, PRIVATE),
        (PRIVATE, SHARED),
        (SHARED + 8, RESPONSE),
        (SHARED, RESPONSE + 8),
    ] {
        let _ = vcpu.call(exit::GUEST_REQUEST, request, response, &[]);
        assert_eq!(vcpu.answer(), refused(malformed::INVALID_INPUT));
    }
    assert_eq!(vcpu.host.firmware_calls, 1);
}

#[test]
fn the_firmwares_error_is_returned_and_no_response() {
    let mut vcpu = Vcpu::default();
    vcpu.host.firmware_status = 0x16;
    let _ = vcpu.call(exit::GUEST_REQUEST, SHARED, RESPONSE, &[]);
    assert_eq!(vcpu.answer(), (0, 0x16));
    assert_eq!(vcpu.get(RESPONSE, 8), [0xEE; 8]);
}

fn extended(vcpu: &mut Vcpu, data: u64, pages: u64) {
    let fields = [(field::RAX, data), (field::RBX, pages)];
    let _ = vcpu.call(exit::EXT_GUEST_REQUEST, SHARED, RESPONSE, &fields);
}

#[test]
fn certificates_are_copied() {
    let mut vcpu = Vcpu::default();
    vcpu.host.shared.insert(DATA);
    vcpu.host.certificates = std::vec![7; 1000];
    extended(&mut vcpu, DATA, 1);
    assert_eq!(vcpu.answer(), SERVED);
    assert_eq!(vcpu.get(DATA, 1000), [7; 1000]);
    assert_eq!(vcpu.get(DATA + 1000, 3096), [0; 3096]);
}

#[test]
fn too_few_pages_are_answered_with_how_many_it_takes() {
    let mut vcpu = Vcpu::default();
    vcpu.host.shared.insert(DATA);
    vcpu.host.certificates = std::vec![7; 4097];
    extended(&mut vcpu, DATA, 1);
    assert_eq!(vcpu.answer(), (0, 1 << 32));
    assert_eq!(vcpu.field(field::RBX), Some(2));
    assert_eq!(vcpu.host.firmware_calls, 0);
    assert_eq!(vcpu.get(DATA, 8), [0xEE; 8]);
}

#[test]
fn without_certificates_the_table_is_empty() {
    let mut vcpu = Vcpu::default();
    vcpu.host.shared.insert(DATA);
    extended(&mut vcpu, DATA, 4);
    assert_eq!(vcpu.answer(), SERVED);
    assert_eq!(vcpu.get(DATA, 4096), [0; 4096]);
    extended(&mut vcpu, 0, 0);
    assert_eq!(vcpu.answer(), SERVED);
}

#[test]
fn certificates_go_to_shared_memory_only() {
    let mut vcpu = Vcpu::default();
    vcpu.host.certificates = std::vec![7; 10];
    for data in [PRIVATE, SHARED + 8, 0xFFFF_F000] {
        extended(&mut vcpu, data, 1);
        assert_eq!(vcpu.answer(), refused(malformed::INVALID_INPUT));
    }
    let _ = vcpu.call(
        exit::EXT_GUEST_REQUEST,
        SHARED,
        RESPONSE,
        &[(field::RAX, DATA)],
    );
    assert_eq!(vcpu.answer(), refused(malformed::MISSING_INPUT));
    assert_eq!(vcpu.host.firmware_calls, 0);
}
