// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a page passes from hand to hand: between the host and the guest, between the guest and the SVSM. Only
//! this room changes states in the tracker, and calls the platform's verbs on pages.
//!
//! # Soundness
//! What all references to pages of the guest's memory rest on: **an object of Rust's (a page of the pool's, a vCPU's
//! state) lies only in a page that the tracker calls [`State::Own`], or that is busy on its way there or
//! back.** So whoever reads or writes the guest's memory as such may do it where the tracker says
//! [`State::Valid`] and goes on to say so ([`crate::guest::View`]), or in a page that he has busy himself, from
//! [`State::Invalid`] or [`State::Valid`].
//!
//! A page counts as the SVSM's alone (a state page, or memory of the pool) after four steps, in this
//! order, and each closes a door that the next relies on:
//! 1. The tracker makes it busy: no other CPU changes its state, and copies that begin now are refused.
//! 2. No CPU has it marked: no copy that began before is under way (`guest::View`).
//! 3. The guest's access is revoked: no new translation of the guest's gives access.
//! 4. Flush: no old one does.
//!
//! Between 1 and 4 its contents are the guest's to change, so nothing is read before.

mod exchange;
mod loan;
mod worklist;

pub(crate) use exchange::{Exchange, ExchangeError, bring_in_at_start};
pub(crate) use loan::{Loan, withdraw};

use super::{Access, Frame, GuestMemory, Page, PageBox, PageSize, Refused, State, Tracker};
use crate::guest::{Deletion, Marks, VcpuState};
use crate::platform::{PageError, Platform};

/// Why a page can't be taken from the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakeError {
    /// It is not the guest's to give.
    NotGuests,
    /// Somebody uses it now.
    Busy,
    /// The hardware refuses.
    Page(PageError),
}

/// Sets what the guest may do with a page, in steps of 4K where it has to be.
///
/// # Safety
/// As for [`Platform::protect`].
unsafe fn protect<P: Platform>(platform: &P, page: Page, access: Access) -> Result<(), PageError> {
    // SAFETY: as the caller says.
    let protect = |page| unsafe { platform.protect(page, access) };
    match protect(page) {
        Err(PageError::SizeMismatch) if page.size() == PageSize::Size2M => {
            page.frames().try_for_each(|frame| protect(frame.into()))
        }
        result => result,
    }
}

/// Steps 1 to 3. The page is busy then.
fn revoke<P: Platform>(
    platform: &P,
    tracker: &Tracker<'_>,
    marks: &Marks,
    page: Page,
) -> Result<(), TakeError> {
    tracker
        .begin(page, State::Valid)
        .map_err(|refused| match refused {
            Refused::Busy => TakeError::Busy,
            Refused::Outside | Refused::Is(_) | Refused::Mixed => TakeError::NotGuests,
        })?;
    if marks.any(page) {
        tracker.commit(page, State::Valid);
        return Err(TakeError::Busy);
    }
    // SAFETY: the page is busy, and it takes rights away.
    unsafe { protect(platform, page, Access::None) }.map_err(|error| {
        // SAFETY: it was the guest's a moment ago, and nothing was put there since.
        unsafe { restore(platform, tracker, page) };
        TakeError::Page(error)
    })
}

/// Gives a busy page to the guest.
///
/// # Safety
/// This CPU made the page busy, and no object of Rust's lies in it any more.
unsafe fn restore<P: Platform>(platform: &P, tracker: &Tracker<'_>, page: Page) {
    // Where the host took the page, the guest has nothing to lose, and the tracker remembers that
    // it was validated.
    //
    // SAFETY: as the caller says.
    let _ = unsafe { protect(platform, page, Access::Full) };
    tracker.commit(page, State::Valid);
}

/// A page that was the guest's and is the SVSM's. Dropped, it is the guest's again.
pub(crate) struct Taken<'a, P: Platform> {
    platform: &'a P,
    tracker: &'a Tracker<'a>,
    frame: Frame,
}

impl<'a, P: Platform> Taken<'a, P> {
    /// Takes a page from the guest, whole and at once.
    pub(crate) fn take(
        platform: &'a P,
        tracker: &'a Tracker<'a>,
        marks: &Marks,
        frame: Frame,
    ) -> Result<Self, TakeError> {
        revoke(platform, tracker, marks, frame.into())?;
        platform.flush();
        Ok(Self {
            platform,
            tracker,
            frame,
        })
    }

    /// The page as the state of a vCPU that is to be.
    pub(crate) fn state(&self) -> VcpuState {
        let address = self.platform.memory().address(self.frame.gpa());
        // SAFETY: the page is one of the guest's memory, all of which is mapped, and the SVSM's alone.
        unsafe { VcpuState::new(self.frame, address) }
    }

    /// It stays the SVSM's.
    pub(crate) fn keep(self) {
        self.tracker.commit(self.frame.into(), State::Own);
        core::mem::forget(self);
    }
}

impl<P: Platform> Drop for Taken<'_, P> {
    fn drop(&mut self) {
        // SAFETY: it was made busy in `take`. A state that was made of it is no vCPU's: who made it did not
        // keep the page.
        unsafe { restore(self.platform, self.tracker, self.frame.into()) };
    }
}

/// A page of the SVSM's that is about to be the guest's, and already busy, so that nothing stands in the way when
/// what can't be undone is done. Dropped, it stays the SVSM's.
pub(crate) struct Returning<'a, P: Platform> {
    platform: &'a P,
    tracker: &'a Tracker<'a>,
    frame: Frame,
}

impl<'a, P: Platform> Returning<'a, P> {
    /// Refused where a CPU is just about to take apart what the tracker knows of the page and its neighbours.
    /// The host may have stopped it there, so this does not wait.
    fn begin(platform: &'a P, tracker: &'a Tracker<'a>, frame: Frame) -> Result<Self, Refused> {
        tracker.begin(frame.into(), State::Own)?;
        Ok(Self {
            platform,
            tracker,
            frame,
        })
    }

    /// The state of a vCPU that is being deleted.
    pub(crate) fn of(
        platform: &'a P,
        tracker: &'a Tracker<'a>,
        deletion: &Deletion<'_>,
    ) -> Result<Self, Refused> {
        Self::begin(platform, tracker, deletion.state().frame())
    }

    /// Now it is the guest's, with its contents. Nobody of the SVSM's uses it any more.
    pub(crate) fn give(self) {
        // SAFETY: it was made busy in `begin`, and held a vCPU that was deleted, or was leaked by the pool.
        unsafe { restore(self.platform, self.tracker, self.frame.into()) };
        core::mem::forget(self);
    }
}

impl<P: Platform> Drop for Returning<'_, P> {
    fn drop(&mut self) {
        self.tracker.commit(self.frame.into(), State::Own);
    }
}

/// A page of the pool's as the state of a vCPU, for good.
pub(crate) fn into_state(page: PageBox<'_>) -> VcpuState {
    let (frame, address) = page.leak();
    // SAFETY: the page is mapped there, and nothing refers to it any more.
    unsafe { VcpuState::new(frame, address.as_ptr().expose_provenance()) }
}

#[cfg(test)]
mod tests;
