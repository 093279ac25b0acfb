// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages to the security firmware, sealed with the key of VMPL0 (56860, chapter 7).
//!
//! The host carries the messages. It can drop, delay, repeat and exchange them, and what it says
//! about their fate is not to be believed. Two things must never happen, whatever it does:
//!
//! * **Two texts under one counter.** The counter is the IV of AES-GCM: a second text sealed with
//!   the same one gives both away and lets the host forge messages. So a message, once sealed, is
//!   kept, and until the firmware's answer to it was opened nothing but that very ciphertext is
//!   sent. There is no other way on from there but [`State::Closed`], which burns the key.
//! * **An old answer for a new question.** An answer counts only if it opens with the key and
//!   carries the counter that follows the question's. It is opened in a private copy.
//!
//! [`EvidenceError::Busy`] leaves the sealed message waiting. Who asks again with the same data
//! gets the answer to it; who asks for something else has it answered and thrown away first.

use aes_gcm::aead::AeadInPlace;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};
use snp_defs::ghcb::guest_request_error;
use snp_defs::guest_message::{
    AAD_OFFSET, ALGO_AES_256_GCM, HEADER_SIZE, HEADER_VERSION, Header, ReportRequest,
    ReportResponseHeader, TYPE_REPORT_REQ, TYPE_REPORT_RSP,
};
use snp_defs::report::REPORT_SIZE;
use snp_defs::secrets::VMPCK_SIZE;
use svsm::platform::{EvidenceError, HostError};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::ghcb::GuestRequestStatus;

/// Bytes of a sealed request for a report.
pub const REQUEST_SIZE: usize = HEADER_SIZE + size_of::<ReportRequest>();
/// Bytes of the longest answer that is taken.
pub const RESPONSE_SIZE: usize = HEADER_SIZE + size_of::<ReportResponseHeader>() + REPORT_SIZE;

/// Version of a message's payload.
const MESSAGE_VERSION: u8 = 1;
/// Bytes of an authentication tag.
const TAG_SIZE: usize = 16;
/// How often a busy host is asked again before the caller is sent away.
const PATIENCE: u32 = 8;
/// The way to the firmware: the host.
pub trait Carrier {
    /// Hands `request` over and copies out what is then in the place of the answer. With
    /// `certificates` the host may fill the pages for them.
    fn carry(
        &mut self,
        request: &[u8; REQUEST_SIZE],
        response: &mut [u8; RESPONSE_SIZE],
        certificates: bool,
    ) -> Result<GuestRequestStatus, HostError>;
}

/// What the caller has for certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateRoom {
    /// Pages that the host may fill now.
    pub offered: u64,
    /// Pages that could be offered at most.
    pub most: u64,
}

/// What the host did with the pages for certificates, by its own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificates {
    /// It was not asked, or has none that fit.
    None,
    /// It filled them.
    Filled,
}

/// Where the dialogue stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No message is on its way; nothing was sealed with the counter `next`.
    Idle,
    /// The message in `sealed`, with the counter `next`, is on its way, or is not.
    Waiting,
    /// For ever: the key is gone.
    Closed,
}

/// What became of a message.
enum Fate {
    /// Its answer was opened and lies in `response`: bytes of the payload.
    Answered(usize),
    /// The host says that certificates need this many pages. The message waits.
    CertificatesNeed(u64),
}

/// The dialogue with the firmware.
pub struct Channel {
    key: [u8; VMPCK_SIZE],
    state: State,
    next: u64,
    /// What the message in `sealed` asks a report for.
    question: [u8; 64],
    sealed: [u8; REQUEST_SIZE],
    response: [u8; RESPONSE_SIZE],
}

impl Channel {
    /// A channel without a key.
    pub const fn closed() -> Self {
        Self {
            key: [0; VMPCK_SIZE],
            state: State::Closed,
            next: 1,
            question: [0; 64],
            sealed: [0; REQUEST_SIZE],
            response: [0; RESPONSE_SIZE],
        }
    }

    /// Starts the dialogue, with a key that no message was sealed with so far.
    pub fn open(&mut self, key: &[u8; VMPCK_SIZE]) {
        self.key = *key;
        self.state = State::Idle;
        self.next = 1;
    }

    /// A report by the firmware for VMPL0 over `data`, written to `report`. With `room` the host is
    /// asked for certificates, too.
    ///
    /// A host that has more of them than could ever be taken, or contradicts itself about
    /// their size, is not asked again: the report comes without.
    pub fn report(
        &mut self,
        carrier: &mut impl Carrier,
        data: &[u8; 64],
        report: &mut [u8; REPORT_SIZE],
        room: Option<CertificateRoom>,
    ) -> Result<Certificates, EvidenceError> {
        if self.state == State::Waiting && self.question != *data {
            self.send_alone(carrier)?;
        }
        match self.state {
            State::Idle => self.seal(data)?,
            State::Waiting => (),
            State::Closed => return Err(EvidenceError::Closed),
        }
        let Some(room) = room else {
            let size = self.send_alone(carrier)?;
            return self.take_report(size, report).map(|()| Certificates::None);
        };
        match self.send(carrier, true)? {
            Fate::Answered(size) => self
                .take_report(size, report)
                .map(|()| Certificates::Filled),
            Fate::CertificatesNeed(pages) => {
                // The firmware has not seen the message, says the host. Have it answered all the
                // same: the counter moves on, and whether that was a lie does not matter any more.
                let size = self.send_alone(carrier)?;
                if pages > room.offered && pages <= room.most {
                    let bytes = pages as usize * snp_defs::PAGE_SIZE;
                    return Err(EvidenceError::CertificatesNeed(bytes));
                }
                self.take_report(size, report).map(|()| Certificates::None)
            }
        }
    }

