// SPDX-License-Identifier: MIT OR Apache-2.0
//! The whole way of a page, and what stops it.

extern crate std;
use super::*;
use crate::memory::Pool;
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
        bring_in_at_start(&platform, &tracker, page, false).unwrap();
    }
    platform.started();
    test(&platform, &tracker, &Marks::new());
}

/// Lends the pages with these numbers to the pool.
fn lend(
    platform: &FakePlatform,
    tracker: &Tracker<'_>,
    marks: &Marks,
    pool: &Pool,
    entries: &mut [u64],
) -> Result<(), TakeError> {
    let mut loan = Loan::new(platform, tracker, marks, pool, entries);
    while let Some(number) = loan.next_entry() {
        loan.take(frame(number).into())?;
    }
    Ok(())
}

/// The whole way of a page: the guest's, the pool's, used, the guest's. The memory is the same all
/// the way, which is what Miri looks at here.
#[test]
fn a_page_is_lent_and_comes_back() {
    with_guest(|platform, tracker, marks| {
        let pool = Pool::new();
        platform.fake_memory().poke(0x1000, b"the guest's");
        let flushes = platform.flushes();
        lend(platform, tracker, marks, &pool, &mut [1, 3, 5]).unwrap();
        assert_eq!(platform.flushes(), flushes + 1);
        let give = |entries: &mut [u64]| lend(platform, tracker, marks, &pool, entries);
        // What comes before the one that can't be taken is taken.
        assert_eq!(give(&mut [2, 3]), Err(TakeError::NotGuests));
        assert_eq!(give(&mut [900]), Err(TakeError::NotGuests));
        assert_eq!(pool.withdrawable(), 4);
        let mut pages: Vec<_> = core::iter::from_fn(|| pool.allocate()).collect();
        for page in &mut pages {
            assert!(page.iter().all(|&byte| byte == 0));
            page.fill(0x5E);
        }
        assert_eq!(withdraw(platform, tracker, &pool), Ok(None));
        drop(pages);
        let back: Vec<Frame> =
            core::iter::from_fn(|| withdraw(platform, tracker, &pool).unwrap()).collect();
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
        let returning = || Returning::begin(platform, tracker, frame(2)).unwrap();
        drop(returning());
        assert_eq!(tracker.state(frame(2)), Ok(State::Own));
        assert!(!platform.has_access(0x2000));
        returning().give();
        assert_eq!(tracker.state(frame(2)), Ok(State::Valid));
        let mut bytes = [0; 5];
        platform.fake_memory().peek(0x2000, &mut bytes);
        assert_eq!(&bytes, b"state");
    });
}

/// A neighbour is about to be made a part of a page of 2M, and the host stopped that CPU in the middle of it.
#[test]
fn a_page_that_can_not_go_back_now_stays_in_the_pool() {
    with_guest(|platform, tracker, marks| {
        let pool = Pool::new();
        lend(platform, tracker, marks, &pool, &mut [1]).unwrap();
        let stopped = tracker.stop_a_cpu_at(frame(0));
        assert_eq!(withdraw(platform, tracker, &pool), Err(Refused::Busy));
        assert_eq!(pool.withdrawable(), 1);
        assert!(!platform.has_access(0x1000));
        drop(stopped);
        assert_eq!(withdraw(platform, tracker, &pool), Ok(Some(frame(1))));
        assert!(platform.has_access(0x1000));
    });
}

/// One entry lets one page pass, so that there is always room to remember it.
#[test]
fn no_page_passes_without_an_entry() {
    with_guest(|platform, tracker, marks| {
        let pool = Pool::new();
        let mut entries = [0];
        let mut loan = Loan::new(platform, tracker, marks, &pool, &mut entries);
        assert_eq!(loan.take(frame(1).into()), Err(TakeError::Busy));
        loan.next_entry().unwrap();
        loan.take(frame(1).into()).unwrap();
        assert_eq!(loan.take(frame(2).into()), Err(TakeError::Busy));
        drop(loan);
        assert_eq!(pool.withdrawable(), 1);

        let mut exchange = Exchange::new(platform, tracker, &mut entries);
        let refused = Err(ExchangeError::Refused(Refused::Busy));
        assert_eq!(exchange.let_go(frame(2).into()), refused);
        exchange.next_entry().unwrap();
        exchange.let_go(frame(2).into()).unwrap();
        // Busy, until the flush was paid.
        assert_eq!(tracker.state(frame(2)), Err(Refused::Busy));
        assert!(platform.is_stale());
        drop(exchange);
        assert_eq!(tracker.state(frame(2)), Ok(State::Invalid));
        assert!(!platform.is_stale());
    });
}

/// The attack is told in `exchange::bring_in`. The machine of these tests panics where a page is granted that was not
/// zeroed; that it does is tested here.
#[test]
#[should_panic(expected = "rule: ")]
fn the_machine_notices_a_grant_without_zeroes() {
    with_guest(|platform, tracker, _| {
        let page = Page::from(frame(1));
        let mut entries = [0];
        let mut exchange = Exchange::new(platform, tracker, &mut entries);
        exchange.next_entry().unwrap();
        exchange.let_go(page).unwrap();
        drop(exchange);
        // SAFETY: nothing lies in the page, which nobody else uses.
        unsafe {
            platform.accept(page).unwrap();
            let _ = platform.protect(page, Access::Full);
        }
    });
}
