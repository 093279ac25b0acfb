// SPDX-License-Identifier: MIT OR Apache-2.0
//! A level: one VMPL of a vCPU, with what of it is not in its VMSA.

use emulator::devices::Lapic;
use emulator::paging::EFER_LMA;
use emulator::snp::ghcb;
use emulator::tlb::Translations;
use emulator::vmcb::Gprs;
use snp_defs::vmsa::sev_features;

use crate::machine::{Machine, Shared};
use crate::svm::block::Block;

/// Whether a level would run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunState {
    /// Until someone asks for it with RUN_VMPL.
    Stopped,
    /// Yes.
    Runnable,
    /// Once an event wakes it.
    Halted,
    /// Once a start-up IPI releases it (AP reset hold).
    ResetHold,
}

/// A VMPL of a vCPU.
pub(crate) struct Level {
    pub(crate) vmpl: u8,
    pub(crate) block: Block,
    /// What the processor may hold of this level's address space.
    pub(crate) translations: Translations,
    pub(crate) gprs: Gprs,
    pub(crate) ghcb: ghcb::Level,
    pub(crate) lapic: Lapic<'static>,
    /// Guest-physical address of the VMSA that runs here.
    pub(crate) vmsa: Option<u64>,
    /// The VMSA that is to run from the next INIT on.
    pub(super) on_init: Option<u64>,
    pub(crate) run_state: RunState,
    pub(crate) sev_features: u64,
    /// XSS, XCR0 and PKRU: the control block has no room for them. Of what else it has no room for
    /// (DR0 to DR3, x87 and SSE, TSC_AUX) the processor keeps what is loaded.
    pub(crate) xss: u64,
    pub(crate) xcr0: u64,
    pub(crate) pkru: u32,
    /// An event whose delivery was interrupted, in the format of EVENTINJ.
    pub(crate) reinject: Option<u64>,
    /// The vector that was offered by V_IRQ at the last entry.
    pub(super) offered: Option<u8>,
    pub(super) nmi_pending: bool,
    pub(crate) nmi_masked: bool,
    /// #HV is to be injected.
    pub(crate) signal: bool,
}

impl Level {
    pub(super) fn new(machine: &'static Machine, shared: &'static Shared, vmpl: u8) -> Self {
        Self {
            vmpl,
            block: Block::new(&machine.maps, vmpl),
            translations: Translations::new(),
            gprs: Gprs::default(),
            ghcb: ghcb::Level::default(),
            lapic: Lapic::new(&shared.levels[usize::from(vmpl)].posted, shared.index == 0),
            vmsa: None,
            on_init: None,
            run_state: RunState::Stopped,
            sev_features: 0,
            xss: 0,
            xcr0: 0,
            pkru: 0,
            reinject: None,
            offered: None,
            nmi_pending: false,
            nmi_masked: false,
            signal: false,
        }
    }

    /// Whether the host may inject nothing but #HV.
    pub(crate) const fn restricted(&self) -> bool {
        self.sev_features & sev_features::RESTRICTED_INJECTION != 0
    }

    /// Continues after an intercepted instruction of `length` bytes.
    pub(crate) fn advance(&mut self, length: u8) {
        let save = &mut self.block.save;
        save.rip = save.rip.wrapping_add(length.into());
        self.block.control.interrupt_shadow = 0;
    }

    /// No VMSA runs here any more, and nothing is left of the one that did.
    pub(super) fn clear(&mut self) {
        self.vmsa = None;
        self.on_init = None;
        self.run_state = RunState::Stopped;
        self.ghcb = ghcb::Level::default();
        self.reinject = None;
        self.offered = None;
        self.nmi_pending = false;
        self.nmi_masked = false;
        self.signal = false;
        self.block.control.interrupt_shadow = 0;
        self.block.control.exit_int_info = 0;
    }

    /// A general register by its number in machine code.
    pub(crate) fn register(&self, number: u8) -> u64 {
        let gprs = &self.gprs;
        match number & 0xF {
            0 => self.block.save.rax,
            1 => gprs.rcx,
            2 => gprs.rdx,
            3 => gprs.rbx,
            4 => self.block.save.rsp,
            5 => gprs.rbp,
            6 => gprs.rsi,
            7 => gprs.rdi,
            8 => gprs.r8,
            9 => gprs.r9,
            10 => gprs.r10,
            11 => gprs.r11,
            12 => gprs.r12,
            13 => gprs.r13,
            14 => gprs.r14,
            _ => gprs.r15,
        }
    }

    /// Linear address of the instruction at RIP.
    pub(crate) fn code_address(&self) -> u64 {
        let save = &self.block.save;
        if self.is_64_bit() {
            save.rip
        } else {
            save.cs.base.wrapping_add(save.rip) & 0xFFFF_FFFF
        }
    }

    /// Whether it executes 64-bit code.
    pub(crate) fn is_64_bit(&self) -> bool {
        self.block.save.efer & EFER_LMA != 0 && self.block.save.cs.attributes & (1 << 9) != 0
    }
}