    /// Burns the key.
    fn close(&mut self) -> EvidenceError {
        self.key = [0; VMPCK_SIZE];
        self.state = State::Closed;
        EvidenceError::Closed
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&self.key.into())
    }

    /// Seals a request with the next counter. From here on there is one text under it.
    fn seal(&mut self, data: &[u8; 64]) -> Result<(), EvidenceError> {
        let mut header = Header::new_zeroed();
        header.msg_seqno = self.next;
        header.algo = ALGO_AES_256_GCM;
        header.hdr_version = HEADER_VERSION;
        header.hdr_size = HEADER_SIZE as u16;
        header.msg_type = TYPE_REPORT_REQ;
        header.msg_version = MESSAGE_VERSION;
        header.msg_size = size_of::<ReportRequest>() as u16;
        let mut request = ReportRequest::new_zeroed();
        request.report_data = *data;

        let mut payload = [0; size_of::<ReportRequest>()];
        payload.copy_from_slice(request.as_bytes());
        let aad = &header.as_bytes()[AAD_OFFSET..];
        let Ok(tag) = self
            .cipher()
            .encrypt_in_place_detached(&nonce(self.next), aad, &mut payload)
        else {
            return Err(self.close());
        };
        header.authtag[..TAG_SIZE].copy_from_slice(&tag);
        self.sealed[..HEADER_SIZE].copy_from_slice(header.as_bytes());
        self.sealed[HEADER_SIZE..].copy_from_slice(&payload);
        self.question = *data;
        self.state = State::Waiting;
        Ok(())
    }

    /// Sends the waiting message without asking for certificates; bytes of the answer.
    fn send_alone(&mut self, carrier: &mut impl Carrier) -> Result<usize, EvidenceError> {
        match self.send(carrier, false)? {
            Fate::Answered(size) => Ok(size),
            Fate::CertificatesNeed(_) => Err(self.close()),
        }
    }

    /// Sends the waiting message, again and again if the host is busy.
    fn send(
        &mut self,
        carrier: &mut impl Carrier,
        certificates: bool,
    ) -> Result<Fate, EvidenceError> {
        for _ in 0..PATIENCE {
            let Ok(status) = carrier.carry(&self.sealed, &mut self.response, certificates) else {
                return Err(self.close());
            };
            match u64::from(status.hypervisor) {
                0 if status.firmware == 0 => return self.open_response().map(Fate::Answered),
                guest_request_error::BUSY => continue,
                guest_request_error::INVALID_LENGTH if certificates => {
                    return Ok(Fate::CertificatesNeed(status.pages_needed));
                }
                _ => return Err(self.close()),
            }
        }
        Err(EvidenceError::Busy)
    }

    /// Opens the answer in place; bytes of its payload. An answer that is not the one to
    /// the waiting message closes the channel: the right one is lost.
    fn open_response(&mut self) -> Result<usize, EvidenceError> {
        match self.try_open_response() {
            Some(size) => Ok(size),
            None => Err(self.close()),
        }
    }

    fn try_open_response(&mut self) -> Option<usize> {
        let answers = self.next.checked_add(1)?;
        let cipher = self.cipher();
        let (head, payload) = self.response.split_at_mut(HEADER_SIZE);
        let header = Header::read_from_bytes(head).ok()?;
        let size = usize::from(header.msg_size);
        let fits = header.msg_seqno == answers
            && header.algo == ALGO_AES_256_GCM
            && header.hdr_version == HEADER_VERSION
            && usize::from(header.hdr_size) == HEADER_SIZE
            && header.msg_type == TYPE_REPORT_RSP
            && header.msg_version == MESSAGE_VERSION
            && header.msg_vmpck == 0;
        if !fits {
            return None;
        }
        let tag = Tag::clone_from_slice(&header.authtag[..TAG_SIZE]);
        cipher
            .decrypt_in_place_detached(
                &nonce(answers),
                &head[AAD_OFFSET..],
                payload.get_mut(..size)?,
                &tag,
            )
            .ok()?;
        self.next = answers.checked_add(1)?;
        self.state = State::Idle;
        Some(size)
    }

    /// Copies the report out of an opened answer of `size` bytes.
    fn take_report(
        &self,
        size: usize,
        report: &mut [u8; REPORT_SIZE],
    ) -> Result<(), EvidenceError> {
        // What the firmware sealed is believed, but not to be as long as a report.
        const MISFIT: EvidenceError = EvidenceError::Refused(u32::MAX);
        let payload = self.response[HEADER_SIZE..].get(..size).ok_or(MISFIT)?;
        let (header, rest) = ReportResponseHeader::read_from_prefix(payload).map_err(|_| MISFIT)?;
        if header.status != 0 {
            return Err(EvidenceError::Refused(header.status));
        }
        if header.report_size as usize != REPORT_SIZE {
            return Err(MISFIT);
        }
        *report = *rest.first_chunk().ok_or(MISFIT)?;
        Ok(())
    }
}

/// The IV of the message with a counter.
fn nonce(counter: u64) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&counter.to_le_bytes());
    nonce.into()
}

#[cfg(test)]
mod tests;
