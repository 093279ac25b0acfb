// SPDX-License-Identifier: MIT OR Apache-2.0
//! PVALIDATE (58019, 6.2): RCX is a list of pages that come into the machine or leave it. What that takes,
//! and in which order, is `memory::custody`'s to know.

use super::list;
use crate::calls::{Answer, Call, page_error};
use crate::memory::custody::{Exchange, ExchangeError};
use crate::memory::{Page, PageSize, Refused, State};
use crate::platform::{PageError, Platform};
use svsm_abi::core_protocol::PvalidateEntry;
use svsm_abi::result::ResultCode;

/// 4K pages that one call zeroes, and 2M pages that it releases, at most; it has a page more to make
/// progress. The guest asks for the rest by calling again.
const LIMIT: usize = 512;

/// Serves the call.
pub(super) fn serve<P: Platform>(call: &mut Call<'_, P>) -> Answer {
    let (list, entries) = list::read(&call.view, call.registers.rcx, call.scratch)?;
    let mut exchange = Exchange::new(call.platform, &call.machine.tracker, entries);
    let (mut done, mut work) = (0, 0);
    let mut answer = Ok(ResultCode::SUCCESS);
    while let Some(entry) = exchange.next_entry() {
        if work >= LIMIT {
            answer = Err(ResultCode::INCOMPLETE);
            break;
        }
        match one(&mut exchange, PvalidateEntry(entry)) {
            Ok(pages) => work += pages,
            // Perhaps busy by this very call, and not any more after the flush.
            Err(ResultCode::BUSY) if done != 0 => {
                answer = Err(ResultCode::INCOMPLETE);
                break;
            }
            Err(code) => {
                answer = Err(code);
                break;
            }
        }
        done += 1;
    }
    // The pages that left are gone before the guest is told so.
    drop(exchange);
    list.advance(&call.view, done)?;
    answer
}

/// Works on an entry; how much work it was.
fn one<P: Platform>(
    exchange: &mut Exchange<'_, '_, P>,
    entry: PvalidateEntry,
) -> Result<usize, ResultCode> {
    if entry.reserved() != 0 {
        return Err(ResultCode::INVALID_PARAMETER);
    }
    let page = list::page(entry.0)?;
    if entry.validate() {
        match exchange.bring_in(page) {
            Ok(()) => Ok(pages(page)),
            Err(error) => refused(error, State::Valid, entry),
        }
    } else {
        match exchange.let_go(page) {
            Ok(()) => Ok(1),
            Err(error) => refused(error, State::Invalid, entry),
        }
    }
}

/// What an entry comes to that was to make a page `to`.
#[cold]
fn refused(error: ExchangeError, to: State, entry: PvalidateEntry) -> Result<usize, ResultCode> {
    match error {
        ExchangeError::Refused(Refused::Is(state)) if state == to => {
            match entry.ignore_unchanged() {
                true => Ok(1),
                false => Err(page_error(PageError::Unchanged)),
            }
        }
        ExchangeError::Refused(Refused::Busy) => Err(ResultCode::BUSY),
        ExchangeError::Refused(Refused::Mixed) => Err(page_error(PageError::SizeMismatch)),
        // The SVSM's, or nobody's.
        ExchangeError::Refused(Refused::Is(_) | Refused::Outside) => {
            Err(ResultCode::INVALID_ADDRESS)
        }
        ExchangeError::Page(error) => Err(page_error(error)),
    }
}

fn pages(page: Page) -> usize {
    match page.size() {
        PageSize::Size4K => 1,
        PageSize::Size2M => 512,
    }
}
