// SPDX-License-Identifier: MIT OR Apache-2.0
//! Brings the guest's memory into the machine, in pages of 2M where that can be.
//!
//! Nothing is zeroed here, as it is in the call PVALIDATE: what the guest could find in a page that the host
//! stole from the SVSM ([`crate::calls`] tells how) is the image, which is no secret, and a key of the firmware's;
//! and the SVSM touches each of its own pages after this and before the guest runs, so that a machine in
//! which a page is missing never gets that far.
#![forbid(unsafe_code)]

use super::{StartError, layout};
use crate::memory::custody::{ExchangeError, bring_in_at_start};
use crate::memory::{Page, Refused, State, Tracker};
use crate::platform::Platform;
use svsm_launch::LaunchInfo;

/// Brings all of the guest's memory in and grants it to the guest.
pub(crate) fn populate<P: Platform>(
    platform: &P,
    launch: &LaunchInfo,
    tracker: &Tracker<'_>,
) -> Result<(), StartError> {
    let empty = || layout::empty_ranges(launch).flat_map(layout::pages);
    platform
        .request_private(&mut empty())
        .map_err(StartError::Host)?;
    for page in empty() {
        grant(platform, tracker, page, false)?;
    }
    // The firmware validated these, page by page of the image.
    for page in launch.preloaded.into_iter().flat_map(layout::pages) {
        grant(platform, tracker, page, true)?;
    }
    Ok(())
}

fn grant<P: Platform>(
    platform: &P,
    tracker: &Tracker<'_>,
    page: Page,
    preloaded: bool,
) -> Result<(), StartError> {
    bring_in_at_start(platform, tracker, page, preloaded).map_err(|error| match error {
        ExchangeError::Refused(Refused::Is(State::Valid)) => {
            StartError::Layout("a page is named twice")
        }
        ExchangeError::Refused(_) => StartError::Layout("a page that is not memory"),
        ExchangeError::Page(error) => StartError::Page(page, error),
    })
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::memory::{Frame, PageSize};
    use crate::platform::PageError;
    use crate::testing::{FakePlatform, sample_launch_page};
    use core::sync::atomic::AtomicU64;
    use std::vec::Vec;
    use svsm_launch::tracker;

    const MIB: u64 = 1 << 20;

    /// Populates the sample's memory on a platform that `prepare` had its way with.
    fn populated(
        mut launch: LaunchInfo,
        prepare: impl FnOnce(&FakePlatform, &mut LaunchInfo),
        then: impl FnOnce(&FakePlatform, &LaunchInfo, &Tracker<'_>, Result<(), StartError>),
    ) {
        let platform = FakePlatform::new(&launch.guest_memory, &launch.preloaded);
        prepare(&platform, &mut launch);
        let words = tracker::bytes(&launch.guest_memory) / 8;
        let storage: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(0)).collect();
        let tracker = Tracker::new(&launch.guest_memory, &storage).unwrap();
        let result = populate(&platform, &launch, &tracker);
        then(&platform, &launch, &tracker, result);
    }

    fn all_is_the_guests(platform: &FakePlatform, launch: &LaunchInfo, tracker: &Tracker<'_>) {
        for range in launch.guest_memory {
            for gpa in (range.base..range.base + range.size).step_by(4096) {
                assert!(platform.has_access(gpa), "{gpa:#x}");
                assert_eq!(
                    tracker.state(Frame::new(gpa).unwrap()),
                    Ok(State::Valid),
                    "{gpa:#x}"
                );
            }
        }
    }

    #[test]
    fn all_memory_is_brought_in_and_granted() {
        populated(
            sample_launch_page(),
            |_, _| {},
            |platform, launch, tracker, result| {
                assert_eq!(result, Ok(()));
                all_is_the_guests(platform, launch, tracker);
                let sum =
                    |ranges: &[svsm_launch::Range]| ranges.iter().map(|r| r.size).sum::<u64>();
                let empty = sum(&launch.guest_memory) - sum(&launch.preloaded);
                assert_eq!(platform.requested() * 4096, empty);
                // Nobody had access before, so nobody pays a flush.
                assert_eq!(platform.flushes(), 0);
            },
        );
    }

    #[test]
    fn a_host_with_small_pages_only() {
        let smash = |platform: &FakePlatform, _: &mut LaunchInfo| {
            (0..8).for_each(|run| platform.smash(run * 2 * MIB));
        };
        populated(
            sample_launch_page(),
            smash,
            |platform, launch, tracker, result| {
                assert_eq!(result, Ok(()));
                all_is_the_guests(platform, launch, tracker);
            },
        );
    }

    #[test]
    fn a_page_that_the_host_does_not_give() {
        let steal = |platform: &FakePlatform, _: &mut LaunchInfo| {
            platform.fake_memory().steal(12 * MIB + 0x5000);
        };
        populated(sample_launch_page(), steal, |_, _, _, result| {
            let page = Page::new(12 * MIB, PageSize::Size2M).unwrap();
            assert_eq!(result, Err(StartError::Page(page, PageError::NotPresent)));
        });
    }

    #[test]
    fn a_preloaded_page_that_is_not_there() {
        let swap = |platform: &FakePlatform, _: &mut LaunchInfo| platform.remap(4 * MIB);
        populated(sample_launch_page(), swap, |_, _, tracker, result| {
            assert!(matches!(
                result,
                Err(StartError::Page(_, PageError::NotPresent))
            ));
            // It is nobody's now.
            let frame = Frame::new(4 * MIB).unwrap();
            assert_eq!(tracker.state(frame), Ok(State::Own));
        });
    }
}
