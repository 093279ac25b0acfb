// SPDX-License-Identifier: MIT OR Apache-2.0
//! How pages pass between the host and the guest: into the machine, and out of it.
//!
//! Pages that come in pay no flush: nobody has a translation of a page that nobody could use. Pages that leave pay
//! one, for all of them together, and until it is paid the tracker has them busy:
//! 1. revoke: from now on no vCPU gets a new translation of the page
//! 2. release: from now on the page is the host's to replace
//! 3. flush: no vCPU has an old translation
//! 4. commit: only now can the page come in again, perhaps as another one

use super::{protect, worklist::Worklist};
use crate::memory::tracker::Cursor;
use crate::memory::{Access, GuestMemory, Page, PageSize, Refused, State, Tracker};
use crate::platform::{PageError, Platform};

/// Why a page does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExchangeError {
    /// The tracker does not let it.
    Refused(Refused),
    /// The hardware does not.
    Page(PageError),
}

/// Pages that pass on behalf of one list. Dropped, it pays the flush, and pages that left are gone.
pub(crate) struct Exchange<'a, 's, P: Platform> {
    platform: &'a P,
    tracker: Cursor<'a, 'a>,
    list: Worklist<'s>,
}

impl<'a, 's, P: Platform> Exchange<'a, 's, P> {
    /// Pages that the entries of a list name.
    pub(crate) const fn new(
        platform: &'a P,
        tracker: &'a Tracker<'a>,
        entries: &'s mut [u64],
    ) -> Self {
        Self {
            platform,
            tracker: tracker.cursor(),
            list: Worklist::new(entries),
        }
    }

    /// The next entry. Each lets one page pass.
    #[inline]
    pub(crate) fn next_entry(&mut self) -> Option<u64> {
        self.list.next()
    }

    /// Takes a page from the host and grants it to the guest, zeroed.
    #[inline]
    pub(crate) fn bring_in(&mut self, page: Page) -> Result<(), ExchangeError> {
        // The second validation of a page ends here, before the hardware, which may not know that
        // it is one (`memory::Tracker` tells how).
        self.tracker
            .begin(page, State::Invalid)
            .map_err(ExchangeError::Refused)?;
        // SAFETY: the page is busy, and was not in the machine, so nothing lies in it.
        if let Err(error) = unsafe { self.platform.accept(page) } {
            // `Unchanged`, although nobody validated it: hardware and tracker disagree, which no entry
            // may ignore. The page stays out of the guest's reach.
            self.tracker.commit(page, State::Invalid);
            return Err(ExchangeError::Page(error));
        }
        // Zero before grant, always, or the guest could read the SVSM's memory:
        // 1. The host takes a page A of the SVSM's and puts it at X, a page of the guest's.
        // 2. The guest validates X. A is a page of this machine, so its contents decrypt.
        // 3. Granted as it is, the guest reads what the SVSM kept in A.
        // Here A is empty by then, and the SVSM, which misses it, ends the machine at its next touch.
        //
        // SAFETY: the page is still busy, with nothing in it.
        let granted = match unsafe { self.platform.memory().zero(page) } {
            // SAFETY: as above, and it is empty.
            Ok(()) => unsafe { self.platform.protect(page, Access::Full) },
            Err(_) => Err(PageError::NotPresent),
        };
        match granted {
            Ok(()) => self.tracker.commit(page, State::Valid),
            // Back out of the machine. Where that can't be either, nobody knows what the page is, and nobody
            // gets it any more.
            //
            // SAFETY: the page is busy, and nothing lies in it.
            Err(_) => match unsafe { self.platform.release(page) } {
                Ok(()) => self.tracker.commit(page, State::Invalid),
                Err(_) => self.tracker.commit(page, State::Own),
            },
        }
        granted.map_err(ExchangeError::Page)
    }

    /// Takes a page from the guest and lets the host have it. It is busy until this is dropped.
    #[inline]
    pub(crate) fn let_go(&mut self, page: Page) -> Result<(), ExchangeError> {
        if !self.list.has_room() {
            return Err(ExchangeError::Refused(Refused::Busy));
        }
        self.tracker
            .begin(page, State::Valid)
            .map_err(ExchangeError::Refused)?;
        // SAFETY: the page is busy, and was the guest's: nothing of the SVSM's lies in it.
        let gone = match unsafe { self.platform.protect(page, Access::None) } {
            // SAFETY: as above.
            Ok(()) => unsafe { self.platform.release(page) },
            Err(error) => Err(error),
        };
        match gone {
            Ok(()) => {
                // There is room, as was asked above.
                let _ = self.list.wait(page);
                Ok(())
            }
            Err(error) => {
                // `Unchanged` means that the page which the host has there now is not the one that was
                // validated. That one may come back, so it still counts as valid: could X be validated again
                // now, there would be two of it. The entry's wish to ignore this can't be granted.
                //
                // SAFETY: as above.
                let _ = unsafe { self.platform.protect(page, Access::Full) };
                self.tracker.commit(page, State::Valid);
                Err(ExchangeError::Page(error))
            }
        }
    }
}

impl<P: Platform> Drop for Exchange<'_, '_, P> {
    fn drop(&mut self) {
        if !self.list.is_settled() {
            self.platform.flush();
            for page in self.list.take_waiting() {
                self.tracker.commit(page, State::Invalid);
            }
        }
    }
}

/// Brings a page in before the guest runs, and grants it as it is; one that the image fills
/// (`preloaded`) is in the machine already. A page that can't be granted is nobody's.
pub(crate) fn bring_in_at_start<P: Platform>(
    platform: &P,
    tracker: &Tracker<'_>,
    page: Page,
    preloaded: bool,
) -> Result<(), ExchangeError> {
    tracker
        .begin(page, State::Invalid)
        .map_err(ExchangeError::Refused)?;
    let there = if preloaded {
        Ok(())
    } else {
        accept(platform, page)
    };
    let granted = there.and_then(|()| {
        // SAFETY: the page is busy, and nothing of the SVSM's lies in the guest's memory so far.
        unsafe { protect(platform, page, Access::Full) }
    });
    let state = match granted {
        Ok(()) => State::Valid,
        Err(_) => State::Own,
    };
    tracker.commit(page, state);
    granted.map_err(ExchangeError::Page)
}

/// Accepts a busy page that was not in the machine, in steps of 4K where the host gave it in such.
fn accept<P: Platform>(platform: &P, page: Page) -> Result<(), PageError> {
    // SAFETY: the page is busy, and was not in the machine, so nothing lies in it.
    let accept = |page| unsafe { platform.accept(page) };
    match accept(page) {
        Err(PageError::SizeMismatch) if page.size() == PageSize::Size2M => {
            page.frames().try_for_each(|frame| accept(frame.into()))
        }
        result => result,
    }
}
