// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events about the host itself.

use super::super::request::{Failure, Request};
use super::super::services::{Note, Termination};
use super::super::{HV_FEATURES, Rule};
use super::{HostServices, Outcome, Served};

pub(super) fn features(request: &mut Request) -> Served {
    request.set_info2(HV_FEATURES);
    Ok(Outcome::Resume)
}

/// SW_EXITINFO1 bits 3:0 reason set, 11:4 reason code.
pub(super) fn terminate(request: &Request) -> Served {
    let info = request.info1();
    Ok(Outcome::Terminate(Termination {
        set: info as u8 & 0xF,
        code: (info >> 4) as u8,
    }))
}

/// The guest's #VC handler met an exit that it can't turn into a request.
pub(super) fn unsupported<S: HostServices>(request: &Request, services: &mut S) -> Served {
    let code = request.info1();
    services.note(Note::UnsupportedEvent { code });
    Err(Failure::Violation(Rule::GuestUnsupportedEvent { code }))
}
