// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who a guest is: what the launch measured, and what its owner signed. Reports say it, and derived
//! keys depend on it.

use snp_defs::launch::DIGEST_SIZE;

/// SHA-384, as everywhere in the launch digest.
pub type LaunchDigest = [u8; DIGEST_SIZE];

/// What the firmware vouches for.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) policy: u64,
    pub(super) measurement: LaunchDigest,
    pub(super) owner: Owner,
    pub(super) host_data: [u8; 32],
    pub(super) report_id: [u8; 32],
}

/// What the firmware knows about a guest's owner; zeros without an ID block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) family_id: [u8; 16],
    pub(super) image_id: [u8; 16],
    pub(super) guest_svn: u32,
    pub(super) id_key_digest: Digest384,
    pub(super) author_key_digest: Option<Digest384>,
}

/// A SHA-384 digest that can be zero by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest384(pub(super) [u8; 48]);

impl Default for Digest384 {
    fn default() -> Self {
        Self([0; 48])
    }
}
