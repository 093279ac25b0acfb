// SPDX-License-Identifier: MIT OR Apache-2.0
//! PVALIDATE (58019, 6.2): RCX is a list of pages that come into the machine or leave it.
//!
//! Pages that come in pay no flush: nobody has a translation of a page that nobody could use. Pages that leave pay one,
//! for all of them together, and until it is paid the tracker has them busy:
//! 1. revoke: from now on no vCPU gets a new translation of the page
//! 2. release: from now on the page is the host's to replace
//! 3. flush: no vCPU has an old translation
//! 4. commit: only now can the page come in again, perhaps as another one

use super::list;
use crate::calls::{Answer, Call, page_error};
use crate::memory::{Access, Cursor, GuestMemory, Page, PageSize, Refused, State};
use crate::platform::{PageError, Platform};
use svsm_abi::core_protocol::PvalidateEntry;
use svsm_abi::result::ResultCode;

/// 4K pages that one call zeroes, and 2M pages that it releases, at most; it has a page more to make
/// progress. The guest asks for the rest by calling again.
const LIMIT: usize = 512;

/// Set in the SVSM's copy of an entry whose page waits for the flush. The guest's has zero there.
const LEFT: u64 = 1 << 11;

/// How an entry went.
enum Outcome {
    /// Done; this much work.
    Done(usize),
    /// The page left, and waits for the flush.
    Left,
}

/// Serves the call.
pub(super) fn serve<P: Platform>(call: &mut Call<'_, P>) -> Answer {
    let mut tracker = call.machine.tracker.cursor();
    let (list, entries) = list::read(&call.view, call.registers.rcx, call.scratch)?;
    let (mut done, mut work, mut left) = (0, 0, false);
    let mut answer = Ok(ResultCode::SUCCESS);
    for entry in entries.iter_mut() {
        if work >= LIMIT {
            answer = Err(ResultCode::INCOMPLETE);
            break;
        }
        match one(call.platform, &mut tracker, PvalidateEntry(*entry)) {
            Ok(Outcome::Done(pages)) => work += pages,
            Ok(Outcome::Left) => {
                *entry |= LEFT;
                left = true;
                work += 1;
            }
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
    if left {
        call.platform.flush();
        for entry in entries.iter().filter(|&entry| entry & LEFT != 0) {
            if let Ok(page) = list::page(entry & !LEFT) {
                tracker.commit(page, State::Invalid);
            }
        }
    }
    list.advance(&call.view, done)?;
    answer
}

/// Works on an entry.
fn one<P: Platform>(
    platform: &P,
    tracker: &mut Cursor<'_, '_>,
    entry: PvalidateEntry,
) -> Result<Outcome, ResultCode> {
    if entry.reserved() != 0 {
        return Err(ResultCode::INVALID_PARAMETER);
    }
    let page = list::page(entry.0)?;
    let (from, to) = match entry.validate() {
        true => (State::Invalid, State::Valid),
        false => (State::Valid, State::Invalid),
    };
    match tracker.begin(page, from) {
        Ok(()) => {}
        // The second validation of a page ends here, before the hardware, which may not know that
        // it is one (`memory::Tracker` tells how).
        Err(Refused::Is(state)) if state == to => {
            return match entry.ignore_unchanged() {
                true => Ok(Outcome::Done(1)),
                false => Err(page_error(PageError::Unchanged)),
            };
        }
        Err(Refused::Busy) => return Err(ResultCode::BUSY),
        Err(Refused::Mixed) => return Err(page_error(PageError::SizeMismatch)),
        // The SVSM's, or nobody's.
        Err(Refused::Is(_) | Refused::Outside) => return Err(ResultCode::INVALID_ADDRESS),
    }
    if entry.validate() {
        bring_in(platform, tracker, page).map(|()| Outcome::Done(pages(page)))
    } else {
        let_go(platform, tracker, page).map(|()| Outcome::Left)
    }
}

fn pages(page: Page) -> usize {
    match page.size() {
        PageSize::Size4K => 1,
        PageSize::Size2M => 512,
    }
}

/// Validates a busy page that is invalid, and commits it.
fn bring_in<P: Platform>(
    platform: &P,
    tracker: &mut Cursor<'_, '_>,
    page: Page,
) -> Result<(), ResultCode> {
    if let Err(error) = platform.accept(page) {
        // `Unchanged`, although nobody validated it: hardware and tracker disagree, which no entry
        // may ignore. The page stays out of the guest's reach.
        tracker.commit(page, State::Invalid);
        return Err(page_error(error));
    }
    // Zero before grant, always, or the guest could read the SVSM's memory:
    // 1. The host takes a page A of the SVSM's and puts it at X, a page of the guest's.
    // 2. The guest validates X. A is a page of this machine, so its contents decrypt.
    // 3. Granted as it is, the guest reads what the SVSM kept in A.
    // Here A is empty by then, and the SVSM, which misses it, ends the machine at its next touch.
    let granted = match platform.memory().zero(page) {
        Ok(()) => platform.protect(page, Access::Full).map_err(page_error),
        Err(fault) => Err(fault.into()),
    };
    match granted {
        Ok(()) => tracker.commit(page, State::Valid),
        // Back out of the machine. Where that can't be either, nobody knows what the page is, and nobody
        // gets it any more.
        Err(_) => match platform.release(page) {
            Ok(()) => tracker.commit(page, State::Invalid),
            Err(_) => tracker.commit(page, State::Own),
        },
    }
    granted
}

/// Revokes and releases a busy page that is valid. It stays busy until it was flushed.
fn let_go<P: Platform>(
    platform: &P,
    tracker: &mut Cursor<'_, '_>,
    page: Page,
) -> Result<(), ResultCode> {
    let gone = match platform.protect(page, Access::None) {
        Ok(()) => platform.release(page),
        Err(error) => Err(error),
    };
    gone.map_err(|error| {
        // `Unchanged` means that the page which the host has there now is not the one that was
        // validated. That one may come back, so it still counts as valid: could X be validated again now,
        // there would be two of it. The entry's wish to ignore this can't be granted.
        let _ = platform.protect(page, Access::Full);
        tracker.commit(page, State::Valid);
        page_error(error)
    })
}
