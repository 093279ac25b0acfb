// SPDX-License-Identifier: MIT OR Apache-2.0
//! The VMSA page: where a vCPU's registers live while it does not run (APM vol. 2, 15.35.2, 15.36.12
//! and appendix B, table B-4).
//!
//! [`enter`] is what VMRUN does with the page, [`leave`] what #VMEXIT does. Between them the page is
//! *in use*: marked in the RMP, so that neither RMPADJUST nor the host can take it away, and BUSY in
//! itself, so that it can't run twice. The host half may leave a VMSA entered across exits that do not
//! switch: software can't tell this from a vCPU that runs. It has to leave when another VMPL runs on
//! the vCPU, or when the vCPU waits.
//!
//! The page is private memory of the guest, which a more privileged VMPL writes while we read: it is
//! taken as atomic words, and read once.

use core::sync::atomic::{AtomicU64, Ordering};

use snp_defs::vmsa::{EFER_SVME, Segment, VINTR_BUSY, Vmsa, sev_features};

use super::refusal::Refusal;
use super::rmp::Rmp;

mod state;

/// A VMSA page in memory.
pub type Page = [AtomicU64; 512];

/// Bits of SEV_FEATURES that the emulated machine offers.
pub const OFFERED_FEATURES: u64 = sev_features::SNP_ACTIVE | sev_features::RESTRICTED_INJECTION;

/// Words of the page that hold something: up to the end of the YMM registers.
const USED_WORDS: usize = 0x670 / 8;
const VINTR_WORD: usize = 0x3B8 / 8;

/// General registers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "registers; their names are the manual's")]
pub struct Gprs {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub rsp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
}

/// x87, SSE and AVX registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Fpu {
    /// An FXSAVE image in the 64-bit format.
    pub fxsave: [u8; 512],
    /// Upper halves of YMM0 to YMM15.
    pub ymm_high: [u8; 256],
}

/// What a vCPU is while it runs: all that VMRUN loads and #VMEXIT stores for an SNP guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "registers; their names are the manual's")]
pub struct GuestState {
    pub es: Segment,
    pub cs: Segment,
    pub ss: Segment,
    pub ds: Segment,
    pub fs: Segment,
    pub gs: Segment,
    pub gdtr: Segment,
    pub ldtr: Segment,
    pub idtr: Segment,
    pub tr: Segment,
    pub vmpl: u8,
    pub cpl: u8,
    /// With SVME set, as the VMCB needs it; the guest reads it so too.
    pub efer: u64,
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub dr6: u64,
    pub dr7: u64,
    /// DR0 to DR3.
    pub dr: [u64; 4],
    pub rflags: u64,
    pub rip: u64,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub g_pat: u64,
    pub dbgctl: u64,
    pub br_from: u64,
    pub br_to: u64,
    pub last_excp_from: u64,
    pub last_excp_to: u64,
    pub xss: u64,
    pub xcr0: u64,
    pub pkru: u32,
    pub tsc_aux: u32,
    pub gprs: Gprs,
    pub fpu: Fpu,
    /// Not stored by [`leave`]: the guest's software owns it.
    pub sev_features: u64,
}

/// Why the vCPU stopped, as #VMEXIT stores it in the VMSA.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields; their names are the manual's")]
pub struct Exit {
    pub code: u64,
    pub info1: u64,
    pub info2: u64,
    pub int_info: u64,
    pub next_rip: u64,
}

/// VMRUN: marks the VMSA at `gpa` as in use, checks it, and reads the registers. `page` is its private
/// backing; `vmpl` is where the host wants to run it.
///
/// # Errors
/// As hardware; the VMSA is as it was. [`Refusal::Busy`] is VMEXIT_BUSY, all others VMEXIT_INVALID.
pub fn enter(rmp: &Rmp<'_>, page: &Page, gpa: u64, vmpl: u8) -> Result<GuestState, Refusal> {
    rmp.claim_vmsa(gpa)?;
    let result = if page[VINTR_WORD].fetch_or(VINTR_BUSY, Ordering::AcqRel) & VINTR_BUSY != 0 {
        Err(Refusal::Busy)
    } else {
        let vmsa = read(page);
        let checked = check(&vmsa, vmpl).map(|()| GuestState::from_vmsa(&vmsa));
        if checked.is_err() {
            page[VINTR_WORD].fetch_and(!VINTR_BUSY, Ordering::AcqRel);
        }
        checked
    };
    if result.is_err() {
        rmp.release_vmsa(gpa);
    }
    result
}

/// #VMEXIT: stores the registers and the reason in the VMSA at `gpa`, and lets go of it.
pub fn leave(rmp: &Rmp<'_>, page: &Page, gpa: u64, state: &GuestState, exit: &Exit) {
    let before: [u64; 512] = words(page);
    let mut vmsa: Vmsa = zerocopy::transmute!(before);
    state.store(&mut vmsa);
    vmsa.guest_exit_code = exit.code;
    vmsa.guest_exit_info1 = exit.info1;
    vmsa.guest_exit_info2 = exit.info2;
    vmsa.guest_exit_int_info = exit.int_info;
    vmsa.guest_nrip = exit.next_rip;
    let after: [u64; 512] = zerocopy::transmute!(vmsa);
    for (index, (old, new)) in before.iter().zip(after).enumerate().take(USED_WORDS) {
        if *old != new {
            page[index].store(new, Ordering::Relaxed);
        }
    }
    page[VINTR_WORD].fetch_and(!VINTR_BUSY, Ordering::AcqRel);
    rmp.release_vmsa(gpa);
}

/// The checks of VMRUN on the contents of a VMSA that the host wants to run at `vmpl`
/// (APM vol. 2, 15.36.12).
///
/// # Errors
/// VMEXIT_INVALID.
pub fn check(vmsa: &Vmsa, vmpl: u8) -> Result<(), Refusal> {
    if vmsa.vmpl != vmpl {
        return Err(Refusal::WrongVmpl { vmsa: vmsa.vmpl });
    }
    if vmsa.efer & EFER_SVME == 0 {
        return Err(Refusal::SvmeClear);
    }
    check_features(vmsa.sev_features)
}

/// The checks of VMRUN on SEV_FEATURES.
///
/// # Errors
/// The bit that is missing or not offered.
pub fn check_features(features: u64) -> Result<(), Refusal> {
    let unknown = features & !OFFERED_FEATURES;
    if unknown != 0 {
        return Err(Refusal::Feature {
            bit: unknown.trailing_zeros(),
        });
    }
    if features & sev_features::SNP_ACTIVE == 0 {
        return Err(Refusal::NotSnpActive);
    }
    Ok(())
}

/// A copy of the page, for reports and checks without entering it.
pub fn read(page: &Page) -> Vmsa {
    zerocopy::transmute!(words(page))
}

fn words(page: &Page) -> [u64; 512] {
    let mut words = [0; 512];
    for (word, from) in words.iter_mut().zip(page).take(USED_WORDS) {
        *word = from.load(Ordering::Relaxed);
    }
    words
}

impl Default for Fpu {
    fn default() -> Self {
        Self {
            fxsave: [0; 512],
            ymm_high: [0; 256],
        }
    }
}

#[cfg(test)]
mod tests;
