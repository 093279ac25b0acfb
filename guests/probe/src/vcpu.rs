// SPDX-License-Identifier: MIT OR Apache-2.0
//! Further vCPUs of the probe: made by the SVSM or, without one, by the probe itself, started and ended through the GHCB.

use snp_defs::exit;
use snp_defs::ghcb::{Ghcb, ap_creation};
use snp_defs::rmp::{Permissions, RmpAttributes, RmpSize};
use snp_defs::vmsa::{EFER_SVME, Segment, Vmsa, sev_features};
use svsm_abi::core_protocol as core;
use svsm_abi::result::ResultCode;

use crate::machine::{access, entry, ghcb, instructions, tables, traps};
use crate::scratch;
use crate::svsm::{self, Caller};

/// A vCPU that was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vcpu {
    /// Its number, which is its APIC id.
    pub(crate) index: usize,
    /// Guest-physical address of its state.
    pub(crate) page: u64,
    /// Guest-physical address of its calling area.
    pub(crate) area: u64,
}

/// The VMPL of the probe.
fn vmpl() -> u8 {
    if svsm::present() { 2 } else { 0 }
}

/// Makes vCPU `index`; the error is the result code of CREATE_VCPU or of RMPADJUST.
pub(crate) fn make(index: usize) -> Result<Vcpu, u64> {
    let (page, area) = (state_page(), scratch::page());
    access::fill(area, 0);
    access::store(page, state(index));
    if svsm::present() {
        let arguments = [page, area, index as u64];
        let code = Caller::first().result(core::PROTOCOL, core::CREATE_VCPU, arguments);
        if code != ResultCode::SUCCESS {
            return Err(code.0);
        }
    } else {
        let attributes = RmpAttributes::new(1, Permissions::empty(), true);
        match instructions::rmpadjust(page, RmpSize::Size4K, attributes) {
            Ok(0) => {}
            Ok(code) => return Err(code),
            Err(trap) => return Err(trap.code),
        }
    }
    Ok(Vcpu { index, page, area })
}

/// A page that may hold a state: the host refuses one at a multiple of 2M, as KVM does for an erratum.
pub(crate) fn state_page() -> u64 {
    loop {
        let page = scratch::page();
        if !page.is_multiple_of(0x20_0000) {
            return page;
        }
    }
}

/// Starts it; the error is SW_EXITINFO1 of the answer.
pub(crate) fn start(vcpu: Vcpu) -> Result<(), u64> {
    request(vcpu, ap_creation::NOW)
}

/// Ends it.
pub(crate) fn end(vcpu: Vcpu) -> Result<(), u64> {
    request(vcpu, ap_creation::DESTROY)
}

fn request(vcpu: Vcpu, kind: u64) -> Result<(), u64> {
    let info = kind | u64::from(vmpl()) << 16 | (vcpu.index as u64) << 32;
    let mut request = ghcb::request(exit::AP_CREATION, info, vcpu.page);
    request.rax = sev_features::SNP_ACTIVE;
    ghcb::mark(&mut request, ::core::mem::offset_of!(Ghcb, rax));
    match ghcb::exchange(&request).sw_exit_info1 as u32 {
        0 => Ok(()),
        other => Err(u64::from(other)),
    }
}

/// The state of a further vCPU of the probe: 64-bit mode on the probe's tables.
pub(crate) fn state(index: usize) -> Vmsa {
    let mut vmsa: Vmsa = zerocopy::FromZeros::new_zeroed();
    let code = Segment {
        selector: 0x10,
        attributes: 0xA9B,
        limit: u32::MAX,
        base: 0,
    };
    let data = Segment {
        selector: 0x18,
        attributes: 0xC93,
        limit: u32::MAX,
        base: 0,
    };
    vmsa.cs = code;
    (vmsa.ds, vmsa.es, vmsa.ss, vmsa.fs, vmsa.gs) = (data, data, data, data, data);
    vmsa.tr = Segment {
        selector: 0,
        attributes: 0x8B,
        limit: 0xFFFF,
        base: 0,
    };
    vmsa.ldtr = Segment {
        selector: 0,
        attributes: 0x82,
        limit: 0xFFFF,
        base: 0,
    };
    let table = |(base, limit): (u64, u16)| Segment {
        selector: 0,
        attributes: 0,
        limit: u32::from(limit),
        base,
    };
    // An exception takes its segments from there.
    vmsa.gdtr = table(traps::gdt());
    vmsa.idtr = table(traps::idt());
    vmsa.vmpl = vmpl();
    // LME, LMA, NXE.
    vmsa.efer = EFER_SVME | 1 << 8 | 1 << 10 | 1 << 11;
    // PE, ET, PG.
    vmsa.cr0 = 1 | 1 << 4 | 1 << 31;
    // PAE.
    vmsa.cr4 = 1 << 5;
    vmsa.cr3 = tables::root();
    vmsa.dr6 = 0xFFFF_0FF0;
    vmsa.dr7 = 0x400;
    vmsa.rflags = 2;
    vmsa.rip = entry::further_rip();
    vmsa.rsp = entry::stack_top(index);
    vmsa.rdi = index as u64;
    vmsa.g_pat = 0x0007_0406_0007_0406;
    vmsa.sev_features = sev_features::SNP_ACTIVE;
    vmsa.xcr0 = 1;
    vmsa.mxcsr = 0x1F80;
    vmsa.x87_fcw = 0x37F;
    vmsa
}
