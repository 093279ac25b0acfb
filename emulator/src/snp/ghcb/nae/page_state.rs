// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page state change: a list in the shared buffer, worked off from where it stands (56421, SNP page state change).
//!
//! The list is read once, from the current entry to the last. What is written back is how far the host
//! came: the current entry in the header, and the current page in each entry that it touched. A guest
//! finds `cur_entry` past `end_entry` when all is done, and calls again when it is not. This host serves a list
//! whole, or up to the page that it refuses; one that stops in between is [`crate::hostile`].

use snp_defs::psc::{
    ENTRY_SIZE, ERROR_GENERIC, ERROR_INVALID, Entry, HEADER_SIZE, INVALID_ENTRY, INVALID_HEADER,
    MAX_ENTRIES, OP_PRIVATE, OP_PSMASH, OP_SHARED, OP_UNSMASH, PAGES_IN_2M,
};
use snp_defs::rmp::RmpSize;

use super::super::request::Request;
use super::super::services::{HostServices, Note, PageOp};
use super::{Outcome, Served};

/// The host refuses a page.
struct Refused;

pub(super) fn change<S: HostServices>(request: &mut Request, services: &mut S) -> Served {
    let list = request.scratch_in_ghcb(HEADER_SIZE)?;
    let mut header = [0; HEADER_SIZE as usize];
    services.read_shared(list, &mut header)?;
    let first = usize::from(u16::from_le_bytes([header[0], header[1]]));
    let last = usize::from(u16::from_le_bytes([header[2], header[3]]));
    if last >= MAX_ENTRIES || header[4..] != [0; 4] {
        request.set_info2(ERROR_INVALID | INVALID_HEADER);
        return Ok(Outcome::Resume);
    }
    // Nothing left to do; no error (as KVM answers).
    if first > last {
        return Ok(Outcome::Resume);
    }
    request.scratch_in_ghcb(HEADER_SIZE + ENTRY_SIZE * (last as u64 + 1))?;
    let mut bytes = [0; MAX_ENTRIES * ENTRY_SIZE as usize];
    let bytes = &mut bytes[..(last - first + 1) * ENTRY_SIZE as usize];
    let entries = list + HEADER_SIZE + ENTRY_SIZE * first as u64;
    services.read_shared(entries, bytes)?;

    let mut current = first;
    let mut result = 0;
    for chunk in bytes.chunks_exact(ENTRY_SIZE as usize) {
        let entry = Entry(u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
        let Some(mut work) = Work::check(entry) else {
            result = ERROR_INVALID | INVALID_ENTRY;
            break;
        };
        let outcome = work.run(services);
        let at = list + HEADER_SIZE + ENTRY_SIZE * current as u64;
        services.write_shared(at, &work.entry().to_le_bytes())?;
        if let Err(Refused) = outcome {
            result = ERROR_GENERIC;
            break;
        }
        current += 1;
    }
    services.write_shared(list, &(current as u16).to_le_bytes())?;
    request.set_info2(result);
    Ok(Outcome::Resume)
}

/// A checked entry.
struct Work {
    raw: Entry,
    op: PageOp,
    pages: u16,
    current: u16,
}

impl Work {
    fn check(raw: Entry) -> Option<Self> {
        let op = match raw.op() {
            OP_PRIVATE => PageOp::Private,
            OP_SHARED => PageOp::Shared,
            OP_PSMASH => PageOp::Psmash,
            OP_UNSMASH => PageOp::Unsmash,
            _ => return None,
        };
        let pages = if raw.huge() { PAGES_IN_2M } else { 1 };
        let whole = matches!(op, PageOp::Psmash | PageOp::Unsmash);
        let aligned = raw.gpa() & (u64::from(pages) * 4096 - 1) == 0;
        let current = raw.current_page();
        let valid = raw.reserved() == 0
            && aligned
            && current <= pages
            && (!whole || raw.huge() && matches!(current, 0 | PAGES_IN_2M));
        valid.then_some(Self {
            raw,
            op,
            pages,
            current,
        })
    }

    fn run<S: HostServices>(&mut self, services: &mut S) -> Result<(), Refused> {
        if self.current == 0 && self.pages == PAGES_IN_2M {
            return self.step(RmpSize::Size2M, services);
        }
        // A 2M entry that was begun: the rest of it, page by page.
        while self.current < self.pages {
            self.step(RmpSize::Size4K, services)?;
        }
        Ok(())
    }

    fn step<S: HostServices>(&mut self, size: RmpSize, services: &mut S) -> Result<(), Refused> {
        let gpa = self.raw.gpa() + u64::from(self.current) * RmpSize::Size4K.bytes();
        if services.page_state(gpa, self.op, size).is_err() {
            services.note(Note::PageStateRefused { gpa, op: self.op });
            return Err(Refused);
        }
        self.current += (size.bytes() / RmpSize::Size4K.bytes()) as u16;
        Ok(())
    }

    /// The entry with its progress.
    fn entry(&self) -> u64 {
        (self.raw.0 & !0xFFF) | u64::from(self.current)
    }
}
