// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a page passes from the guest to the SVSM, and back.
//!
//! # Soundness
//! A page counts as the SVSM's alone (a state page, or memory of the pool) after four steps, in this
//! order, and each closes a door that the next relies on:
//! 1. The tracker makes it busy: no other CPU changes its state, and copies that begin now are refused.
//! 2. No CPU has it marked: no copy that began before is under way (`guest::View`).
//! 3. The guest's access is revoked: no new translation of the guest's gives access.
//! 4. Flush: no old one does.
//!
//! Between 1 and 4 its contents are the guest's to change, so nothing is read before.

use super::{Access, Frame, GuestMemory, Page, PageSize, Pool, Refused, State, Tracker};
use crate::guest::Marks;
use crate::platform::{PageError, Platform};
use core::ptr::NonNull;

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
pub(crate) fn protect<P: Platform>(
    platform: &P,
    page: Page,
    access: Access,
) -> Result<(), PageError> {
    match platform.protect(page, access) {
        Err(PageError::SizeMismatch) if page.size() == PageSize::Size2M => page
            .frames()
            .try_for_each(|frame| platform.protect(frame.into(), access)),
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
    protect(platform, page, Access::None).map_err(|error| {
        restore(platform, tracker, page);
        TakeError::Page(error)
    })
}

/// Gives a busy page back to the guest.
fn restore<P: Platform>(platform: &P, tracker: &Tracker<'_>, page: Page) {
    // Where the host took the page, the guest has nothing to lose, and the tracker remembers that
    // it was validated.
    let _ = protect(platform, page, Access::Full);
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

    /// It stays the SVSM's.
    pub(crate) fn keep(self) {
        self.tracker.commit(self.frame.into(), State::Own);
        core::mem::forget(self);
    }
}

impl<P: Platform> Drop for Taken<'_, P> {
    fn drop(&mut self) {
        restore(self.platform, self.tracker, self.frame.into());
    }
}

/// Gives a page back that [`Taken::keep`] kept and that nobody of the SVSM's uses any more, with its contents.
pub(crate) fn give_back<P: Platform>(platform: &P, tracker: &Tracker<'_>, frame: Frame) {
    if tracker.begin(frame.into(), State::Own).is_ok() {
        restore(platform, tracker, frame.into());
    }
}

/// Takes pages from the guest into the pool: as many as it can, of `pages`, in order. One flush for all.
///
/// `decode` names the page of an entry. Returns how many entries were taken, and why it stopped there.
pub(crate) fn deposit<P: Platform, E: Copy>(
    platform: &P,
    tracker: &Tracker<'_>,
    marks: &Marks,
    pool: &Pool,
    entries: &[E],
    accept: impl Fn(Page) -> bool,
    decode: fn(E) -> Option<Page>,
) -> (usize, Result<(), TakeError>) {
    let mut taken = 0;
    let mut result = Ok(());
    for &entry in entries {
        result = match decode(entry) {
            Some(page) if accept(page) => revoke(platform, tracker, marks, page),
            _ => Err(TakeError::NotGuests),
        };
        if result.is_err() {
            break;
        }
        taken += 1;
    }
    if taken != 0 {
        platform.flush();
    }
    // `entries` can't have changed, and `decode` is a function of an entry alone: the same pages.
    for page in entries
        .iter()
        .take(taken)
        .filter_map(|&entry| decode(entry))
    {
        tracker.commit(page, State::Own);
        for frame in page.frames() {
            let address = platform.memory().address(frame.gpa());
            let Some(address) = NonNull::new(core::ptr::with_exposed_provenance_mut(address))
            else {
                continue;
            };
            // SAFETY: steps 1 to 4 are done, the page is mapped where the platform says, and the
            // tracker now lets only `withdraw` take it out of the SVSM's hands.
            unsafe { pool.add_deposited(frame, address) };
        }
    }
    (taken, result)
}

