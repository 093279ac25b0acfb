// SPDX-License-Identifier: MIT OR Apache-2.0
//! The GHCB of the first vCPU and the GHCB MSR protocol (56421), as a guest uses them. What a check wants to do wrong
//! it does through [`exchange`] and [`msr_request`], which send anything.

use core::arch::asm;
use core::mem::offset_of;

use snp_defs::ghcb::{self, Ghcb};
use snp_defs::msr::{self, protocol};
use snp_defs::psc;
use snp_defs::rmp::RmpSize;

use super::access;
use super::instructions;

/// Guest-physical address of the GHCB: the first scratch page.
pub(crate) const GHCB_GPA: u64 = crate::scratch::SCRATCH;

/// Registers that an SVSM call takes and gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Registers {
    pub(crate) rax: u64,
    pub(crate) rcx: u64,
    pub(crate) rdx: u64,
    pub(crate) r8: u64,
    pub(crate) r9: u64,
}

/// Writes the GHCB MSR, exits, and returns what the MSR holds then; the registers travel along.
pub(crate) fn vmgexit(value: u64, registers: &mut Registers) -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: the request names no memory but the GHCB and what the SVSM is told of, all of it raw scratch
    // memory. RBX is not touched; the SVSM gives back every register that is not named here.
    unsafe {
        asm!(
            "mov r10, rax",
            "mov r11, rcx",
            "mov r12, rdx",
            "mov ecx, {msr}",
            "mov eax, esi",
            "mov rdx, rsi",
            "shr rdx, 32",
            "wrmsr",
            "mov rax, r10",
            "mov rcx, r11",
            "mov rdx, r12",
            "rep vmmcall",
            "mov r10, rax",
            "mov r11, rcx",
            "mov r12, rdx",
            "mov ecx, {msr}",
            "rdmsr",
            "mov esi, eax",
            "mov edi, edx",
            "mov rax, r10",
            "mov rcx, r11",
            "mov rdx, r12",
            msr = const msr::GHCB,
            inout("rsi") value => low,
            out("rdi") high,
            inout("rax") registers.rax,
            inout("rcx") registers.rcx,
            inout("rdx") registers.rdx,
            inout("r8") registers.r8,
            inout("r9") registers.r9,
            out("r10") _,
            out("r11") _,
            out("r12") _,
        );
    }
    low | high << 32
}

/// A request of the MSR protocol; the GHCB's address is put back afterwards.
pub(crate) fn msr_request(value: u64) -> u64 {
    let answer = vmgexit(value, &mut Registers::default());
    restore();
    answer
}

/// Puts the GHCB's address into its MSR.
pub(crate) fn restore() {
    // SAFETY: names the GHCB page, which is shared and used for nothing else.
    unsafe {
        asm!("wrmsr", in("ecx") msr::GHCB, in("eax") GHCB_GPA as u32, in("edx") (GHCB_GPA >> 32) as u32,
            options(nostack));
    }
}

/// What went wrong while the GHCB was set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoGhcb;

/// Makes the GHCB's page shared and registers it.
pub(crate) fn install() -> Result<(), NoGhcb> {
    make_shared(GHCB_GPA)?;
    let answer = vmgexit(
        GHCB_GPA | protocol::REGISTER_GHCB_REQUEST,
        &mut Registers::default(),
    );
    if answer != GHCB_GPA | protocol::REGISTER_GHCB_RESPONSE {
        return Err(NoGhcb);
    }
    restore();
    Ok(())
}

/// Gives a page of scratch memory up to the host, by the SVSM's help where the probe has it.
pub(crate) fn make_shared(gpa: u64) -> Result<(), NoGhcb> {
    crate::svsm::rescind(gpa).map_err(|_| NoGhcb)?;
    let request = protocol::PSC_REQUEST | psc::Entry::new(gpa, psc::OP_SHARED, false).0;
    match vmgexit(request, &mut Registers::default()) {
        protocol::PSC_RESPONSE => Ok(()),
        _ => Err(NoGhcb),
    }
}

/// Ends the machine (56421, 2.3.1).
pub(crate) fn terminate(set: u8, reason: u8) -> ! {
    let request = protocol::TERMINATE_REQUEST | u64::from(set) << 12 | u64::from(reason) << 16;
    loop {
        vmgexit(request, &mut Registers::default());
    }
}

/// An empty GHCB.
pub(crate) fn empty() -> Ghcb {
    let mut page: Ghcb = zerocopy::FromZeros::new_zeroed();
    page.protocol_version = ghcb::VERSION_SNP;
    page.usage = ghcb::USAGE_STANDARD;
    page
}

/// Marks the field at `offset` as meant.
pub(crate) fn mark(page: &mut Ghcb, offset: usize) {
    let index = ghcb::bitmap_index(offset);
    page.valid_bitmap[index / 8] |= 1 << (index % 8);
}

/// Sets code and infos of a request and marks them.
pub(crate) fn request(code: u64, info1: u64, info2: u64) -> Ghcb {
    let mut page = empty();
    (page.sw_exit_code, page.sw_exit_info1, page.sw_exit_info2) = (code, info1, info2);
    mark(&mut page, offset_of!(Ghcb, sw_exit_code));
    mark(&mut page, offset_of!(Ghcb, sw_exit_info1));
    mark(&mut page, offset_of!(Ghcb, sw_exit_info2));
    page
}

/// Writes the GHCB, exits, reads it again.
pub(crate) fn exchange(page: &Ghcb) -> Ghcb {
    access::store_shared(GHCB_GPA, *page);
    vmgexit(GHCB_GPA, &mut Registers::default());
    access::load_shared(GHCB_GPA)
}

/// A port's value is written by an IOIO request (24593, 15.10.2 for the layout of EXITINFO1).
pub(crate) fn port_write(port: u16, value: u32, bytes: u8) -> Result<(), u64> {
    let info = u64::from(port) << 16 | u64::from(bytes) << 4 | 1 << 9;
    let mut page = request(snp_defs::exit::IOIO, info, 0);
    page.rax = u64::from(value);
    mark(&mut page, offset_of!(Ghcb, rax));
    match exchange(&page).sw_exit_info1 as u32 {
        0 => Ok(()),
        other => Err(u64::from(other)),
    }
}

/// A port's value is read by an IOIO request.
pub(crate) fn port_read(port: u16, bytes: u8) -> Result<u32, u64> {
    let info = u64::from(port) << 16 | u64::from(bytes) << 4 | 1 << 9 | 1;
    let mut page = request(snp_defs::exit::IOIO, info, 0);
    mark(&mut page, offset_of!(Ghcb, rax));
    let answer = exchange(&page);
    match answer.sw_exit_info1 as u32 {
        0 => Ok(answer.rax as u32),
        other => Err(u64::from(other)),
    }
}

/// PVALIDATE by the probe itself, where it is at VMPL0.
pub(crate) fn rescind_here(gpa: u64) -> Result<(), NoGhcb> {
    match instructions::pvalidate(gpa, RmpSize::Size4K, false) {
        Ok((0, false)) => Ok(()),
        _ => Err(NoGhcb),
    }
}
