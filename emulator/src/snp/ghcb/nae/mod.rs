// SPDX-License-Identifier: MIT OR Apache-2.0
//! The events, by exit code (56421, 4.1).

use snp_defs::exit;
use snp_defs::ghcb::malformed;

use super::request::{Failure, Request};
use super::{HostServices, Level, Outcome};

mod cpu;
mod doorbell;
mod firmware;
mod host;
mod io;
mod page_state;
mod vcpu;

pub(super) use vcpu::may_run;

const INVALID_INPUT: Failure = Failure::Malformed(malformed::INVALID_INPUT);

type Served = Result<Outcome, Failure>;

/// Serves one event.
pub(super) fn serve<S: HostServices>(
    code: u64,
    request: &mut Request,
    level: &mut Level,
    services: &mut S,
) -> Served {
    match code {
        exit::DR7_READ => cpu::dr7_read(request, level),
        exit::DR7_WRITE => cpu::dr7_write(request, level),
        exit::RDTSC => cpu::rdtsc(request, services),
        exit::RDTSCP => cpu::rdtscp(request, services),
        exit::RDPMC => cpu::rdpmc(request),
        exit::CPUID => cpu::cpuid(request, services),
        exit::MSR => cpu::msr(request, level, services),
        exit::VMMCALL => cpu::vmmcall(request),
        exit::INVD | exit::WBINVD => Ok(Outcome::Resume),
        exit::MONITOR | exit::MWAIT => cpu::monitor(code, request),
        exit::IOIO => io::port(request, services),
        exit::MMIO_READ => io::mmio_read(request, services),
        exit::MMIO_WRITE => io::mmio_write(request, services),
        exit::NMI_COMPLETE => vcpu::nmi_complete(services),
        exit::AP_RESET_HOLD => vcpu::reset_hold(request, level),
        exit::AP_JUMP_TABLE => vcpu::jump_table(request, services),
        exit::AP_CREATION => vcpu::ap_creation(request, services),
        exit::APIC_ID_LIST => vcpu::apic_id_list(request, services),
        exit::RUN_VMPL => vcpu::run_vmpl(request, services),
        exit::PAGE_STATE_CHANGE => page_state::change(request, services),
        exit::GUEST_REQUEST => firmware::guest_request(request, services),
        exit::EXT_GUEST_REQUEST => firmware::extended_guest_request(request, services),
        exit::HV_DOORBELL => doorbell::page(request, level, services),
        exit::HV_IPI => doorbell::ipi(request, services),
        exit::HV_FEATURES => host::features(request),
        exit::TERMINATE => host::terminate(request),
        exit::UNSUPPORTED_EVENT => host::unsupported(request, services),
        _ => Err(Failure::Malformed(malformed::INVALID_EVENT)),
    }
}

/// A page that the guest names by its guest-physical address, and that has to be shared.
fn shared_page<S: HostServices>(gpa: u64, services: &S) -> Result<u64, Failure> {
    if gpa & 0xFFF == 0 && services.is_shared(gpa, 4096) {
        Ok(gpa)
    } else {
        Err(INVALID_INPUT)
    }
}
