// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages to the firmware that passed through the host's hands: the last answer, to be played
//! again, and enough of each message to tell whether two were encrypted with one counter.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use snp_defs::PAGE_SIZE;
use snp_defs::guest_message::{HEADER_SIZE, Header, MAX_PAYLOAD};
use zerocopy::FromBytes;

use super::trick::Breach;

/// The most messages that are remembered, to be held against later ones.
const MOST_MESSAGES: usize = 1 << 14;

/// What passed through the host's hands.
#[derive(Debug)]
pub(super) struct Mailbox {
    /// The firmware's last answer.
    pub(super) answer: Option<Box<[u8; PAGE_SIZE]>>,
    /// A hash of each message, by key and counter.
    seen: BTreeMap<(u8, u64), u64>,
}

impl Mailbox {
    pub(super) const fn new() -> Self {
        Self {
            answer: None,
            seen: BTreeMap::new(),
        }
    }

    /// Holds a message against those with the same key and counter.
    pub(super) fn look(&mut self, message: &[u8; PAGE_SIZE]) -> Result<(), Breach> {
        let Ok((header, _)) = Header::read_from_prefix(message) else {
            return Ok(());
        };
        let key = (header.msg_vmpck, header.msg_seqno);
        let size = HEADER_SIZE + usize::from(header.msg_size).min(MAX_PAYLOAD);
        let hash = hash(&message[..size]);
        match self.seen.get(&key) {
            Some(&known) if known != hash => Err(Breach::CounterUsedTwice {
                vmpck: key.0,
                counter: key.1,
            }),
            None if self.seen.len() < MOST_MESSAGES => {
                self.seen.insert(key, hash);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// FNV-1a. The messages are not made to collide.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use zerocopy::{FromZeros, IntoBytes};

    /// A message with this counter and a payload of 16 such bytes.
    pub(in crate::hostile) fn message(counter: u64, byte: u8) -> [u8; PAGE_SIZE] {
        let mut header = Header::new_zeroed();
        header.msg_seqno = counter;
        header.msg_size = 16;
        let mut page = [0; PAGE_SIZE];
        page[..HEADER_SIZE].copy_from_slice(header.as_bytes());
        page[HEADER_SIZE..][..16].fill(byte);
        page
    }

    #[test]
    fn a_counter_is_for_one_text() {
        let mut mailbox = Mailbox::new();
        assert_eq!(mailbox.look(&message(1, 1)), Ok(()));
        assert_eq!(mailbox.look(&message(1, 1)), Ok(()), "sent again");
        assert_eq!(mailbox.look(&message(3, 2)), Ok(()));
        let breach = Breach::CounterUsedTwice {
            vmpck: 0,
            counter: 1,
        };
        assert_eq!(mailbox.look(&message(1, 2)), Err(breach));
        // What lies behind the message is none of it.
        let mut longer = message(3, 2);
        longer[PAGE_SIZE - 1] = 1;
        assert_eq!(mailbox.look(&longer), Ok(()));
    }
}
