// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page that holds a vCPU's registers while it does not run (24593, appendix B, table B-4).
//!
//! A VMSA can be run only while its EFER has SVME set, and while it runs the processor keeps BUSY
//! set in it (24593,
//! 15.36.8 and 15.36.9). So the SVSM stops a vCPU by clearing SVME and waiting for BUSY to go; only
//! then are its registers anybody's to read and write.

use core::mem::offset_of;
use core::sync::atomic::Ordering;

use snp_defs::exit::VMGEXIT;
use snp_defs::vmsa::{EFER_SVME, Segment, VINTR_BUSY, Vmsa as Layout, sev_features};
use svsm::guest::{Exit, Registers};

use crate::features::GUEST_ALLOWED;
use crate::foreign::ForeignPage;

const EFER: usize = offset_of!(Layout, efer);
const VINTR_CTRL: usize = offset_of!(Layout, vintr_ctrl);
const EXIT_CODE: usize = offset_of!(Layout, guest_exit_code);
const SEV_FEATURES: usize = offset_of!(Layout, sev_features);
const RAX: usize = offset_of!(Layout, rax);
const RCX: usize = offset_of!(Layout, rcx);
const RDX: usize = offset_of!(Layout, rdx);
const R8: usize = offset_of!(Layout, r8);
const R9: usize = offset_of!(Layout, r9);

/// How often BUSY is looked at. A vCPU that the host runs elsewhere may run on for as long as the
/// host likes.
const PATIENCE: u32 = 10_000;

/// What must be zero in a VMSA that a guest made: reserved fields, and those in which the processor
/// remembers whose translations it still has, lest a flush be left out.
const ZERO: [(usize, usize); 10] = [
    (offset_of!(Layout, reserved_0d8), 104),
    (offset_of!(Layout, reserved_1c0), 24),
    (offset_of!(Layout, reserved_248), 32),
    (offset_of!(Layout, reserved_298), 80),
    (offset_of!(Layout, reg_prot_nonce), 8),
    (offset_of!(Layout, secure_avic_control), 8),
    (offset_of!(Layout, reserved_380), 16),
    (offset_of!(Layout, tlb_id), 16),
    (offset_of!(Layout, reserved_3f0), 16),
    (offset_of!(Layout, reserved_670), 2448),
];

/// A VMSA.
#[derive(Debug, Clone, Copy)]
pub struct Vmsa<'a>(&'a ForeignPage);

/// How a vCPU in 64-bit mode starts.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "registers; their names are the manual's")]
pub struct Start {
    pub vmpl: u8,
    pub sev_features: u64,
    pub cr0: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
    pub rip: u64,
    pub rsp: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub code_selector: u16,
    pub data_selector: u16,
    pub gdt_base: u64,
    pub gdt_limit: u32,
}

impl<'a> Vmsa<'a> {
    /// The VMSA in `page`.
    pub const fn new(page: &'a ForeignPage) -> Self {
        Self(page)
    }

    /// The SEV features that this vCPU runs with.
    pub fn sev_features(&self) -> u64 {
        self.0.read(SEV_FEATURES)
    }

    /// Whether this page, written by a guest and no longer within its reach, may become a vCPU at
    /// `vmpl`, by the wish of the vCPU `creator` (58019, 6.3: VMPL, SVME and SEV_FEATURES).
    pub fn may_run(&self, vmpl: u8, creator: &Vmsa<'_>) -> bool {
        let features = self.sev_features();
        // `reserved_0c8`, the VMPL, the CPL, `reserved_0cc`.
        let levels = self.0.read(offset_of!(Layout, reserved_0c8));
        levels & 0xFFFF_FFFF_00FF_FFFF == u64::from(vmpl) << 16
            && self.0.read(EFER) & EFER_SVME != 0
            && self.0.read(VINTR_CTRL) & VINTR_BUSY == 0
            && features == creator.sev_features()
            && features & sev_features::SNP_ACTIVE != 0
            && features & !GUEST_ALLOWED == 0
            && ZERO.iter().all(|&(offset, size)| {
                (offset..offset + size)
                    .step_by(8)
                    .all(|offset| self.0.read(offset) == 0)
            })
    }

    /// Lets the host run the vCPU.
    #[inline]
    pub fn start(&self) {
        self.0.word(EFER).fetch_or(EFER_SVME, Ordering::Release);
    }

    /// Sees to it that the host can't run the vCPU, and tells why it stopped. One that runs
    /// elsewhere is waited for a little, and then left as it was.
    #[inline]
    pub fn stop(&self) -> Exit {
        for _ in 0..PATIENCE {
            self.0.word(EFER).fetch_and(!EFER_SVME, Ordering::AcqRel);
            // The processor writes EFER, with SVME set, before it clears BUSY: look at both, in
            // this order.
            if self.0.word(VINTR_CTRL).load(Ordering::Acquire) & VINTR_BUSY == 0
                && self.0.read(EFER) & EFER_SVME == 0
            {
                return match self.0.read(EXIT_CODE) {
                    VMGEXIT => Exit::Call,
                    _ => Exit::Other,
                };
            }
            core::hint::spin_loop();
        }
        self.start();
        Exit::Running
    }

