// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way of a level's registers: from its VMSA into control block and processor, and back.

use emulator::snp::vmsa::{self, Fpu, GuestState};
use emulator::vmcb::Gprs;

use super::Level;
use crate::svm::fpu;

impl Level {
    /// Puts the registers of a VMSA into the control block and the processor. The VMSA may be another
    /// one than before, or may have been written to, so its translations are as KVM treats those of
    /// a VMCB that comes to a processor: flushed.
    pub(crate) fn load(&mut self, state: &GuestState) {
        self.translations.owe();
        let save = &mut self.block.save;
        save.es = state.es;
        save.cs = state.cs;
        save.ss = state.ss;
        save.ds = state.ds;
        save.fs = state.fs;
        save.gs = state.gs;
        save.gdtr = state.gdtr;
        save.ldtr = state.ldtr;
        save.idtr = state.idtr;
        save.tr = state.tr;
        save.cpl = state.cpl;
        save.efer = state.efer;
        save.cr0 = state.cr0;
        save.cr2 = state.cr2;
        save.cr3 = state.cr3;
        save.cr4 = state.cr4;
        save.dr6 = state.dr6;
        save.dr7 = state.dr7;
        save.rflags = state.rflags;
        save.rip = state.rip;
        save.rsp = state.gprs.rsp;
        save.rax = state.gprs.rax;
        save.star = state.star;
        save.lstar = state.lstar;
        save.cstar = state.cstar;
        save.sfmask = state.sfmask;
        save.kernel_gs_base = state.kernel_gs_base;
        save.sysenter_cs = state.sysenter_cs;
        save.sysenter_esp = state.sysenter_esp;
        save.sysenter_eip = state.sysenter_eip;
        save.g_pat = state.g_pat;
        save.dbgctl = state.dbgctl;
        save.br_from = state.br_from;
        save.br_to = state.br_to;
        save.last_excp_from = state.last_excp_from;
        save.last_excp_to = state.last_excp_to;
        self.gprs = Gprs {
            rcx: state.gprs.rcx,
            rdx: state.gprs.rdx,
            rbx: state.gprs.rbx,
            rbp: state.gprs.rbp,
            rsi: state.gprs.rsi,
            rdi: state.gprs.rdi,
            r8: state.gprs.r8,
            r9: state.gprs.r9,
            r10: state.gprs.r10,
            r11: state.gprs.r11,
            r12: state.gprs.r12,
            r13: state.gprs.r13,
            r14: state.gprs.r14,
            r15: state.gprs.r15,
        };
        self.xss = state.xss;
        self.xcr0 = state.xcr0;
        self.pkru = state.pkru;
        self.sev_features = state.sev_features;
        fpu::load(&state.fpu.fxsave);
        fpu::set_debug_addresses(&state.dr);
        fpu::set_tsc_aux(state.tsc_aux);
    }

    /// Takes the registers out of the control block and the processor.
    pub(crate) fn unload(&self) -> GuestState {
        let save = &self.block.save;
        let gprs = &self.gprs;
        GuestState {
            es: save.es,
            cs: save.cs,
            ss: save.ss,
            ds: save.ds,
            fs: save.fs,
            gs: save.gs,
            gdtr: save.gdtr,
            ldtr: save.ldtr,
            idtr: save.idtr,
            tr: save.tr,
            vmpl: self.vmpl,
            cpl: save.cpl,
            efer: save.efer,
            cr0: save.cr0,
            cr2: save.cr2,
            cr3: save.cr3,
            cr4: save.cr4,
            dr6: save.dr6,
            dr7: save.dr7,
            dr: fpu::debug_addresses(),
            rflags: save.rflags,
            rip: save.rip,
            star: save.star,
            lstar: save.lstar,
            cstar: save.cstar,
            sfmask: save.sfmask,
            kernel_gs_base: save.kernel_gs_base,
            sysenter_cs: save.sysenter_cs,
            sysenter_esp: save.sysenter_esp,
            sysenter_eip: save.sysenter_eip,
            g_pat: save.g_pat,
            dbgctl: save.dbgctl,
            br_from: save.br_from,
            br_to: save.br_to,
            last_excp_from: save.last_excp_from,
            last_excp_to: save.last_excp_to,
            xss: self.xss,
            xcr0: self.xcr0,
            pkru: self.pkru,
            tsc_aux: fpu::tsc_aux(),
            gprs: vmsa::Gprs {
                rax: save.rax,
                rbx: gprs.rbx,
                rcx: gprs.rcx,
                rdx: gprs.rdx,
                rsi: gprs.rsi,
                rdi: gprs.rdi,
                rbp: gprs.rbp,
                rsp: save.rsp,
                r8: gprs.r8,
                r9: gprs.r9,
                r10: gprs.r10,
                r11: gprs.r11,
                r12: gprs.r12,
                r13: gprs.r13,
                r14: gprs.r14,
                r15: gprs.r15,
            },
            fpu: Fpu {
                fxsave: fpu::save().0,
                ymm_high: [0; 256],
            },
            sev_features: self.sev_features,
        }
    }
}
