// SPDX-License-Identifier: MIT OR Apache-2.0
//! Between the VMSA's layout and [`GuestState`].

use snp_defs::vmsa::Vmsa;

use super::{Fpu, Gprs, GuestState};

/// Fields that have the same name and type on both sides.
macro_rules! same_fields {
    ($each:ident) => {
        $each!(
            es,
            cs,
            ss,
            ds,
            fs,
            gs,
            gdtr,
            ldtr,
            idtr,
            tr,
            cpl,
            efer,
            cr0,
            cr2,
            cr3,
            cr4,
            dr6,
            dr7,
            dr,
            rflags,
            rip,
            star,
            lstar,
            cstar,
            sfmask,
            kernel_gs_base,
            sysenter_cs,
            sysenter_esp,
            sysenter_eip,
            g_pat,
            dbgctl,
            br_from,
            br_to,
            last_excp_from,
            last_excp_to,
            xss,
            xcr0,
            pkru,
            tsc_aux
        )
    };
}

macro_rules! same_gprs {
    ($each:ident) => {
        $each!(
            rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, r12, r13, r14, r15
        )
    };
}

impl GuestState {
    /// What a VMSA holds.
    pub fn from_vmsa(vmsa: &Vmsa) -> Self {
        macro_rules! gprs {
            ($($name:ident),*) => { Gprs { $($name: vmsa.$name),* } };
        }
        macro_rules! state {
            ($($name:ident),*) => {
                Self {
                    $($name: vmsa.$name,)*
                    vmpl: vmsa.vmpl,
                    gprs: same_gprs!(gprs),
                    fpu: Fpu::from_vmsa(vmsa),
                    sev_features: vmsa.sev_features,
                }
            };
        }
        same_fields!(state)
    }

    /// Stores all that #VMEXIT stores; VMPL and SEV_FEATURES are not among it.
    pub fn store(&self, vmsa: &mut Vmsa) {
        macro_rules! gprs {
            ($($name:ident),*) => { $(vmsa.$name = self.gprs.$name;)* };
        }
        macro_rules! state {
            ($($name:ident),*) => { $(vmsa.$name = self.$name;)* };
        }
        same_fields!(state);
        same_gprs!(gprs);
        self.fpu.store(vmsa);
    }
}

/// Offsets in an FXSAVE image of the 64-bit format (APM vol. 2, 11.4.4).
mod fxsave {
    use core::ops::Range;
    pub(super) const FCW: Range<usize> = 0..2;
    pub(super) const FSW: Range<usize> = 2..4;
    pub(super) const FTW: usize = 4;
    pub(super) const FOP: Range<usize> = 6..8;
    pub(super) const RIP: Range<usize> = 8..16;
    pub(super) const RDP: Range<usize> = 16..24;
    pub(super) const MXCSR: Range<usize> = 24..28;
    pub(super) const ST0: usize = 32;
    pub(super) const XMM: Range<usize> = 160..416;
}

impl Fpu {
    fn from_vmsa(vmsa: &Vmsa) -> Self {
        let mut fpu = Self::default();
        let image = &mut fpu.fxsave;
        image[fxsave::FCW].copy_from_slice(&vmsa.x87_fcw.to_le_bytes());
        image[fxsave::FSW].copy_from_slice(&vmsa.x87_fsw.to_le_bytes());
        image[fxsave::FTW] = abridged_tags(vmsa.x87_ftw);
        image[fxsave::FOP].copy_from_slice(&vmsa.x87_fop.to_le_bytes());
        image[fxsave::RIP].copy_from_slice(&vmsa.x87_rip.to_le_bytes());
        image[fxsave::RDP].copy_from_slice(&vmsa.x87_dp.to_le_bytes());
        image[fxsave::MXCSR].copy_from_slice(&vmsa.mxcsr.to_le_bytes());
        for (n, register) in vmsa.fpreg_x87.chunks_exact(10).enumerate() {
            let at = fxsave::ST0 + 16 * n;
            image[at..at + 10].copy_from_slice(register);
        }
        image[fxsave::XMM].copy_from_slice(&vmsa.fpreg_xmm);
        fpu.ymm_high = vmsa.fpreg_ymm;
        fpu
    }

