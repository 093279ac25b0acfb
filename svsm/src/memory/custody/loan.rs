// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that the guest lends to the SVSM, for its pool: how they come, and how they go back.

use super::worklist::Worklist;
use super::{Returning, TakeError, revoke};
use crate::guest::Marks;
use crate::memory::{Frame, GuestMemory, Page, Pool, Refused, State, Tracker};
use crate::platform::Platform;
use core::ptr::NonNull;

/// Pages that one list lends. Dropped, it pays one flush for all of them, and they are the pool's.
pub(crate) struct Loan<'a, 's, P: Platform> {
    platform: &'a P,
    tracker: &'a Tracker<'a>,
    marks: &'a Marks,
    pool: &'a Pool,
    list: Worklist<'s>,
}

impl<'a, 's, P: Platform> Loan<'a, 's, P> {
    /// Pages that the entries of a list name, for `pool`.
    pub(crate) const fn new(
        platform: &'a P,
        tracker: &'a Tracker<'a>,
        marks: &'a Marks,
        pool: &'a Pool,
        entries: &'s mut [u64],
    ) -> Self {
        Self {
            platform,
            tracker,
            marks,
            pool,
            list: Worklist::new(entries),
        }
    }

    /// The next entry. Each lends one page.
    pub(crate) fn next_entry(&mut self) -> Option<u64> {
        self.list.next()
    }

    /// Takes a page from the guest.
    pub(crate) fn take(&mut self, page: Page) -> Result<(), TakeError> {
        if !self.list.has_room() {
            return Err(TakeError::Busy);
        }
        revoke(self.platform, self.tracker, self.marks, page)?;
        // There is room, as was asked above.
        let _ = self.list.wait(page);
        Ok(())
    }
}

impl<P: Platform> Drop for Loan<'_, '_, P> {
    fn drop(&mut self) {
        if self.list.is_settled() {
            return;
        }
        self.platform.flush();
        for page in self.list.take_waiting() {
            self.tracker.commit(page, State::Own);
            for frame in page.frames() {
                let address = self.platform.memory().address(frame.gpa());
                let page = NonNull::new(core::ptr::with_exposed_provenance_mut(address));
                if let Some(page) = page {
                    // SAFETY: steps 1 to 4 are done, the page is mapped where the platform says, and
                    // the tracker now lets only `withdraw` take it out of the SVSM's hands.
                    unsafe { self.pool.add_deposited(frame, page) };
                }
            }
        }
    }
}

/// Gives a free page of the pool's back to the guest, zeroed. `None` where there is none;
/// [`Refused`] where one is for the moment in no state to leave: it then stays in the pool.
pub(crate) fn withdraw<P: Platform>(
    platform: &P,
    tracker: &Tracker<'_>,
    pool: &Pool,
) -> Result<Option<Frame>, Refused> {
    let Some(page) = pool.take_deposited() else {
        return Ok(None);
    };
    // Before it leaves the pool for good, since afterwards nobody would know of it.
    let returning = Returning::begin(platform, tracker, page.frame())?;
    let (frame, _) = page.leak();
    returning.give();
    Ok(Some(frame))
}
