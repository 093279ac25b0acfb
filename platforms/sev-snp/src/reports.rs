// SPDX-License-Identifier: MIT OR Apache-2.0
//! Carries messages to the firmware in the pages that are shared with the host for it: the first
//! for the request, the second for the answer, the others for certificates.
#![forbid(unsafe_code)]

use parapet_snp::certificates;
use parapet_snp::ghcb::{CertificatePages, Ghcb, GuestRequestStatus};
use parapet_snp::messages::{
    Carrier, CertificateRoom, Certificates, Channel, REQUEST_SIZE, RESPONSE_SIZE,
};
use snp_defs::PAGE_SIZE;
use snp_defs::psc;
use snp_defs::report::REPORT_SIZE;
use svsm::memory::Pages;
use svsm::platform::{EvidenceError, HostError};
use svsm_launch::LaunchInfo;

use crate::pages;
use crate::platform::Vmgexit;

/// Index of the page for requests.
const REQUEST: u64 = 0;
/// Index of the page for answers.
const RESPONSE: u64 = 1;
/// Index of the first page for certificates.
const CERTIFICATES: u64 = 2;

/// Number of pages for certificates.
fn certificate_pages(launch: &LaunchInfo) -> u64 {
    (launch.shared.size / PAGE_SIZE as u64).saturating_sub(CERTIFICATES)
}

/// Asks the host to share the pages. They are not part of the image and were never validated.
pub(crate) fn share_pages(launch: &LaunchInfo, ghcb: Ghcb<'_>) -> Result<(), HostError> {
    let range = launch.shared;
    let mut entries = (range.base..range.base + range.size)
        .step_by(PAGE_SIZE)
        .map(|gpa| psc::Entry::new(gpa, psc::OP_SHARED, false));
    ghcb.page_state_change(&Vmgexit, &mut entries)
}

/// The way through the pages.
struct SharedPages {
    launch: &'static LaunchInfo,
    ghcb: Ghcb<'static>,
    /// Pages for certificates that the caller has room for.
    offered: u64,
}

impl Carrier for SharedPages {
    fn carry(
        &mut self,
        request: &[u8; REQUEST_SIZE],
        response: &mut [u8; RESPONSE_SIZE],
        certificates: bool,
    ) -> Result<GuestRequestStatus, HostError> {
        let page = |index| pages::shared(self.launch, index).ok_or(HostError::Unsupported);
        let (request_page, request_gpa) = page(REQUEST)?;
        let (response_page, response_gpa) = page(RESPONSE)?;
        // The firmware takes a page of which all that is not the message is zero, and the host need
        // not see the last one.
        request_page.clear();
        request_page.write_bytes(0, request);
        response_page.clear();
        let certificate_pages = certificates.then_some(CertificatePages {
            gpa: self.launch.shared.base + CERTIFICATES * PAGE_SIZE as u64,
            count: self.offered,
        });
        let status =
            self.ghcb
                .guest_request(&Vmgexit, request_gpa, response_gpa, certificate_pages)?;
        response_page.read_bytes(0, response);
        Ok(status)
    }
}

/// Fetches a report over `data` and, where there are pages for them, the host's certificates, whose
/// length is returned.
pub(crate) fn fetch(
    launch: &'static LaunchInfo,
    ghcb: Ghcb<'static>,
    channel: &mut Channel,
    data: &[u8; 64],
    report: &mut [u8; REPORT_SIZE],
    certificates: &mut Pages<'_>,
) -> Result<usize, EvidenceError> {
    let most = certificate_pages(launch);
    let offered = most.min(certificates.len() as u64);
    let mut carrier = SharedPages {
        launch,
        ghcb,
        offered,
    };
    let room = (!certificates.is_empty()).then_some(CertificateRoom { offered, most });
    match channel.report(&mut carrier, data, report, room)? {
        Certificates::Filled => Ok(take_certificates(launch, offered, certificates)),
        Certificates::None => Ok(0),
    }
}

/// Copies the host's certificates out of the shared pages; their length.
fn take_certificates(launch: &LaunchInfo, offered: u64, to: &mut Pages<'_>) -> usize {
    for (index, part) in (0..offered).zip(to.iter_mut()) {
        if let Some((page, _)) = pages::shared(launch, CERTIFICATES + index) {
            page.read_bytes(0, part);
        }
    }
    let total = offered as usize * PAGE_SIZE;
    to.iter()
        .next()
        .map_or(0, |first| certificates::length(first, total))
}
