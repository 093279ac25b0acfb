// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ID block: what a guest's owner expects, signed (56860, tables "ID Block" and
//! "ID Authentication").
//!
//! The owner signs the block with the ID key; an author key, if there is one, signs the ID key. The
//! firmware does not know either: it checks that they fit and reports their digests.

use igvm_defs::{
    IGVM_VHS_SNP_ID_BLOCK, IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY, IGVM_VHS_SNP_ID_BLOCK_SIGNATURE,
};
use p384::ecdsa::signature::Verifier;
use p384::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha384};
use snp_defs::report::ALGO_ECDSA_P384_SHA384;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::Status;
use super::identity::{Digest384, LaunchDigest, Owner};

/// An ID block with its authentication, in the layout of an IGVM file.
pub type IdBlock = crate::igvm::IdBlock;

/// Version of the block.
const VERSION: u32 = 1;
/// Number of the curve P-384 (56860, table "ECDSA P-384 Public Key").
const CURVE_P384: u32 = 2;
/// Bytes of a coordinate or a scalar of that curve.
const SCALAR: usize = 48;

/// What the ID key signs.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Signed {
    launch_digest: [u8; 48],
    family_id: [u8; 16],
    image_id: [u8; 16],
    version: u32,
    guest_svn: u32,
    policy: u64,
}

/// A public key as the firmware digests it and as the author key signs it.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct PublicKey {
    curve: u32,
    qx: [u8; 72],
    qy: [u8; 72],
    reserved: [u8; 0x404 - 0x94],
}

/// Checks `block` against the guest as it was launched.
///
/// # Errors
/// [`Status::InvalidParameter`] for an unknown version, algorithm or curve,
/// [`Status::BadMeasurement`] when the owner expects another digest, [`Status::BadSignature`] when a
/// key or a signature is wrong.
pub(super) fn check(block: &IdBlock, digest: &LaunchDigest, policy: u64) -> Result<Owner, Status> {
    let Ok(block) = IGVM_VHS_SNP_ID_BLOCK::read_from_bytes(block) else {
        return Err(Status::InvalidLength);
    };
    if block.version != VERSION || block.id_key_algorithm != ALGO_ECDSA_P384_SHA384 {
        return Err(Status::InvalidParameter);
    }
    if block.ld != *digest {
        return Err(Status::BadMeasurement);
    }
    let signed = Signed {
        launch_digest: block.ld,
        family_id: block.family_id,
        image_id: block.image_id,
        version: block.version,
        guest_svn: block.guest_svn,
        policy,
    };
    verify(
        &block.id_public_key,
        &block.id_key_signature,
        signed.as_bytes(),
    )?;
    let id_key = public_key(&block.id_public_key);
    let author_key_digest = match block.author_key_enabled {
        0 => None,
        1 if block.author_key_algorithm == ALGO_ECDSA_P384_SHA384 => {
            let key = &block.author_public_key;
            verify(key, &block.author_key_signature, id_key.as_bytes())?;
            Some(Digest384(Sha384::digest(public_key(key).as_bytes()).into()))
        }
        _ => return Err(Status::InvalidParameter),
    };
    Ok(Owner {
        family_id: block.family_id,
        image_id: block.image_id,
        guest_svn: block.guest_svn,
        id_key_digest: Digest384(Sha384::digest(id_key.as_bytes()).into()),
        author_key_digest,
    })
}

fn public_key(key: &IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY) -> PublicKey {
    PublicKey {
        curve: key.curve,
        qx: key.qx,
        qy: key.qy,
        reserved: [0; _],
    }
}

fn verify(
    key: &IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY,
    signature: &IGVM_VHS_SNP_ID_BLOCK_SIGNATURE,
    message: &[u8],
) -> Result<(), Status> {
    if key.curve != CURVE_P384 || key.reserved != 0 {
        return Err(Status::InvalidParameter);
    }
    let parse = || {
        let (x, y) = (big_endian(&key.qx)?, big_endian(&key.qy)?);
        let point = p384::EncodedPoint::from_affine_coordinates(&x.into(), &y.into(), false);
        let key = VerifyingKey::from_encoded_point(&point).ok()?;
        let (r, s) = (
            big_endian(&signature.r_comp)?,
            big_endian(&signature.s_comp)?,
        );
        Some((key, Signature::from_scalars(r, s).ok()?))
    };
    let (key, signature) = parse().ok_or(Status::BadSignature)?;
    key.verify(message, &signature)
        .map_err(|_| Status::BadSignature)
}

/// A number of 72 bytes, little endian, as one of 48, big endian; `None` if it is too large.
fn big_endian(number: &[u8; 72]) -> Option<[u8; SCALAR]> {
    let (low, high) = number.split_at(SCALAR);
    if high.iter().any(|byte| *byte != 0) {
        return None;
    }
    let mut result = [0; SCALAR];
    for (to, from) in result.iter_mut().zip(low.iter().rev()) {
        *to = *from;
    }
    Some(result)
}

#[cfg(test)]
mod tests;
