// SPDX-License-Identifier: MIT OR Apache-2.0
//! ID blocks that a key of ours signed, and the same ones after a change.

use p384::ecdsa::SigningKey;
use p384::ecdsa::signature::Signer;
use zerocopy::FromZeros;

use super::*;

const DIGEST: LaunchDigest = [7; 48];
const POLICY: u64 = 0x3_0000;

fn little_endian(number: &[u8]) -> [u8; 72] {
    let mut result = [0; 72];
    for (to, from) in result.iter_mut().zip(number.iter().rev()) {
        *to = *from;
    }
    result
}

fn key(byte: u8) -> SigningKey {
    SigningKey::from_slice(&[byte; 48]).unwrap()
}

fn public(key: &SigningKey) -> IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY {
    let point = key.verifying_key().to_encoded_point(false);
    IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY {
        curve: 2,
        reserved: 0,
        qx: little_endian(point.x().unwrap()),
        qy: little_endian(point.y().unwrap()),
    }
}

fn sign(key: &SigningKey, message: &[u8]) -> IGVM_VHS_SNP_ID_BLOCK_SIGNATURE {
    let signature: Signature = key.sign(message);
    let (r, s) = signature.split_bytes();
    IGVM_VHS_SNP_ID_BLOCK_SIGNATURE {
        r_comp: little_endian(&r),
        s_comp: little_endian(&s),
    }
}

fn block(author: bool) -> IGVM_VHS_SNP_ID_BLOCK {
    let (id_key, author_key) = (key(3), key(5));
    let mut block = IGVM_VHS_SNP_ID_BLOCK::new_zeroed();
    block.compatibility_mask = 1;
    block.ld = DIGEST;
    block.family_id = [1; 16];
    block.image_id = [2; 16];
    block.version = 1;
    block.guest_svn = 4;
    block.id_key_algorithm = 1;
    block.id_public_key = public(&id_key);
    let mut signed = [0; 96];
    signed[..48].copy_from_slice(&DIGEST);
    signed[48..64].copy_from_slice(&block.family_id);
    signed[64..80].copy_from_slice(&block.image_id);
    signed[80..84].copy_from_slice(&1_u32.to_le_bytes());
    signed[84..88].copy_from_slice(&4_u32.to_le_bytes());
    signed[88..].copy_from_slice(&POLICY.to_le_bytes());
    block.id_key_signature = sign(&id_key, &signed);
    if author {
        block.author_key_enabled = 1;
        block.author_key_algorithm = 1;
        block.author_public_key = public(&author_key);
        block.author_key_signature = sign(&author_key, &key_bytes(&id_key));
    }
    block
}

/// A public key as it is signed: 0x404 bytes (56860, table "ECDSA P-384 Public Key").
fn key_bytes(key: &SigningKey) -> [u8; 0x404] {
    let public = public(key);
    let mut bytes = [0; 0x404];
    bytes[..4].copy_from_slice(&public.curve.to_le_bytes());
    bytes[4..76].copy_from_slice(&public.qx);
    bytes[76..148].copy_from_slice(&public.qy);
    bytes
}

fn checked(block: IGVM_VHS_SNP_ID_BLOCK) -> Result<Owner, Status> {
    let bytes: IdBlock = block.as_bytes().try_into().unwrap();
    check(&bytes, &DIGEST, POLICY)
}

#[test]
fn a_signed_block_is_taken() {
    let owner = checked(block(false)).unwrap();
    assert_eq!((owner.family_id, owner.image_id), ([1; 16], [2; 16]));
    assert_eq!(owner.guest_svn, 4);
    let digest: [u8; 48] = Sha384::digest(key_bytes(&key(3))).into();
    assert_eq!(owner.id_key_digest, Digest384(digest));
    assert_eq!(owner.author_key_digest, None);

    let digest: [u8; 48] = Sha384::digest(key_bytes(&key(5))).into();
    let owner = checked(block(true)).unwrap();
    assert_eq!(owner.author_key_digest, Some(Digest384(digest)));
}

#[test]
fn anything_else_is_refused() {
    let changed = |change: fn(&mut IGVM_VHS_SNP_ID_BLOCK)| {
        let mut block = block(true);
        change(&mut block);
        checked(block).unwrap_err()
    };
    assert_eq!(changed(|b| b.version = 2), Status::InvalidParameter);
    assert_eq!(
        changed(|b| b.id_key_algorithm = 0),
        Status::InvalidParameter
    );
    assert_eq!(
        changed(|b| b.author_key_algorithm = 0),
        Status::InvalidParameter
    );
    assert_eq!(
        changed(|b| b.author_key_enabled = 2),
        Status::InvalidParameter
    );
    assert_eq!(
        changed(|b| b.id_public_key.curve = 1),
        Status::InvalidParameter
    );
    assert_eq!(changed(|b| b.ld[0] ^= 1), Status::BadMeasurement);
    assert_eq!(changed(|b| b.guest_svn += 1), Status::BadSignature);
    assert_eq!(
        changed(|b| b.id_key_signature.r_comp[0] ^= 1),
        Status::BadSignature
    );
    assert_eq!(
        changed(|b| b.id_key_signature.s_comp[71] = 1),
        Status::BadSignature
    );
    assert_eq!(
        changed(|b| b.id_public_key.qx[0] ^= 1),
        Status::BadSignature
    );
    assert_eq!(
        changed(|b| b.author_key_signature.r_comp = [0; 72]),
        Status::BadSignature
    );
    let other_policy = check(&block(false).as_bytes().try_into().unwrap(), &DIGEST, 0);
    assert_eq!(other_policy.unwrap_err(), Status::BadSignature);
}