    /// The registers of a call.
    #[inline]
    pub fn registers(&self) -> Registers {
        Registers {
            rax: self.0.read(RAX),
            rcx: self.0.read(RCX),
            rdx: self.0.read(RDX),
            r8: self.0.read(R8),
            r9: self.0.read(R9),
        }
    }

    /// Writes the registers of a call.
    #[inline]
    pub fn set_registers(&self, registers: &Registers) {
        self.0.write(RAX, registers.rax);
        self.0.write(RCX, registers.rcx);
        self.0.write(RDX, registers.rdx);
        self.0.write(R8, registers.r8);
        self.0.write(R9, registers.r9);
    }

    /// Fills a page of zeros with the state in which a vCPU starts, ready to be run. What is not in
    /// `start` is as after reset (24593, 14.1.3), but for flat segments.
    pub fn fill(&self, start: &Start) {
        let code = segment(start.code_selector, 0xA9B, u32::MAX, 0);
        let data = segment(start.data_selector, 0xC93, u32::MAX, 0);
        for (offset, segment) in [
            (offset_of!(Layout, es), data),
            (offset_of!(Layout, cs), code),
            (offset_of!(Layout, ss), data),
            (offset_of!(Layout, ds), data),
            (offset_of!(Layout, fs), data),
            (offset_of!(Layout, gs), data),
            (
                offset_of!(Layout, gdtr),
                segment(0, 0, start.gdt_limit, start.gdt_base),
            ),
            (offset_of!(Layout, ldtr), segment(0, 0x82, 0xFFFF, 0)),
            (offset_of!(Layout, tr), segment(0, 0x8B, 0xFFFF, 0)),
        ] {
            self.0
                .write_bytes(offset, zerocopy::IntoBytes::as_bytes(&segment));
        }
        for (offset, value) in [
            (
                offset_of!(Layout, reserved_0c8),
                u64::from(start.vmpl) << 16,
            ),
            (offset_of!(Layout, cr4), start.cr4),
            (offset_of!(Layout, cr3), start.cr3),
            (offset_of!(Layout, cr0), start.cr0),
            (offset_of!(Layout, dr7), 0x400),
            (offset_of!(Layout, dr6), 0xFFFF_0FF0),
            (offset_of!(Layout, rflags), 2),
            (offset_of!(Layout, rip), start.rip),
            (offset_of!(Layout, rsp), start.rsp),
            (offset_of!(Layout, g_pat), 0x0007_0406_0007_0406),
            (offset_of!(Layout, rsi), start.rsi),
            (offset_of!(Layout, rdi), start.rdi),
            (offset_of!(Layout, sev_features), start.sev_features),
            (offset_of!(Layout, xcr0), 1),
            // MXCSR, and the x87 control word behind tag and status words.
            (offset_of!(Layout, mxcsr), 0x1F80),
            (offset_of!(Layout, x87_fcw), 0x037F),
            (EFER, start.efer | EFER_SVME),
        ] {
            self.0.write(offset, value);
        }
    }
}

const fn segment(selector: u16, attributes: u16, limit: u32, base: u64) -> Segment {
    Segment {
        selector,
        attributes,
        limit,
        base,
    }
}

