// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lists of pages in the guest's memory: a header with a count and the next entry to work on, then
//! entries (58019, tables 6 and 7).
//!
//! The guest can change a list while it is worked on, so it is copied once, and the copy is what
//! counts. Only `next` is written back.

use crate::calls::{Scratch, aligned};
use crate::guest::View;
use crate::memory::{GuestMemory, PAGE, Page, PageSize};
use core::mem::offset_of;
use svsm_abi::core_protocol::ListHeader;
use svsm_abi::result::ResultCode;
use zerocopy::IntoBytes;

/// Where a list is, and what its header said.
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    gpa: u64,
    next: u16,
}

/// Reads the list at `gpa`: the header, and into `scratch` the entries from the next one on.
pub(super) fn read<'s, M: GuestMemory>(
    view: &View<'_, M>,
    gpa: u64,
    scratch: &'s mut Scratch,
) -> Result<(List, &'s mut [u64]), ResultCode> {
    let header: ListHeader = view.read_value(aligned(gpa, 8)?)?;
    let ListHeader {
        entries,
        next,
        reserved: _,
    } = header;
    // The list ends in the page in which it begins, so this is less than 512.
    let room = (PAGE as u64 - gpa % PAGE as u64) / 8 - 1;
    if next >= entries || u64::from(entries) > room {
        return Err(ResultCode::INVALID_PARAMETER);
    }
    let first = gpa + size_of::<ListHeader>() as u64 + u64::from(next) * 8;
    let entries = &mut scratch[..usize::from(entries - next)];
    view.read(first, entries.as_mut_bytes())?;
    Ok((List { gpa, next }, entries))
}

impl List {
    /// Moves the next entry on by `done`, for the guest to see.
    pub(super) fn advance<M: GuestMemory>(
        self,
        view: &View<'_, M>,
        done: usize,
    ) -> Result<(), ResultCode> {
        // Both are less than 512.
        let next = self.next + done as u16;
        Ok(view.write_value(self.gpa + offset_of!(ListHeader, next) as u64, &next)?)
    }
}

/// The page that an entry names: bits 1:0 the size, 63:12 the page.
pub(super) fn page(entry: u64) -> Result<Page, ResultCode> {
    let size = match entry & 3 {
        0 => PageSize::Size4K,
        1 => PageSize::Size2M,
        _ => return Err(ResultCode::INVALID_PARAMETER),
    };
    let gpa = aligned(entry & !0xFFF, size.bytes())?;
    Page::new(gpa, size).ok_or(ResultCode::INVALID_ADDRESS)
}
