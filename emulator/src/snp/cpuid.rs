// SPDX-License-Identifier: MIT OR Apache-2.0
//! What CPUID says in the emulated machine, and the CPUID page.
//!
//! One policy answers everywhere: the MSR protocol, the GHCB's CPUID event and the CPUID page. It
//! starts from what the real processor says, lets through what is on a list (`cpuid/offered.rs`), and adds
//! what the emulator provides: x2APIC, the TSC-deadline timer, INVLPGB, SEV. A feature that no list
//! has is hidden, so a newer QEMU does not change the machine, let alone offer a guest what the
//! emulator does not carry from one VMPL to another. Five-level paging and SVM are the emulator's
//! own. XSAVE and what needs it are hidden too: TCG has neither XSAVEC nor XSAVES, without which an
//! SNP guest refuses the CPUID page (Linux: `snp_cpuid_calc_xsave_size`), so the largest basic leaf
//! is 0xC.
//!
//! **The CPUID page.** QEMU has no contents for the CPUID page of an IGVM file: the host fills the
//! page with what its vCPUs will say, and the firmware checks it before it enters the guest. So it
//! is here: [`Policy::page`] is the host, [`Policy::check`] the firmware.
#![forbid(unsafe_code)]

mod offered;

use snp_defs::VMPL_COUNT;
use snp_defs::cpuid::{CpuidPage, Function, MAX_FUNCTIONS};
use zerocopy::FromZeros;

use super::firmware::Status;
use crate::kvm_clock;
use offered::Kind;

pub use offered::INVLPGB_COUNT_MAX;

/// EAX, EBX, ECX and EDX.
pub type Registers = [u32; 4];

/// The real CPUID: leaf, sub-leaf to registers.
pub type Raw<'a> = &'a dyn Fn(u32, u32) -> Registers;

/// Greatest basic leaf.
pub const MAX_BASIC: u32 = 0xC;
/// Greatest leaf of the hypervisor's range: KVM's features.
pub const MAX_HYPERVISOR: u32 = 0x4000_0001;
/// Greatest extended leaf: the one about encrypted memory.
pub const MAX_EXTENDED: u32 = 0x8000_001F;

/// Twelve bytes that name the hypervisor: KVM, for its clock ([`kvm_clock`]).
const SIGNATURE: &[u8; 12] = kvm_clock::SIGNATURE;
/// The same of QEMU's own emulation.
const SIGNATURE_TCG: &[u8; 12] = b"TCGTCGTCGTCG";
/// Bits of a guest's addresses, physical (the C-bit aside) and linear.
const ADDRESS_BITS: u32 = 48 | 48 << 8;
/// Physical address bits that memory encryption costs (leaf 0x8000001F; QEMU asks its user for it,
/// who always says 1).
const REDUCED_BITS: u32 = 1;

/// The policy for a machine.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    vcpus: u32,
}

impl Policy {
    /// For `vcpus` vCPUs, one core each in one package, with the APIC ids 0 to `vcpus - 1`.
    pub const fn new(vcpus: u32) -> Self {
        Self { vcpus }
    }

    /// What CPUID says to the vCPU with `apic_id`.
    pub fn answer(&self, raw: Raw<'_>, apic_id: u32, leaf: u32, sub_leaf: u32) -> Registers {
        let raw = |leaf, sub_leaf| in_range(raw, leaf, sub_leaf);
        let [eax, ebx, ecx, edx] = raw(leaf, sub_leaf);
        match leaf {
            0x0 => [MAX_BASIC, ebx, ecx, edx],
            0x1 => [
                eax,
                (ebx & 0xFF00) | self.vcpus.min(0xFF) << 16 | (apic_id & 0xFF) << 24,
                ecx & offered::LEAF_1_ECX | offered::ADDED_LEAF_1_ECX,
                edx & offered::LEAF_1_EDX | self.if_several(1 << 28),
            ],
            // Always-running APIC timer: the emulator's does not stop.
            0x6 => [1 << 2, 0, 0, 0],
            0x7 if sub_leaf == 0 => [
                0,
                ebx & offered::LEAF_7_EBX,
                ecx & offered::LEAF_7_ECX,
                edx & offered::LEAF_7_EDX,
            ],
            0xB => self.topology(apic_id, sub_leaf),
            0x4000_0000 => {
                let [ebx, ecx, edx] = words(SIGNATURE);
                [MAX_HYPERVISOR, ebx, ecx, edx]
            }
            0x4000_0001 => [kvm_clock::FEATURES, 0, 0, 0],
            0x8000_0000 => [MAX_EXTENDED, ebx, ecx, edx],
            0x8000_0001 => [
                eax,
                0,
                ecx & offered::LEAF_8000_0001_ECX | self.if_several(1 << 1),
                edx & offered::LEAF_8000_0001_EDX,
            ],
            // The processor's name; caches and translation caches.
            0x8000_0002..=0x8000_0006 | 0x8000_0019 => [eax, ebx, ecx, edx],
            0x8000_0007 => [0, 0, 0, edx & INVARIANT_TSC | tcg(raw(0x4000_0000, 0))],
            0x8000_0008 => [
                ADDRESS_BITS,
                ebx & offered::LEAF_8000_0008_EBX | offered::ADDED_LEAF_8000_0008_EBX,
                (self.vcpus.saturating_sub(1)).min(0xFF) | self.id_bits() << 12,
                u32::from(INVLPGB_COUNT_MAX),
            ],
            // One thread a core, one node.
            0x8000_001E => [apic_id, apic_id & 0xFF, 0, 0],
            0x8000_001F => [
                offered::SEV,
                emulator_defs::layout::C_BIT | REDUCED_BITS << 6 | (VMPL_COUNT as u32) << 12,
                0,
                0,
            ],
            _ => [0; 4],
        }
    }

