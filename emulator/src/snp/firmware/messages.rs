// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest messages (56860, chapter 7 and SNP_GUEST_REQUEST).

use snp_defs::PAGE_SIZE;

use super::Status;

/// A launched guest, as the firmware knows it.
#[derive(Debug)]
pub struct Guest {}

impl Guest {
    /// SNP_GUEST_REQUEST: reads the message in `request`, serves it and writes the answer to
    /// `response`. The caller copies both pages from and to shared memory, once.
    ///
    /// [`Status::Success`] says that there is an answer; the answer has a status of its own. With
    /// any other status `response` is untouched and the sequence number did not move.
    pub fn request(&mut self, request: &[u8; PAGE_SIZE], response: &mut [u8; PAGE_SIZE]) -> Status {
        let _ = (request, response);
        Status::Unsupported
    }
}
