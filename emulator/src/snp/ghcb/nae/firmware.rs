// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest requests to the security firmware (56421, SNP guest request, SNP extended guest request).

use snp_defs::ghcb::guest_request_error;

use super::super::request::{Failure, Field, Request};
use super::{HostServices, INVALID_INPUT, Outcome, Served, shared_page};

/// SW_EXITINFO1: the request's page; SW_EXITINFO2: the response's, another one.
fn pages<S: HostServices>(request: &Request, services: &S) -> Result<(u64, u64), Failure> {
    let message = shared_page(request.info1(), services)?;
    let response = shared_page(request.info2(), services)?;
    if message == response {
        return Err(INVALID_INPUT);
    }
    Ok((message, response))
}

pub(super) fn guest_request<S: HostServices>(request: &mut Request, services: &mut S) -> Served {
    let (message, response) = pages(request, services)?;
    exchange(request, message, response, services)
}

/// As a guest request, with certificates in the RBX pages at RAX. Too few pages: RBX returns how many
/// it takes, and the firmware is not asked.
pub(super) fn extended_guest_request<S: HostServices>(
    request: &mut Request,
    services: &mut S,
) -> Served {
    let (message, response) = pages(request, services)?;
    let data = request.need(Field::RAX)?;
    let pages = request.need(Field::RBX)?;
    let length = services.certificates().len() as u64;
    let needed = length.div_ceil(4096);
    if pages < needed {
        request.set(Field::RBX, needed);
        request.set_info2(guest_request_error::INVALID_LENGTH << 32);
        return Ok(Outcome::Resume);
    }
    // A guest that gives no page wants no certificates.
    if pages > 0 {
        if data & 0xFFF != 0 || !services.is_shared(data, needed.max(1) * 4096) {
            return Err(INVALID_INPUT);
        }
        copy_certificates(data, services)?;
    }
    exchange(request, message, response, services)
}

/// Copies the table, then zeros to the end of its last page. Without certificates that is one entry of
/// zeros, the end of the table.
fn copy_certificates<S: HostServices>(data: u64, services: &mut S) -> Result<(), Failure> {
    let mut at = 0;
    loop {
        let mut piece = [0; 512];
        if let Some(rest) = services.certificates().get(at..) {
            let count = rest.len().min(piece.len());
            piece[..count].copy_from_slice(&rest[..count]);
        }
        services.write_shared(data + at as u64, &piece)?;
        at += piece.len();
        if at >= services.certificates().len() && at % 4096 == 0 {
            return Ok(());
        }
    }
}

fn exchange<S: HostServices>(
    request: &mut Request,
    message: u64,
    response: u64,
    services: &mut S,
) -> Served {
    let mut from = [0; 4096];
    let mut to = [0; 4096];
    services.read_shared(message, &mut from)?;
    let status = services.guest_request(&from, &mut to);
    if status == 0 {
        services.write_shared(response, &to)?;
    }
    request.set_info2(status.into());
    Ok(Outcome::Resume)
}
