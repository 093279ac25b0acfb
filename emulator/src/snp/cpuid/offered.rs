// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lists: which of the processor's features a guest may see, and which the emulator adds
//! (24594, appendix E, "Obtaining Processor Information Via the CPUID Instruction").

/// A word with these bits set.
const fn bits(numbers: &[u32]) -> u32 {
    let mut word = 0;
    let mut index = 0;
    while index < numbers.len() {
        word |= 1 << numbers[index];
        index += 1;
    }
    word
}

/// SSE3, PCLMULQDQ, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, RDRAND. Not MONITOR
/// (intercepted), not PCID (TCG has none), not XSAVE, AVX, FMA, F16C.
pub(super) const LEAF_1_ECX: u32 = bits(&[0, 1, 9, 13, 19, 20, 22, 23, 25, 30]);
/// x2APIC, TSC-deadline timer, hypervisor.
pub(super) const ADDED_LEAF_1_ECX: u32 = bits(&[21, 24, 31]);
/// x87, DE, PSE, TSC, MSR, PAE, MCE, CMPXCHG8B, APIC, SYSENTER, MTRR, PGE, MCA, CMOV, PAT, PSE36,
/// CLFLUSH, MMX, FXSR, SSE, SSE2. Not HTT, which depends on the number of vCPUs.
pub(super) const LEAF_1_EDX: u32 = bits(&[
    0, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26,
]);
/// FSGSBASE, BMI1, SMEP, BMI2, ERMS, RDSEED, ADX, SMAP, CLFLUSHOPT, CLWB, SHA.
pub(super) const LEAF_7_EBX: u32 = bits(&[0, 3, 7, 8, 9, 18, 19, 20, 23, 24, 29]);
/// UMIP, RDPID. Not PKU, which needs XSAVE, and not five-level paging.
pub(super) const LEAF_7_ECX: u32 = bits(&[2, 22]);
/// Fast short REP MOV.
pub(super) const LEAF_7_EDX: u32 = bits(&[4]);
/// LAHF, CR8 alias, ABM, SSE4A, misaligned SSE, prefetch. Not SVM.
pub(super) const LEAF_8000_0001_ECX: u32 = bits(&[0, 4, 5, 6, 7, 8]);
/// As leaf 1, and SYSCALL, NX, MMX extensions, FFXSR, 1 GiB pages, RDTSCP, long mode.
pub(super) const LEAF_8000_0001_EDX: u32 = bits(&[
    0, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 20, 22, 23, 24, 25, 26, 27, 29,
]);
/// CLZERO, WBNOINVD.
pub(super) const LEAF_8000_0008_EBX: u32 = bits(&[0, 9]);
/// INVLPGB and TLBSYNC.
pub(super) const ADDED_LEAF_8000_0008_EBX: u32 = bits(&[3]);
/// Leaf 0x80000008, EDX: the most pages of one INVLPGB, less one.
pub const INVLPGB_COUNT_MAX: u16 = 7;
/// Leaf 0x8000001F, EAX: SEV, SEV-ES, SEV-SNP, VMPLs, RMPQUERY.
pub(super) const SEV: u32 = bits(&[1, 3, 4, 5, 6]);

/// How the firmware compares a register of the CPUID page with the processor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bits that may be hidden, but not added.
    Features,
    /// A greatest number, which may be made smaller.
    Limit,
    /// Not compared.
    Free,
    /// Equal.
    Exact,
}

/// The kind of register 0 (EAX) to 3 (EDX) of a leaf.
pub(super) const fn kind(leaf: u32, register: usize) -> Kind {
    match (leaf, register) {
        (0x0 | 0x8000_0000, 0) => Kind::Limit,
        (0x1, 2 | 3) | (0x7, 1..=3) | (0x8000_0001, 2 | 3) => Kind::Features,
        (0x8000_0007, 3) | (0x8000_0008, 1) | (0x8000_001F, 0) => Kind::Features,
        // Numbers of this vCPU, and how many there are.
        (0x1, 1) | (0xB | 0x8000_001E, _) | (0x8000_0008, 2) => Kind::Free,
        (0x4000_0000..=0x4000_FFFF, _) => Kind::Free,
        _ => Kind::Exact,
    }
}
