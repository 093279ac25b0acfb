// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages to the firmware in the hands of a host that means no good, and a look at what they give away.

use alloc::boxed::Box;
use core::mem::offset_of;

use snp_defs::PAGE_SIZE;
use snp_defs::ghcb::guest_request_error;
use snp_defs::guest_message::{AAD_OFFSET, HEADER_SIZE, Header, MAX_PAYLOAD};
use zerocopy::FromBytes;

use super::action::Action;
use super::answer::{INFO1, INFO2, Page, RBX};
use super::engine::Engine;
use super::random::Random;
use super::trick::Breach;
use crate::snp::ghcb::{HostServices, Outcome};

/// Bytes of the tag that count, of those that the header has room for.
const TAG_SIZE: usize = 16;
const SEQUENCE_OFFSET: usize = offset_of!(Header, msg_seqno);

/// Reads a page that the guest shares.
fn read<S: HostServices>(gpa: u64, services: &mut S) -> Option<Box<[u8; PAGE_SIZE]>> {
    let mut page = Box::new([0; PAGE_SIZE]);
    let aligned = gpa.is_multiple_of(PAGE_SIZE as u64);
    (aligned && services.read_shared(gpa, &mut *page).is_ok()).then_some(page)
}

/// Looks at the message of a request.
pub(super) fn look<S: HostServices>(
    engine: &Engine<'_>,
    request: &Page,
    services: &mut S,
) -> Result<(), Breach> {
    match read(request.info1, services) {
        Some(message) => engine.mailbox.lock().look(&message),
        None => Ok(()),
    }
}

/// Keeps the firmware's answer, if the request that is answered has one.
pub(super) fn keep<S: HostServices>(engine: &Engine<'_>, request: &Page, services: &mut S) {
    if request.now(INFO1, services) == Some(0)
        && request.now(INFO2, services) == Some(0)
        && let Some(answer) = read(request.info2, services)
    {
        engine.mailbox.lock().answer = Some(answer);
    }
}

/// Does `action` about a message; none where that is none for messages. `honest` has the honest host serve
/// the request as it stands in the GHCB.
pub(super) fn act<S: HostServices>(
    engine: &Engine<'_>,
    action: Action,
    request: &Page,
    services: &mut S,
    mut honest: impl FnMut(&mut S) -> Outcome,
) -> Option<Outcome> {
    let answer = |info2: u64, registers: &[(usize, u64)], services: &mut S| {
        request.answer(0, info2, registers, services);
        Some(Outcome::Resume)
    };
    match action {
        Action::Replay => {
            if let Some(old) = &engine.mailbox.lock().answer {
                let _ = services.write_shared(request.info2, &old[..]);
            }
            answer(0, &[], services)
        }
        Action::AskTwice => {
            let outcome = honest(services);
            if outcome != Outcome::Resume {
                return Some(outcome);
            }
            request.restore(services);
            Some(honest(services))
        }
        Action::Corrupt | Action::Truncate => {
            let outcome = honest(services);
            if let Some(mut message) = read(request.info2, services) {
                if action == Action::Corrupt {
                    corrupt(&mut message, engine.random());
                } else {
                    truncate(&mut message);
                }
                let _ = services.write_shared(request.info2, &message[..]);
            }
            Some(outcome)
        }
        Action::Busy => answer(guest_request_error::BUSY << 32, &[], services),
        Action::ServedBusy => match honest(services) {
            Outcome::Resume => answer(guest_request_error::BUSY << 32, &[], services),
            other => Some(other),
        },
        Action::Length { pages } => {
            let error = guest_request_error::INVALID_LENGTH << 32;
            answer(error, &[(RBX, pages)], services)
        }
        Action::Noise => {
            let mut noise = [0; PAGE_SIZE];
            engine.random().fill(&mut noise);
            let _ = services.write_shared(request.info2, &noise);
            answer(0, &[], services)
        }
        _ => None,
    }
}

/// Flips a bit that whoever opens the message has to miss: of the tag, the counter, what is authenticated, or the
/// payload.
fn corrupt(message: &mut [u8; PAGE_SIZE], random: &Random) {
    let payload = Header::read_from_prefix(message).map_or(0, |(header, _)| {
        usize::from(header.msg_size).min(MAX_PAYLOAD)
    });
    let parts = [
        0..TAG_SIZE,
        SEQUENCE_OFFSET..SEQUENCE_OFFSET + 8,
        AAD_OFFSET..HEADER_SIZE + payload,
    ];
    let count = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut number = random.below(count as u64) as usize;
    for part in parts {
        if let Some(byte) = message[part.clone()].get_mut(number) {
            *byte ^= 1 << random.below(8);
            return;
        }
        number -= part.len();
    }
}

/// Keeps the second half of the payload to oneself, and says so in the header.
fn truncate(message: &mut [u8; PAGE_SIZE]) {
    const SIZE: usize = offset_of!(Header, msg_size);
    let size = usize::from(u16::from_le_bytes([message[SIZE], message[SIZE + 1]]));
    let size = size.min(MAX_PAYLOAD) / 2;
    message[SIZE..SIZE + 2].copy_from_slice(&(size as u16).to_le_bytes());
    message[HEADER_SIZE + size..].fill(0);
}

#[cfg(test)]
mod tests {
    use super::super::mailbox::tests::message;
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn corruption_hits_what_is_authenticated() {
        let random = Random::new(3);
        for _ in 0..2000 {
            let before = message(1, 0);
            let mut after = before;
            corrupt(&mut after, &random);
            let at: Vec<_> = (0..PAGE_SIZE)
                .filter(|&at| before[at] != after[at])
                .collect();
            assert_eq!(at.len(), 1);
            assert!(matches!(at[0], 0..16 | 0x20..0x28 | 0x30..0x70), "{at:?}");
        }
    }

    #[test]
    fn half_of_it_is_lost() {
        let mut page = message(1, 7);
        truncate(&mut page);
        let (header, rest) = Header::read_from_prefix(&page).unwrap();
        assert_eq!(header.msg_size, 8);
        assert_eq!(rest[..16], [7, 7, 7, 7, 7, 7, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
