// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything that is secret here: the chip's key, a guest's own keys, and the keys that a guest can
//! ask for (MSG_KEY_REQ, 56860, 7.2).
//!
//! How AMD's firmware derives keys is not published beyond what has to enter. Here a derived key is
//! HMAC-SHA-256 under the root key of everything that has to, one after the other: the request's
//! field selection, VMPL, the selected fields (those not selected as zeros), then always the host's
//! data and the digests of the ID and author keys. Guests can rely on the same properties: the same
//! inputs give the same key, any other input another one.

use emulator_defs::firmware::TCB;
use hmac::{Hmac, Mac};
use p384::ecdsa::SigningKey;
use sha2::Sha256;
use snp_defs::VMPL_COUNT;
use snp_defs::guest_message::{KeyRequest, KeyResponse};
use snp_defs::secrets::VMPCK_SIZE;
use zerocopy::{Immutable, IntoBytes};

use super::identity::Identity;

/// The scalar of the chip's signing key, from `emulator/keys/`.
const CHIP_KEY: &[u8; 48] = include_bytes!("../../../keys/vcek.key");

/// What is random in a guest. Two guests with one seed are the same guest.
#[derive(Clone)]
pub(super) struct GuestKeys {
    /// Keys of guest messages, one for each VMPL.
    pub(super) vmpck: [[u8; VMPCK_SIZE]; VMPL_COUNT],
    /// The guest's id in its reports.
    pub(super) report_id: [u8; 32],
    /// Root of derived keys that no other guest can have.
    vmrk: [u8; 32],
}

impl GuestKeys {
    pub(super) fn new(seed: u64) -> Self {
        let make =
            |purpose: &str, index: u8| mac(&seed.to_le_bytes(), &[purpose.as_bytes(), &[index]]);
        Self {
            vmpck: [0, 1, 2, 3].map(|vmpl| make("VMPCK", vmpl)),
            report_id: make("REPORT_ID", 0),
            vmrk: make("VMRK", 0),
        }
    }
}

/// The key that signs reports.
pub(super) fn chip_key() -> Option<SigningKey> {
    SigningKey::from_bytes(CHIP_KEY.into()).ok()
}

/// Status of a message's answer: a parameter is wrong.
pub(super) const INVALID_PARAMETERS: u32 = 0x16;
/// Status of a message's answer: the selected key does not exist.
pub(super) const INVALID_KEY_SELECTION: u32 = 0x27;

/// Bits of KEY_REQ's field selection.
mod field {
    pub(super) const POLICY: u64 = 1 << 0;
    pub(super) const IMAGE_ID: u64 = 1 << 1;
    pub(super) const FAMILY_ID: u64 = 1 << 2;
    pub(super) const MEASUREMENT: u64 = 1 << 3;
    pub(super) const GUEST_SVN: u64 = 1 << 4;
    pub(super) const TCB_VERSION: u64 = 1 << 5;
    pub(super) const ALL: u64 = (1 << 6) - 1;
}

/// What a derived key depends on, besides its root.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Mixed {
    fields: u64,
    policy: u64,
    tcb_version: u64,
    vmpl: u32,
    guest_svn: u32,
    image_id: [u8; 16],
    family_id: [u8; 16],
    measurement: [u8; 48],
    host_data: [u8; 32],
    id_key_digest: [u8; 48],
    author_key_digest: [u8; 48],
}

/// Answers MSG_KEY_REQ, which came under the key of VMPL `sender`.
pub(super) fn derive(
    request: &KeyRequest,
    sender: u8,
    guest: &Identity,
    keys: &GuestKeys,
) -> KeyResponse {
    let refuse = |status| KeyResponse {
        status,
        reserved: [0; 28],
        derived_key: [0; 32],
    };
    if request.reserved != 0
        || request.root_key_select & !0b111 != 0
        || request.guest_field_select & !field::ALL != 0
        || request.vmpl < u32::from(sender)
        || request.vmpl >= VMPL_COUNT as u32
        || request.guest_svn > guest.owner.guest_svn
        || !TCB.covers(request.tcb_version)
    {
        return refuse(INVALID_PARAMETERS);
    }
    let root = match (request.root_key_select & 1, request.root_key_select >> 1) {
        (1, 0) => keys.vmrk,
        // "VLEK if installed, else VCEK", and "VCEK".
        (0, 0 | 1) => mac(CHIP_KEY, &[b"root of derived keys"]),
        _ => return refuse(INVALID_KEY_SELECTION),
    };
    let selected = |bit| request.guest_field_select & bit != 0;
    let owner = &guest.owner;
    let mixed = Mixed {
        fields: request.guest_field_select,
        policy: if selected(field::POLICY) {
            guest.policy
        } else {
            0
        },
        tcb_version: if selected(field::TCB_VERSION) {
            request.tcb_version
        } else {
            0
        },
        vmpl: request.vmpl,
        guest_svn: if selected(field::GUEST_SVN) {
            request.guest_svn
        } else {
            0
        },
        image_id: if selected(field::IMAGE_ID) {
            owner.image_id
        } else {
            [0; 16]
        },
        family_id: if selected(field::FAMILY_ID) {
            owner.family_id
        } else {
            [0; 16]
        },
        measurement: if selected(field::MEASUREMENT) {
            guest.measurement
        } else {
            [0; 48]
        },
        host_data: guest.host_data,
        id_key_digest: owner.id_key_digest.0,
        author_key_digest: owner.author_key_digest.unwrap_or_default().0,
    };
    KeyResponse {
        status: 0,
        reserved: [0; 28],
        derived_key: mac(&root, &[b"derived key", mixed.as_bytes()]),
    }
}

/// HMAC-SHA-256 over `pieces`, one after the other.
fn mac(key: &[u8], pieces: &[&[u8]]) -> [u8; 32] {
    // Longer keys than a block are hashed first, as RFC 2104 has it; no length is wrong.
    let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(key) else {
        return [0; 32];
    };
    for piece in pieces {
        mac.update(piece);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests;
