// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events about vCPUs and their VMPLs.

use snp_defs::VMPL_COUNT;
use snp_defs::ghcb::ap_creation as kind;
use snp_defs::rmp::RmpSize;

use super::super::request::{Failure, Field, Request};
use super::super::services::{ApRequest, ApRequestKind, Note};
use super::super::{Hold, Level};
use super::{HostServices, INVALID_INPUT, Outcome, Served};
use crate::snp::vmsa;

pub(super) fn nmi_complete<S: HostServices>(services: &mut S) -> Served {
    services.nmi_complete();
    Ok(Outcome::Resume)
}

/// Answered when the SIPI arrives.
pub(super) fn reset_hold(request: &Request, level: &mut Level) -> Served {
    level.hold = Some(Hold::Ghcb(request.gpa()));
    Ok(Outcome::ResetHold)
}

pub(super) fn jump_table<S: HostServices>(request: &mut Request, services: &mut S) -> Served {
    match request.info1() {
        0 => services.set_ap_jump_table(request.info2()),
        1 => request.set_info2(services.ap_jump_table()),
        _ => return Err(INVALID_INPUT),
    }
    Ok(Outcome::Resume)
}

/// AP_CREATION (56421, SNP AP creation): SW_EXITINFO1 bits 15:0 kind, 19:16 VMPL, 63:32 APIC id; SW_EXITINFO2 the
/// VMSA's address; RAX its SEV_FEATURES.
pub(super) fn ap_creation<S: HostServices>(request: &Request, services: &mut S) -> Served {
    let info1 = request.info1();
    let apic_id = (info1 >> 32) as u32;
    let vmpl = (info1 >> 16) as u8 & 0xF;
    let parsed = ap_request(request, info1, apic_id, vmpl, services.vmpl());
    let refused = |services: &mut S, failure| {
        services.note(Note::ApCreationRefused { apic_id, vmpl });
        Err(failure)
    };
    match parsed {
        Err(failure) => refused(services, failure),
        Ok(parsed) if services.ap_create(&parsed).is_err() => refused(services, INVALID_INPUT),
        Ok(_) => Ok(Outcome::Resume),
    }
}

fn ap_request(
    request: &Request,
    info1: u64,
    apic_id: u32,
    vmpl: u8,
    caller: u8,
) -> Result<ApRequest, Failure> {
    let number = info1 & 0xFFFF;
    let create = match number {
        kind::ON_INIT | kind::NOW => true,
        kind::DESTROY => false,
        _ => return Err(INVALID_INPUT),
    };
    let reserved = (info1 >> 20) & 0xFFF;
    // A VMPL governs itself and those below it; only VMPL0 replaces a VMSA of VMPL0.
    if reserved != 0 || usize::from(vmpl) >= VMPL_COUNT || vmpl < caller {
        return Err(INVALID_INPUT);
    }
    if !create {
        let kind = ApRequestKind::Destroy;
        return Ok(ApRequest {
            kind,
            apic_id,
            vmpl,
        });
    }
    let sev_features = request.need(Field::RAX)?;
    let vmsa = request.info2();
    // KVM refuses a VMSA at a multiple of 2M: processors report a false RMP violation when a 2M page
    // of other memory collides with one in use (SNP erratum).
    if vmsa & 0xFFF != 0 || vmsa & (RmpSize::Size2M.bytes() - 1) == 0 {
        return Err(INVALID_INPUT);
    }
    vmsa::check_features(sev_features).map_err(|_| INVALID_INPUT)?;
    let kind = if number == kind::NOW {
        ApRequestKind::Create { vmsa, sev_features }
    } else {
        ApRequestKind::CreateOnInit { vmsa, sev_features }
    };
    Ok(ApRequest {
        kind,
        apic_id,
        vmpl,
    })
}

/// APIC id list: RAX pages at SW_EXITINFO1; a u32 count, then the ids. Too few pages: RAX returns how
/// many it takes, and nothing is written.
pub(super) fn apic_id_list<S: HostServices>(request: &mut Request, services: &mut S) -> Served {
    let pages = request.need(Field::RAX)?;
    let mut count = 0u32;
    while services.apic_id_of(count).is_some() {
        count += 1;
    }
    let length = 4 * (u64::from(count) + 1);
    let needed = length.div_ceil(4096);
    if pages < needed {
        request.set(Field::RAX, needed);
        return Ok(Outcome::Resume);
    }
    let list = request.info1();
    if list & 0xFFF != 0 || !services.is_shared(list, needed * 4096) {
        return Err(INVALID_INPUT);
    }
    services.write_shared(list, &count.to_le_bytes())?;
    for n in 0..count {
        let id = services.apic_id_of(n).unwrap_or(u32::MAX);
        services.write_shared(list + 4 * (u64::from(n) + 1), &id.to_le_bytes())?;
    }
    request.set(Field::RAX, needed);
    Ok(Outcome::Resume)
}

/// Whether the host runs `vmpl` when another VMPL of this vCPU asks for it.
pub(in super::super) fn may_run<S: HostServices>(vmpl: u8, services: &S) -> bool {
    usize::from(vmpl) < VMPL_COUNT && vmpl != services.vmpl() && services.has_vmpl(vmpl)
}

/// Run VMPL: SW_EXITINFO1 is the VMPL. The answer is there when the caller runs again.
pub(super) fn run_vmpl<S: HostServices>(request: &Request, services: &S) -> Served {
    match u8::try_from(request.info1()) {
        Ok(vmpl) if may_run(vmpl, services) => Ok(Outcome::RunVmpl(vmpl)),
        _ => Err(INVALID_INPUT),
    }
}
