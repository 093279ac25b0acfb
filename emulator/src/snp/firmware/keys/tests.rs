// SPDX-License-Identifier: MIT OR Apache-2.0
//! Derived keys: who may have which, and what they depend on.

extern crate std;

use std::vec::Vec;

use super::super::identity::Owner;
use super::*;

fn guest() -> Identity {
    let owner = Owner {
        guest_svn: 3,
        ..Owner::default()
    };
    Identity {
        policy: 0x3_0000,
        measurement: [9; 48],
        owner,
        host_data: [0; 32],
        report_id: [0; 32],
    }
}

fn request() -> KeyRequest {
    KeyRequest {
        root_key_select: 0,
        reserved: 0,
        guest_field_select: 0,
        vmpl: 2,
        guest_svn: 0,
        tcb_version: 0,
    }
}

fn key(request: KeyRequest, guest: &Identity, seed: u64) -> [u8; 32] {
    let response = derive(&request, 2, guest, &GuestKeys::new(seed));
    assert_eq!(response.status, 0);
    response.derived_key
}

fn status(change: impl Fn(&mut KeyRequest)) -> u32 {
    let mut request = request();
    change(&mut request);
    let response = derive(&request, 2, &guest(), &GuestKeys::new(0));
    assert!(response.status == 0 || response.derived_key == [0; 32]);
    response.status
}

#[test]
fn asking_for_too_much_is_refused() {
    assert_eq!(status(|r| r.vmpl = 2), 0);
    assert_eq!(status(|r| r.vmpl = 3), 0);
    assert_eq!(status(|r| r.vmpl = 1), INVALID_PARAMETERS);
    assert_eq!(status(|r| r.vmpl = 4), INVALID_PARAMETERS);
    assert_eq!(status(|r| r.guest_svn = 3), 0);
    assert_eq!(status(|r| r.guest_svn = 4), INVALID_PARAMETERS);
    assert_eq!(status(|r| r.tcb_version = TCB.to_u64()), 0);
    assert_eq!(status(|r| r.tcb_version = 2), INVALID_PARAMETERS);
    assert_eq!(status(|r| r.tcb_version = 1 << 20), INVALID_PARAMETERS);
    assert_eq!(status(|r| r.guest_field_select = 0x3F), 0);
    assert_eq!(status(|r| r.guest_field_select = 0x40), INVALID_PARAMETERS);
    assert_eq!(status(|r| r.reserved = 1), INVALID_PARAMETERS);
    assert_eq!(status(|r| r.root_key_select = 1), 0);
    assert_eq!(status(|r| r.root_key_select = 2), 0);
    assert_eq!(status(|r| r.root_key_select = 4), INVALID_KEY_SELECTION);
    assert_eq!(status(|r| r.root_key_select = 8), INVALID_PARAMETERS);
}

#[test]
fn a_key_depends_on_what_was_selected_and_on_nothing_else() {
    let with = |fields: u64, change: fn(&mut KeyRequest, &mut Identity)| {
        let (mut request, mut guest) = (request(), guest());
        request.guest_field_select = fields;
        change(&mut request, &mut guest);
        key(request, &guest, 0)
    };
    let changes: [fn(&mut KeyRequest, &mut Identity); 6] = [
        |_, guest| guest.policy = 1,
        |_, guest| guest.owner.image_id = [1; 16],
        |_, guest| guest.owner.family_id = [1; 16],
        |_, guest| guest.measurement = [1; 48],
        |request, _| request.guest_svn = 1,
        |request, _| request.tcb_version = 1,
    ];
    for (bit, change) in changes.into_iter().enumerate() {
        let only = 1 << bit;
        assert_ne!(with(only, change), with(only, |_, _| {}), "field {bit}");
        assert_eq!(
            with(0x3F & !only, change),
            with(0x3F & !only, |_, _| {}),
            "field {bit}"
        );
    }
    assert_ne!(with(0, |request, _| request.vmpl = 3), with(0, |_, _| {}));
    assert_ne!(
        with(0, |_, guest| guest.host_data = [1; 32]),
        with(0, |_, _| {})
    );
    assert_ne!(
        with(1, |_, guest| guest.policy = 0),
        with(0, |_, guest| guest.policy = 0)
    );
}

#[test]
fn the_chips_root_is_for_all_guests_and_the_guests_own_for_one() {
    let with = |root_key_select, seed| {
        let request = KeyRequest {
            root_key_select,
            ..request()
        };
        key(request, &guest(), seed)
    };
    assert_eq!(with(0, 1), with(0, 2));
    assert_eq!(with(0, 1), with(2, 1));
    assert_ne!(with(1, 1), with(1, 2));
    assert_eq!(with(1, 1), with(1, 1));
}

/// RFC 4231, test case 2.
#[test]
fn mac_is_the_published_one() {
    let expected = 0x5bdcc146_bf60754e_6a042426_089575c7_u128;
    let found = mac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
    assert_eq!(found[..16], expected.to_be_bytes());
}

#[test]
fn no_key_is_another() {
    let keys: Vec<_> = (0..4)
        .flat_map(|seed| {
            let keys = GuestKeys::new(seed);
            keys.vmpck.into_iter().chain([keys.report_id, keys.vmrk])
        })
        .collect();
    for (index, key) in keys.iter().enumerate() {
        assert!(!keys[index + 1..].contains(key));
    }
}