    /// The CPUID page as the host fills it before the firmware checks it: all functions that do not
    /// answer with zeros only (a guest takes those that are missing for zeros).
    pub fn page(&self, raw: Raw<'_>) -> CpuidPage {
        let mut page = CpuidPage::new_zeroed();
        let leaves = (0..=MAX_BASIC)
            .chain(0x4000_0000..=MAX_HYPERVISOR)
            .chain(0x8000_0000..=MAX_EXTENDED);
        for leaf in leaves {
            // The topology is the only one with several parts here.
            for sub_leaf in 0..if leaf == 0xB { 2 } else { 1 } {
                let [eax, ebx, ecx, edx] = self.answer(raw, 0, leaf, sub_leaf);
                if [eax, ebx, ecx, edx] == [0; 4] {
                    continue;
                }
                let Some(function) = page.functions.get_mut(page.count as usize) else {
                    return page;
                };
                *function = Function {
                    eax_in: leaf,
                    ecx_in: sub_leaf,
                    eax,
                    ebx,
                    ecx,
                    edx,
                    ..Function::default()
                };
                page.count += 1;
            }
        }
        page
    }

    /// The firmware's check of a CPUID page (56860, 8.17.2.6): what the processor does not bear out
    /// is corrected, and the status says so.
    ///
    /// Less than the processor has is allowed in feature words, anything in what depends on the
    /// vCPU and in the hypervisor's own range; all else has to be as it is. (The rules for single
    /// functions are AMD's and not published as a whole; these are as strict as any of them.)
    ///
    /// # Errors
    /// [`Status::InvalidParameter`] when something had to be corrected; the page may be added again
    /// as it is now.
    pub fn check(&self, raw: Raw<'_>, page: &mut CpuidPage) -> Result<(), Status> {
        let before = *page;
        page.reserved = 0;
        page.reserved1 = 0;
        page.padding.fill(0);
        page.count = page.count.min(MAX_FUNCTIONS as u32);
        let (used, unused) = page.functions.split_at_mut(page.count as usize);
        unused.fill(Function::default());
        for function in used {
            self.check_function(raw, function);
        }
        if zerocopy::IntoBytes::as_bytes(page) == zerocopy::IntoBytes::as_bytes(&before) {
            Ok(())
        } else {
            Err(Status::InvalidParameter)
        }
    }

    fn check_function(&self, raw: Raw<'_>, function: &mut Function) {
        let real = self.answer(raw, 0, function.eax_in, function.ecx_in);
        function.reserved = 0;
        // No function here depends on them.
        function.xcr0_in = 0;
        function.xss_in = 0;
        let claimed = [
            &mut function.eax,
            &mut function.ebx,
            &mut function.ecx,
            &mut function.edx,
        ];
        for (register, (claimed, real)) in claimed.into_iter().zip(real).enumerate() {
            match offered::kind(function.eax_in, register) {
                Kind::Features => *claimed &= real,
                Kind::Limit => *claimed = (*claimed).min(real),
                Kind::Free => {}
                Kind::Exact => *claimed = real,
            }
        }
    }

    /// Leaf 0xB: threads of a core (one), then cores of the package (all).
    fn topology(&self, apic_id: u32, sub_leaf: u32) -> Registers {
        const THREADS: u32 = 1 << 8;
        const CORES: u32 = 2 << 8;
        match sub_leaf {
            0 => [0, 1, THREADS, apic_id],
            1 => [self.id_bits(), self.vcpus, CORES | 1, apic_id],
            _ => [0, 0, sub_leaf & 0xFF, apic_id],
        }
    }

    /// Number of bits of an APIC id that tell the vCPUs apart.
    const fn id_bits(&self) -> u32 {
        self.vcpus.next_power_of_two().trailing_zeros()
    }

    const fn if_several(&self, bit: u32) -> u32 {
        if self.vcpus > 1 { bit } else { 0 }
    }
}

/// EDX of leaf 0x80000007: the time-stamp counter runs at one rate, always.
const INVARIANT_TSC: u32 = 1 << 8;

/// TCG does not say that its time-stamp counter is invariant, but it is: all of QEMU's vCPUs read
/// one virtual clock.
fn tcg([_, ebx, ecx, edx]: Registers) -> u32 {
    if [ebx, ecx, edx] == words(SIGNATURE_TCG) {
        INVARIANT_TSC
    } else {
        0
    }
}

const fn words(text: &[u8; 12]) -> [u32; 3] {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *text;
    [
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
        u32::from_le_bytes([i, j, k, l]),
    ]
}

/// The real CPUID, with zeros for leaves that the processor does not have. (Asked for one, it may
/// answer with another.)
fn in_range(raw: Raw<'_>, leaf: u32, sub_leaf: u32) -> Registers {
    let first = leaf & 0xFFFF_0000;
    if leaf == first || leaf <= raw(first, 0)[0] {
        raw(leaf, sub_leaf)
    } else {
        [0; 4]
    }
}

#[cfg(test)]
mod tests;
