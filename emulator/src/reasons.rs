// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reasons for which a guest ends itself, in words.

use emulator::snp::ghcb::Termination;

/// What a reason means (56421, table "Reason codes"; Linux `arch/x86/include/asm/sev-common.h`).
pub(crate) const fn in_words(termination: Termination) -> &'static str {
    match (termination.set, termination.code) {
        (0, 0) => "general request",
        (0, 1) => "the GHCB protocol's versions do not overlap",
        (0, 2) => "SNP features that it needs are missing",
        (1, 0) => "Linux: registration of the GHCB failed",
        (1, 1) => "Linux: a page state change failed",
        (1, 2) => "Linux: PVALIDATE failed",
        (1, 3) => "Linux: it is not at VMPL0, and knows no SVSM",
        (1, 4) => "Linux: CPUID answers are missing or inconsistent",
        (1, 5) => "Linux: the hypervisor's CPUID answers are missing or inconsistent",
        (1, 6) => "Linux: the secrets page is missing",
        (1, 7) => "Linux: it is not at VMPL0, and there is no SVSM",
        (1, 8) => "Linux: the SVSM says that the guest is at VMPL0",
        (1, 9) => "Linux: the SVSM's calling area is not aligned",
        (1, 10) => "Linux: secure TSC failed",
        (1, 11) => "Linux: the SVSM did not move the calling area",
        (1, _) => "a reason of Linux's",
        (2, _) => "a reason of Parapet's",
        _ => "a reason that is not in any table",
    }
}
