// SPDX-License-Identifier: MIT OR Apache-2.0
//! A control block, and what is in all of them: intercepts, maps, nested paging.

use core::ops::{Deref, DerefMut};

use emulator::vmcb::{Vmcb, intercept1, intercept2, tlb_control, vintr};

use super::maps::Maps;
use crate::host::heap::LOW;
use crate::host::instructions;

/// A VMCB in a page of its own, and whether the processor can flush its address space alone.
pub(crate) struct Block(&'static mut Vmcb, bool);

impl Block {
    /// A block that intercepts what the host of an SNP guest intercepts, as KVM does for SEV-ES
    /// guests: their kernels are known to live with it.
    ///
    /// `vmpl` is the level that it runs: each has its own nested tables, and so an address space
    /// of its own.
    pub(crate) fn new(maps: &Maps, vmpl: u8) -> Self {
        let address = LOW.allocate(4096, 4096);
        // SAFETY: a fresh, zeroed page, never freed and handed out once; zeros are a valid VMCB.
        let vmcb = unsafe { &mut *(address as *mut Vmcb) };
        let control = &mut vmcb.control;
        // DR7, as without debug-register swap.
        control.intercept_dr = 1 << 7 | 1 << 23;
        // PVALIDATE and its kin are undefined on QEMU's processor.
        control.intercept_exceptions = 1 << 6;
        control.intercept1 = intercept1::INTR
            | intercept1::NMI
            | intercept1::SMI
            | intercept1::INIT
            | intercept1::RDPMC
            | intercept1::CPUID
            | intercept1::SOFTWARE_INTERRUPT
            | intercept1::INVD
            | intercept1::HLT
            | intercept1::INVLPGA
            | intercept1::IOIO
            | intercept1::MSR
            | intercept1::TASK_SWITCH
            | intercept1::SHUTDOWN;
        control.intercept2 = intercept2::VMRUN
            | intercept2::VMMCALL
            | intercept2::VMLOAD
            | intercept2::VMSAVE
            | intercept2::STGI
            | intercept2::CLGI
            | intercept2::SKINIT
            | intercept2::WBINVD
            | intercept2::MONITOR
            | intercept2::MWAIT
            | intercept2::XSETBV;
        control.iopm_base = maps.io;
        control.msrpm_base = maps.msr;
        control.asid = 1 + u32::from(vmpl);
        control.vintr = vintr::MASKING;
        control.nested_control = 1;
        Self(vmcb, has_flush_by_asid())
    }

    /// Says whether the next VMRUN flushes what the processor holds of this address space.
    pub(crate) fn set_flush(&mut self, flush: bool) {
        self.0.control.tlb_control = match (flush, self.1) {
            (false, _) => tlb_control::NONE,
            (true, true) => tlb_control::THIS_ASID,
            (true, false) => tlb_control::ALL,
        };
    }

    /// Host-physical address of the block.
    pub(crate) fn address(&self) -> u64 {
        &raw const *self.0 as u64
    }
}

/// Whether the processor can flush one address space and leave the others: CPUID 0x8000_000A EDX,
/// FlushByAsid (24593, 15.16.2).
fn has_flush_by_asid() -> bool {
    instructions::cpuid(0x8000_000A, 0)[3] & (1 << 6) != 0
}

impl Deref for Block {
    type Target = Vmcb;

    fn deref(&self) -> &Vmcb {
        self.0
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut Vmcb {
        self.0
    }
}