// What is written and compared by whole words above.
const _: () = {
    assert!(offset_of!(Layout, reserved_0c8) % 8 == 0);
    assert!(offset_of!(Layout, vmpl) == offset_of!(Layout, reserved_0c8) + 2);
    assert!(offset_of!(Layout, mxcsr) % 8 == 0);
    assert!(offset_of!(Layout, x87_fcw) % 8 == 0);
};

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromBytes;

    const START: Start = Start {
        vmpl: 2,
        sev_features: sev_features::SNP_ACTIVE,
        cr0: 0x8000_0011,
        cr3: 1 << 51,
        cr4: 0x20,
        efer: 0x500,
        rip: 0x10_0000,
        rsp: 0x8000,
        rsi: 0x7000,
        rdi: 0,
        code_selector: 0x10,
        data_selector: 0x18,
        gdt_base: 0x6000,
        gdt_limit: 0x1F,
    };

    fn page() -> ForeignPage {
        let page = ForeignPage::zeroed();
        Vmsa::new(&page).fill(&START);
        page
    }

    fn layout(page: &ForeignPage) -> Box<Layout> {
        let mut bytes = vec![0; 4096];
        page.read_bytes(0, &mut bytes);
        Box::new(Layout::read_from_bytes(&bytes).unwrap())
    }

    #[test]
    fn a_vcpu_starts_as_it_should() {
        let vmsa = layout(&page());
        assert_eq!(vmsa.vmpl, 2);
        assert_eq!(vmsa.cpl, 0);
        assert_eq!(vmsa.efer, 0x1500);
        assert_eq!(vmsa.cs, segment(0x10, 0xA9B, u32::MAX, 0));
        assert_eq!(vmsa.ss, segment(0x18, 0xC93, u32::MAX, 0));
        assert_eq!(vmsa.gdtr.base, 0x6000);
        assert_eq!(vmsa.gdtr.limit, 0x1F);
        assert_eq!(vmsa.rip, 0x10_0000);
        assert_eq!(vmsa.rsi, 0x7000);
        assert_eq!(vmsa.mxcsr, 0x1F80);
        assert_eq!(vmsa.x87_fcw, 0x37F);
        assert_eq!(vmsa.x87_ftw, 0);
        assert_eq!(vmsa.xcr0, 1);
        assert_eq!(vmsa.sev_features, 1);
    }

    /// Whether a page with one word changed may become a vCPU.
    fn may_run_with(offset: usize, value: u64) -> bool {
        let creator = page();
        let new = page();
        new.write(offset, value);
        Vmsa::new(&new).may_run(2, &Vmsa::new(&creator))
    }

    #[test]
    fn a_guest_makes_vcpus_of_its_own_kind_only() {
        assert!(may_run_with(RAX, 5));
        assert!(
            may_run_with(offset_of!(Layout, reserved_0c8), (2 << 16) | (3 << 24)),
            "any CPL"
        );
        // A vCPU of the SVSM's own VMPL, or of another.
        for vmpl in [0, 1, 3] {
            assert!(!may_run_with(offset_of!(Layout, reserved_0c8), vmpl << 16));
        }
        assert!(!may_run_with(EFER, 0x500), "without SVME");
        assert!(!may_run_with(VINTR_CTRL, VINTR_BUSY), "busy from the start");
        for features in [0, 3, 1 | sev_features::RESTRICTED_INJECTION, 1 | (1 << 40)] {
            assert!(!may_run_with(SEV_FEATURES, features));
        }
    }

    #[test]
    fn reserved_fields_are_zero() {
        for offset in [
            0xC8, 0xCC, 0xD8, 0x138, 0x1C0, 0x1D0, 0x248, 0x298, 0x2E0, 0x300, 0x320, 0x380, 0x388,
            0x3D0, 0x3D8, 0x3F0, 0x3F8, 0x670, 0xFF8,
        ] {
            let word = offset & !7;
            let at = 8 * (offset & 7);
            let good = page().read(word);
            assert!(!may_run_with(word, good | (1 << at)), "{offset:#x}");
        }
    }

    #[test]
    fn features_that_the_creator_has_not_are_refused_though_harmless() {
        assert!(!may_run_with(SEV_FEATURES, 1 | sev_features::DEBUG_SWAP));
        let (creator, new) = (page(), page());
        for page in [&creator, &new] {
            page.write(SEV_FEATURES, 1 | sev_features::DEBUG_SWAP);
        }
        assert!(Vmsa::new(&new).may_run(2, &Vmsa::new(&creator)));
    }

    #[test]
    fn a_stopped_vcpu_can_not_be_run() {
        let page = page();
        let vmsa = Vmsa::new(&page);
        page.write(EXIT_CODE, VMGEXIT);
        assert_eq!(vmsa.stop(), Exit::Call);
        assert_eq!(page.read(EFER), 0x500);
        vmsa.start();
        assert_eq!(page.read(EFER), 0x1500);
        page.write(EXIT_CODE, 0x60);
        assert_eq!(vmsa.stop(), Exit::Other);
    }

    #[test]
    fn a_vcpu_that_the_host_keeps_running_is_left_alone() {
        let page = page();
        page.write(VINTR_CTRL, VINTR_BUSY);
        page.write(EXIT_CODE, VMGEXIT);
        assert_eq!(Vmsa::new(&page).stop(), Exit::Running);
        assert_eq!(page.read(EFER), 0x1500);
    }

    #[test]
    fn call_registers_are_where_the_guest_has_them() {
        let page = page();
        let registers = Registers {
            rax: 1,
            rcx: 2,
            rdx: 3,
            r8: 4,
            r9: 5,
        };
        Vmsa::new(&page).set_registers(&registers);
        assert_eq!(Vmsa::new(&page).registers(), registers);
        let vmsa = layout(&page);
        assert_eq!(
            [vmsa.rax, vmsa.rcx, vmsa.rdx, vmsa.r8, vmsa.r9],
            [1, 2, 3, 4, 5]
        );
    }
}
