// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events of restricted injection: the #HV doorbell page and inter-processor interrupts (56421, #HV doorbell page, #HV IPI).

use super::super::request::Request;
use super::{HostServices, INVALID_INPUT, Level, Outcome, Served, shared_page};

const GET_PREFERRED: u64 = 0;
const SET: u64 = 1;
const QUERY: u64 = 2;
const CLEAR: u64 = 3;
/// SW_EXITINFO2 when there is no page.
const NONE: u64 = u64::MAX;

pub(super) fn page<S: HostServices>(
    request: &mut Request,
    level: &mut Level,
    services: &mut S,
) -> Served {
    if !services.restricted_injection() {
        return Err(INVALID_INPUT);
    }
    let answer = match request.info1() {
        // The guest chooses.
        GET_PREFERRED => NONE,
        SET => {
            level.doorbell = Some(shared_page(request.info2(), services)?);
            services.set_doorbell(level.doorbell);
            request.info2()
        }
        QUERY => level.doorbell.unwrap_or(NONE),
        CLEAR => {
            level.doorbell = None;
            services.set_doorbell(None);
            NONE
        }
        _ => return Err(INVALID_INPUT),
    };
    request.set_info2(answer);
    Ok(Outcome::Resume)
}

pub(super) fn ipi<S: HostServices>(request: &Request, services: &mut S) -> Served {
    if !services.restricted_injection() {
        return Err(INVALID_INPUT);
    }
    services
        .hv_ipi(request.info1())
        .map_err(|_| INVALID_INPUT)?;
    Ok(Outcome::Resume)
}
