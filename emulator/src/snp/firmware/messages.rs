// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest messages (56860, chapter 7 and 8.26, SNP_GUEST_REQUEST).
//!
//! A request is encrypted under the key of one of the guest's VMPLs. Each key has a count of the
//! messages that were sent with it; a request has to carry the next number, the answer carries the
//! one after it. So neither host nor guest can have a message served twice, and no two messages are
//! ever encrypted under one key with one number.
//!
//! | request | answer |
//! |---|---|
//! | malformed header, reserved bits, number out of order, unknown type, wrong length | `InvalidParameter` |
//! | no number left | `AeadOverflow` |
//! | the tag does not fit | `BadMeasurement` |
//! | well-formed, but asks for what this key may not have | an answer with a status of its own |
//!
//! (Which status goes with which fault is this firmware's choice where 56860 lists the status but
//! not the fault.)

use aes_gcm::{AeadInPlace, Aes256Gcm, KeyInit, Nonce, Tag};
use snp_defs::PAGE_SIZE;
use snp_defs::guest_message::{
    AAD_OFFSET, ALGO_AES_256_GCM, HEADER_SIZE, HEADER_VERSION, Header, KeyRequest, MAX_PAYLOAD,
    ReportRequest, TYPE_KEY_REQ, TYPE_REPORT_REQ,
};
use zerocopy::{FromBytes, IntoBytes};

use super::Status;
use super::identity::{Identity, LaunchDigest, Owner};
use super::keys::{self, GuestKeys};
use super::report;

/// Version of the payloads that are known.
const MESSAGE_VERSION: u8 = 1;
/// Bytes of the tag, of the 32 that the header has room for.
const TAG_SIZE: usize = 16;

/// A launched guest, as the firmware knows it.
pub struct Guest {
    identity: Identity,
    keys: GuestKeys,
    /// Messages sent so far under each key, in either direction.
    counts: [u64; 4],
}

impl core::fmt::Debug for Guest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Guest")
            .field("identity", &self.identity)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

/// The payload of a message, decrypted or not encrypted yet.
struct Payload {
    bytes: [u8; MAX_PAYLOAD],
    size: usize,
}

impl Guest {
    pub(super) fn new(
        policy: u64,
        measurement: LaunchDigest,
        owner: Owner,
        host_data: [u8; 32],
        keys: GuestKeys,
    ) -> Self {
        let identity = Identity {
            policy,
            measurement,
            owner,
            host_data,
            report_id: keys.report_id,
        };
        Self {
            identity,
            keys,
            counts: [0; 4],
        }
    }

    /// The launch digest.
    pub const fn measurement(&self) -> &LaunchDigest {
        &self.identity.measurement
    }

    /// SNP_GUEST_REQUEST: reads the message in `request`, serves it and writes the answer to
    /// `response`. The caller copies both pages from and to shared memory, once.
    ///
    /// [`Status::Success`] says that there is an answer; the answer has a status of its own. With
    /// any other status `response` is untouched and the sequence number did not move.
    pub fn request(&mut self, request: &[u8; PAGE_SIZE], response: &mut [u8; PAGE_SIZE]) -> Status {
        match self.serve(request) {
            Ok(answer) => {
                *response = answer;
                Status::Success
            }
            Err(status) => status,
        }
    }

    fn serve(&mut self, request: &[u8; PAGE_SIZE]) -> Result<[u8; PAGE_SIZE], Status> {
        let (header, body) =
            Header::read_from_prefix(request).map_err(|_| Status::InvalidParameter)?;
        let size = check_header(&header)?;
        let sender = header.msg_vmpck;
        let count = self
            .counts
            .get_mut(usize::from(sender))
            .ok_or(Status::InvalidParameter)?;
        // The number of the answer has to exist too.
        let answered = count.checked_add(2).ok_or(Status::AeadOverflow)?;
        if header.msg_seqno != *count + 1 {
            return Err(Status::InvalidParameter);
        }
        let key = Aes256Gcm::new(&self.keys.vmpck[usize::from(sender)].into());
        let payload = open(&key, &header, body, size)?;
        let (answer_type, answer) = serve_payload(&header, &payload, &self.identity, &self.keys)?;
        let answer_header = Header {
            authtag: [0; 32],
            msg_seqno: answered,
            msg_type: answer_type,
            msg_size: answer.size as u16,
            ..header
        };
        let page = seal(&key, answer_header, answer)?;
        *count = answered;
        Ok(page)
    }
}

