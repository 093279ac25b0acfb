// SPDX-License-Identifier: MIT OR Apache-2.0
//! Control registers: what makes a mistake of the SVSM's a fault and not an opening.

use crate::platform::Cpuid;
use core::arch::asm;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags, Efer, EferFlags};

/// Turns on what this processor has of: no execution of data, no writing of read-only pages,
/// no execution or use of user pages (there are none), no reading of descriptor tables by user code.
///
/// Returns whether the two that every image relies on are there: NX and WP.
pub(crate) fn harden(extended_features: Cpuid, extended_functions: Cpuid) -> bool {
    /// CPUID 7.0 EBX: SMEP and SMAP; ECX: UMIP. CPUID 0x80000001 EDX: NX.
    const SMEP: u32 = 1 << 7;
    const SMAP: u32 = 1 << 20;
    const UMIP: u32 = 1 << 2;
    const NX: u32 = 1 << 20;

    if extended_functions.edx & NX == 0 {
        return false;
    }
    let mut wanted = Cr4Flags::empty();
    wanted.set(
        Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION,
        extended_features.ebx & SMEP != 0,
    );
    wanted.set(
        Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION,
        extended_features.ebx & SMAP != 0,
    );
    wanted.set(
        Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION,
        extended_features.ecx & UMIP != 0,
    );
    // SAFETY: each bit only makes more accesses fault, none of which the SVSM makes: it has no
    // user pages, writes no read-only page, and its page tables set NX as they mean it.
    unsafe {
        Efer::update(|flags| flags.insert(EferFlags::NO_EXECUTE_ENABLE));
        Cr0::update(|flags| flags.insert(Cr0Flags::WRITE_PROTECT));
        Cr4::update(|flags| flags.insert(wanted));
    }
    true
}

/// Stops this CPU for good.
pub(crate) fn halt() -> ! {
    loop {
        // SAFETY: with interrupts off nothing wakes this CPU but what is not maskable, and then it
        // stops again.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
