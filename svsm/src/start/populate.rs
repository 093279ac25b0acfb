// SPDX-License-Identifier: MIT OR Apache-2.0
//! Brings the guest's memory into the machine, in pages of 2M where that can be.
//!
//! Nothing is zeroed here, as it is in the call PVALIDATE: what the guest could find in a page that the host
//! stole from the SVSM ([`crate::calls`] tells how) is the image, which is no secret, and a key of the firmware's;
//! and the SVSM touches each of its own pages after this and before the guest runs, so that a machine in
//! which a page is missing never gets that far.
#![forbid(unsafe_code)]

use super::{StartError, layout};
use crate::memory::custody::protect;
use crate::memory::{Access, Page, PageSize, Refused, State, Tracker};
use crate::platform::{PageError, Platform};
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
        grant(platform, tracker, page, |page| accept(platform, page))?;
    }
    // The firmware validated these, page by page of the image.
    for page in launch.preloaded.into_iter().flat_map(layout::pages) {
        grant(platform, tracker, page, |_| Ok(()))?;
    }
    Ok(())
}

fn grant<P: Platform>(
    platform: &P,
    tracker: &Tracker<'_>,
    page: Page,
    bring_in: impl Fn(Page) -> Result<(), PageError>,
) -> Result<(), StartError> {
    tracker.begin(page, State::Invalid).map_err(|refused| {
        StartError::Layout(match refused {
            Refused::Is(State::Valid) => "a page is named twice",
            _ => "a page that is not memory",
        })
    })?;
    let granted = bring_in(page).and_then(|()| protect(platform, page, Access::Full));
    tracker.commit(
        page,
        if granted.is_ok() {
            State::Valid
        } else {
            State::Own
        },
    );
    granted.map_err(|error| StartError::Page(page, error))
}

/// Accepts a page, in steps of 4K where the host gave it in such.
fn accept<P: Platform>(platform: &P, page: Page) -> Result<(), PageError> {
    match platform.accept(page) {
        Err(PageError::SizeMismatch) if page.size() == PageSize::Size2M => page
            .frames()
            .try_for_each(|frame| platform.accept(frame.into())),
        result => result,
    }
}