/// Checks everything in a header that needs no key; returns the bytes of the payload.
fn check_header(header: &Header) -> Result<usize, Status> {
    let size = usize::from(header.msg_size);
    if header.algo != ALGO_AES_256_GCM
        || header.hdr_version != HEADER_VERSION
        || usize::from(header.hdr_size) != HEADER_SIZE
        || header.reserved != [0; 8]
        || header.reserved1 != 0
        || header.reserved2 != [0; 35]
        || header.authtag[TAG_SIZE..] != [0; TAG_SIZE]
        || size > MAX_PAYLOAD
    {
        return Err(Status::InvalidParameter);
    }
    Ok(size)
}

/// Serves a payload that its sender's key vouches for; returns type and payload of the answer.
fn serve_payload(
    header: &Header,
    payload: &Payload,
    identity: &Identity,
    keys: &GuestKeys,
) -> Result<(u8, Payload), Status> {
    if header.msg_version != MESSAGE_VERSION {
        return Err(Status::InvalidParameter);
    }
    let payload = &payload.bytes[..payload.size];
    let answer = match header.msg_type {
        TYPE_REPORT_REQ => {
            let request = exactly::<ReportRequest>(payload)?;
            Payload::new(report::respond(&request, header.msg_vmpck, identity).as_bytes())
        }
        TYPE_KEY_REQ => {
            let request = exactly::<KeyRequest>(payload)?;
            Payload::new(keys::derive(&request, header.msg_vmpck, identity, keys).as_bytes())
        }
        _ => return Err(Status::InvalidParameter),
    };
    // An answer's type is its request's, plus one.
    Ok((header.msg_type + 1, answer))
}

/// A payload that has to be as long as `T`.
fn exactly<T: FromBytes>(payload: &[u8]) -> Result<T, Status> {
    T::read_from_bytes(payload).map_err(|_| Status::InvalidParameter)
}

impl Payload {
    /// Holds `bytes`, as far as they fit; the answers are all much smaller.
    fn new(bytes: &[u8]) -> Self {
        let mut payload = Self {
            bytes: [0; MAX_PAYLOAD],
            size: bytes.len().min(MAX_PAYLOAD),
        };
        let size = payload.size;
        payload.bytes[..size].copy_from_slice(&bytes[..size]);
        payload
    }
}

/// The number of a message is its nonce.
fn nonce(header: &Header) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&header.msg_seqno.to_le_bytes());
    nonce
}

fn open(key: &Aes256Gcm, header: &Header, body: &[u8], size: usize) -> Result<Payload, Status> {
    let mut payload = Payload::new(&body[..size]);
    let mut tag = [0; TAG_SIZE];
    tag.copy_from_slice(&header.authtag[..TAG_SIZE]);
    key.decrypt_in_place_detached(
        &Nonce::from(nonce(header)),
        &header.as_bytes()[AAD_OFFSET..],
        &mut payload.bytes[..size],
        &Tag::from(tag),
    )
    .map_err(|_| Status::BadMeasurement)?;
    Ok(payload)
}

fn seal(key: &Aes256Gcm, mut header: Header, payload: Payload) -> Result<[u8; PAGE_SIZE], Status> {
    let mut page = [0; PAGE_SIZE];
    let (front, body) = page.split_at_mut(HEADER_SIZE);
    let body = &mut body[..payload.size];
    body.copy_from_slice(&payload.bytes[..payload.size]);
    let tag = key
        .encrypt_in_place_detached(
            &Nonce::from(nonce(&header)),
            &header.as_bytes()[AAD_OFFSET..],
            body,
        )
        .map_err(|_| Status::AeadOverflow)?;
    header.authtag[..TAG_SIZE].copy_from_slice(&tag);
    front.copy_from_slice(header.as_bytes());
    Ok(page)
}

#[cfg(test)]
mod tests;