/// Gives a free page of the pool's back to the guest, zeroed.
pub(crate) fn withdraw<P: Platform>(
    platform: &P,
    tracker: &Tracker<'_>,
    pool: &Pool,
) -> Option<Frame> {
    let frame = pool.withdraw()?;
    give_back(platform, tracker, frame);
    Some(frame)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::testing::FakePlatform;
    use core::sync::atomic::AtomicU64;
    use std::vec::Vec;
    use svsm_launch::{Range, tracker};

    const MEMORY: [Range; 1] = [Range {
        base: 0,
        size: 0x8000,
    }];

    fn frame(number: u64) -> Frame {
        Frame::new(number * 4096).unwrap()
    }

    /// A guest with eight pages, all its own.
    fn with_guest(test: impl FnOnce(&FakePlatform, &Tracker<'_>, &Marks)) {
        let platform = FakePlatform::new(&MEMORY, &[]);
        let storage: Vec<AtomicU64> = (0..tracker::bytes(&MEMORY) / 8)
            .map(|_| AtomicU64::new(0))
            .collect();
        let tracker = Tracker::new(&MEMORY, &storage).unwrap();
        for page in (0..8).map(|number| Page::from(frame(number))) {
            tracker.begin(page, State::Invalid).unwrap();
            platform.accept(page).unwrap();
            platform.protect(page, Access::Full).unwrap();
            tracker.commit(page, State::Valid);
        }
        platform.started();
        test(&platform, &tracker, &Marks::new());
    }

    /// The whole way of a page: the guest's, the pool's, used, the guest's. The memory is the same all
    /// the way, which is what Miri looks at here.
    #[test]
    fn a_page_is_lent_and_comes_back() {
        with_guest(|platform, tracker, marks| {
            let pool = Pool::new();
            platform.fake_memory().poke(0x1000, b"the guest's");
            let give = |entries: &[u64]| {
                let decode = |number| Some(frame(number).into());
                deposit(platform, tracker, marks, &pool, entries, |_| true, decode)
            };
            assert_eq!(give(&[1, 3, 5]), (3, Ok(())));
            assert_eq!(give(&[2, 3]), (1, Err(TakeError::NotGuests)));
            assert_eq!(give(&[900]), (0, Err(TakeError::NotGuests)));
            assert_eq!(pool.withdrawable(), 4);
            let mut pages: Vec<_> = core::iter::from_fn(|| pool.allocate()).collect();
            for page in &mut pages {
                assert!(page.iter().all(|&byte| byte == 0));
                page.fill(0x5E);
            }
            assert_eq!(withdraw(platform, tracker, &pool), None);
            drop(pages);
            let back: Vec<Frame> =
                core::iter::from_fn(|| withdraw(platform, tracker, &pool)).collect();
            assert_eq!(back.len(), 4);
            for frame in back {
                assert_eq!(tracker.state(frame), Ok(State::Valid));
                let mut bytes = [1; 4096];
                platform.fake_memory().peek(frame.gpa(), &mut bytes);
                assert_eq!(bytes, [0; 4096]);
            }
        });
    }

    #[test]
    fn a_page_that_is_taken_and_not_kept_is_the_guests_as_it_was() {
        with_guest(|platform, tracker, marks| {
            platform.fake_memory().poke(0x2000, b"state");
            let taken = Taken::take(platform, tracker, marks, frame(2)).unwrap();
            assert_eq!(tracker.state(frame(2)), Err(Refused::Busy));
            assert!(!platform.has_access(0x2000) && !platform.is_stale());
            let busy = Taken::take(platform, tracker, marks, frame(2)).err();
            assert_eq!(busy, Some(TakeError::Busy));
            drop(taken);
            assert!(platform.has_access(0x2000));
            assert_eq!(tracker.state(frame(2)), Ok(State::Valid));
            Taken::take(platform, tracker, marks, frame(2))
                .unwrap()
                .keep();
            assert_eq!(tracker.state(frame(2)), Ok(State::Own));
            give_back(platform, tracker, frame(2));
            let mut bytes = [0; 5];
            platform.fake_memory().peek(0x2000, &mut bytes);
            assert_eq!(&bytes, b"state");
        });
    }
}
