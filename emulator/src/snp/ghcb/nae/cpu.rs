// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events for instructions: CPUID, RDMSR and WRMSR, DR7, time, and those that do nothing here.

use snp_defs::exit;

use super::super::msr_policy;
use super::super::request::{Failure, Field, Request};
use super::{HostServices, INVALID_INPUT, Level, Outcome, Served};

/// RAX of a VMMCALL that nobody serves: KVM's "no such hypercall".
const NO_HYPERCALL: u64 = -1000_i64 as u64;

/// DR7 as it was last written by event: the register itself is the VMSA's.
pub(super) fn dr7_read(request: &mut Request, level: &Level) -> Served {
    request.set(Field::RAX, level.dr7);
    Ok(Outcome::Resume)
}

pub(super) fn dr7_write(request: &Request, level: &mut Level) -> Served {
    let value = request.need(Field::RAX)?;
    if value >> 32 != 0 {
        return Err(Failure::GeneralProtection);
    }
    level.dr7 = value | super::super::DR7_RESET;
    Ok(Outcome::Resume)
}

pub(super) fn rdtsc<S: HostServices>(request: &mut Request, services: &mut S) -> Served {
    let tsc = services.tsc();
    request.set(Field::RAX, tsc & 0xFFFF_FFFF);
    request.set(Field::RDX, tsc >> 32);
    Ok(Outcome::Resume)
}

pub(super) fn rdtscp<S: HostServices>(request: &mut Request, services: &mut S) -> Served {
    // TSC_AUX is in the VMSA, where the host does not see it.
    request.set(Field::RCX, 0);
    rdtsc(request, services)
}

/// No performance counters: #GP(0).
pub(super) fn rdpmc(request: &Request) -> Served {
    request.need(Field::RCX)?;
    Err(Failure::GeneralProtection)
}

pub(super) fn cpuid<S: HostServices>(request: &mut Request, services: &mut S) -> Served {
    let leaf = request.need(Field::RAX)? as u32;
    let subleaf = request.need(Field::RCX)? as u32;
    // Leaf 0xD depends on what is enabled (56421, NAE event CPUID).
    let xcr0 = if leaf == 0xD {
        request.need(Field::XCR0)?
    } else {
        request.get(Field::XCR0).unwrap_or(1)
    };
    let xss = request.get(Field::XSS).unwrap_or(0);
    let answer = services.cpuid(leaf, subleaf, xcr0, xss);
    request.set(Field::RAX, answer.eax.into());
    request.set(Field::RBX, answer.ebx.into());
    request.set(Field::RCX, answer.ecx.into());
    request.set(Field::RDX, answer.edx.into());
    Ok(Outcome::Resume)
}

pub(super) fn msr<S: HostServices>(
    request: &mut Request,
    level: &mut Level,
    services: &mut S,
) -> Served {
    let msr = request.need(Field::RCX)? as u32;
    match request.info1() {
        0 => {
            let value = msr_policy::read(msr, &level.registers, services)
                .map_err(|_| Failure::GeneralProtection)?;
            request.set(Field::RAX, value & 0xFFFF_FFFF);
            request.set(Field::RDX, value >> 32);
        }
        1 => {
            let low = request.need(Field::RAX)? & 0xFFFF_FFFF;
            let high = request.need(Field::RDX)? << 32;
            msr_policy::write(msr, high | low, &mut level.registers, services)
                .map_err(|_| Failure::GeneralProtection)?;
        }
        _ => return Err(INVALID_INPUT),
    }
    Ok(Outcome::Resume)
}

pub(super) fn vmmcall(request: &mut Request) -> Served {
    request.need(Field::RAX)?;
    request.need(Field::CPL)?;
    request.set(Field::RAX, NO_HYPERCALL);
    Ok(Outcome::Resume)
}

/// MONITOR and MWAIT do nothing, as under KVM.
pub(super) fn monitor(code: u64, request: &Request) -> Served {
    request.need(Field::RAX)?;
    request.need(Field::RCX)?;
    if code == exit::MONITOR {
        request.need(Field::RDX)?;
    }
    Ok(Outcome::Resume)
}
