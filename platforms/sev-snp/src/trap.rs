// SPDX-License-Identifier: MIT OR Apache-2.0
//! The exceptions that only SEV-SNP has.
//!
//! #VC (24593, 15.35.5) means that an instruction needs the host, or that a page is not there. The
//! SVSM asks the host in plain words and executes no such instruction: CPUID least of all, whose
//! answers it has in a page. What is left is memory that the host took away.
//!
//! #HV is the one event that the host may inject (24593, 15.36.16). It does so legally only for a
//! doorbell page that was registered (56421, 4.1.10), and the SVSM registers none: whatever it
//! waits for comes as the return of an entry or a halt. So an #HV says nothing and is answered by
//! going on; the handler may itself be interrupted by the next one, on the same stack.

use snp_defs::exit;
use svsm::cpu::TrapFrame;
use svsm::platform::{Fatal, Trap};

use crate::instructions::fix_up;

/// #HV.
const HYPERVISOR_INJECTION: u64 = 28;
/// #VC.
const VMM_COMMUNICATION: u64 = 29;

/// Serves an exception, or says what it means.
pub(crate) fn serve(frame: &mut TrapFrame) -> Trap {
    match (frame.vector, frame.error) {
        (HYPERVISOR_INJECTION, _) => Trap::Handled,
        // Not validated; or nested tables with reserved bits set, where the guest has memory.
        (VMM_COMMUNICATION, exit::PAGE_NOT_VALIDATED | exit::NPF) => {
            // SAFETY: the trap entry made the frame.
            match unsafe { fix_up(frame) } {
                true => Trap::Handled,
                false => Trap::Access,
            }
        }
        _ => Trap::Fatal(Fatal::Exception),
    }
}