    fn store(&self, vmsa: &mut Vmsa) {
        let image = &self.fxsave;
        let half = |at: core::ops::Range<usize>| {
            u16::from_le_bytes([image[at.start], image[at.start + 1]])
        };
        let long = |at: core::ops::Range<usize>| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&image[at]);
            u64::from_le_bytes(bytes)
        };
        vmsa.x87_fcw = half(fxsave::FCW);
        vmsa.x87_fsw = half(fxsave::FSW);
        vmsa.x87_fop = half(fxsave::FOP);
        vmsa.x87_rip = long(fxsave::RIP);
        vmsa.x87_dp = long(fxsave::RDP);
        // The 64-bit format has no selectors.
        vmsa.x87_cs = 0;
        vmsa.x87_ds = 0;
        let at = fxsave::MXCSR.start;
        vmsa.mxcsr = u32::from_le_bytes([image[at], image[at + 1], image[at + 2], image[at + 3]]);
        for (n, register) in vmsa.fpreg_x87.chunks_exact_mut(10).enumerate() {
            let at = fxsave::ST0 + 16 * n;
            register.copy_from_slice(&image[at..at + 10]);
        }
        let top = (vmsa.x87_fsw >> 11) & 7;
        vmsa.x87_ftw = full_tags(image[fxsave::FTW], top as usize, &vmsa.fpreg_x87);
        vmsa.fpreg_xmm.copy_from_slice(&image[fxsave::XMM]);
        vmsa.fpreg_ymm = self.ymm_high;
    }
}

/// The tag byte of FXSAVE: a bit for each register, set when it is not empty (tag 3).
fn abridged_tags(full: u16) -> u8 {
    (0..8).fold(0, |tags, n| {
        tags | (u8::from((full >> (2 * n)) & 3 != 3) << n)
    })
}

/// The tag word of the VMSA, worked out from what the registers hold (APM vol. 1, 6.2.5): 0 valid,
/// 1 zero, 2 special, 3 empty. Tags count physical registers, `stack` counts from the top.
fn full_tags(abridged: u8, top: usize, stack: &[u8; 80]) -> u16 {
    (0..8).fold(0, |tags, physical: usize| {
        let tag = if abridged & (1 << physical) == 0 {
            3
        } else {
            let at = 10 * ((physical + 8 - top) % 8);
            tag_of(&stack[at..at + 10])
        };
        tags | (tag << (2 * physical))
    })
}

fn tag_of(register: &[u8]) -> u16 {
    let exponent = u16::from_le_bytes([register[8], register[9]]) & 0x7FFF;
    let fraction = &register[..8];
    match exponent {
        0 if fraction.iter().all(|byte| *byte == 0) => 1,
        0 | 0x7FFF => 2,
        // Without the integer bit: an unnormal.
        _ if fraction[7] & 0x80 == 0 => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    /// The x87 part of a VMSA as the processor has it after reset (APM vol. 2, 14.1.3).
    #[test]
    fn reset_tags_survive_the_round_trip() {
        let mut vmsa = Vmsa::new_zeroed();
        vmsa.x87_ftw = 0x5555;
        vmsa.x87_fcw = 0x40;
        vmsa.mxcsr = 0x1F80;
        let state = GuestState::from_vmsa(&vmsa);
        assert_eq!(state.fpu.fxsave[fxsave::FTW], 0xFF);
        let mut back = Vmsa::new_zeroed();
        state.store(&mut back);
        assert_eq!(back, vmsa);
    }

    #[test]
    fn tags_follow_the_values() {
        let mut stack = [0u8; 80];
        // ST0 = 1.0, with TOP = 7: physical register 7.
        stack[7] = 0x80;
        stack[8..10].copy_from_slice(&0x3FFFu16.to_le_bytes());
        assert_eq!(full_tags(0x80, 7, &stack), 0x3FFF);
        // ST1 = physical register 0 = +0.
        assert_eq!(full_tags(0x81, 7, &stack), 0x3FFD);
        // An infinity is special.
        stack[8..10].copy_from_slice(&0x7FFFu16.to_le_bytes());
        assert_eq!(full_tags(0x80, 7, &stack), 0xBFFF);
    }

    #[test]
    fn what_the_guest_owns_is_not_stored() {
        let mut vmsa = Vmsa::new_zeroed();
        vmsa.vmpl = 2;
        vmsa.sev_features = 1;
        let mut state = GuestState::from_vmsa(&vmsa);
        state.vmpl = 0;
        state.sev_features = 9;
        state.store(&mut vmsa);
        assert_eq!((vmsa.vmpl, vmsa.sev_features), (2, 1));
    }

    mod property {
        use super::*;
        use proptest::prelude::*;
        use zerocopy::FromBytes;

        proptest! {
            /// All that is loaded is stored again where it was, whatever the page holds; tags are
            /// worked out anew.
            #[test]
            fn load_then_store_is_identity(bytes in proptest::collection::vec(any::<u8>(), 4096)) {
                let vmsa = Vmsa::read_from_bytes(&bytes).unwrap();
                let state = GuestState::from_vmsa(&vmsa);
                let mut back = vmsa;
                state.store(&mut back);
                prop_assert_eq!(abridged_tags(back.x87_ftw), abridged_tags(vmsa.x87_ftw));
                prop_assert_eq!((back.x87_cs, back.x87_ds), (0, 0));
                back.x87_ftw = vmsa.x87_ftw;
                back.x87_cs = vmsa.x87_cs;
                back.x87_ds = vmsa.x87_ds;
                prop_assert!(back == vmsa);
            }
        }
    }
}
