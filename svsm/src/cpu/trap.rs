// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the trap entry saves, and who serves which exception.

/// The interrupted code's registers, as the trap entry (`entry.rs`) pushes them and takes them back.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
#[expect(missing_docs, reason = "registers")]
pub struct TrapFrame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    /// Number of the exception.
    pub vector: u64,
    /// Its error code, or 0.
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// Vectors with a meaning here (24593, 8.2).
pub(crate) mod vector {
    pub(crate) const DOUBLE_FAULT: u64 = 8;
    pub(crate) const PAGE_FAULT: u64 = 14;
    /// #HV: the host signals.
    pub(crate) const HYPERVISOR_INJECTION: u64 = 28;
    /// #VC: an instruction needs the host, or memory is not validated.
    pub(crate) const VMM_COMMUNICATION: u64 = 29;
    /// #VE of TDX.
    pub(crate) const VIRTUALIZATION: u64 = 20;
}

/// Serves an exception, or ends the machine. Called by the trap entry, with interrupts off.
#[cfg(target_os = "none")]
pub(crate) extern "C" fn serve(frame: &mut TrapFrame) {
    use crate::fatal;
    use crate::platform::{Fatal, Trap};

    let trap = match frame.vector {
        vector::PAGE_FAULT => Trap::Access,
        vector::HYPERVISOR_INJECTION | vector::VMM_COMMUNICATION | vector::VIRTUALIZATION => {
            match fatal::host() {
                Some(host) => host.trap(frame),
                None => Trap::Fatal(Fatal::Exception),
            }
        }
        vector::DOUBLE_FAULT => Trap::Fatal(Fatal::Memory),
        _ => Trap::Fatal(Fatal::Exception),
    };
    match trap {
        Trap::Handled => {}
        // The host took a page of the guest's memory while it was being copied (or a vCPU gave
        // it away): the copy ends with an error. Everywhere else a missing page is one of the
        // SVSM's own, and there is no going on without it.
        Trap::Access => match super::fixup(frame.rip) {
            Some(rip) => frame.rip = rip,
            None => fatal::exception(frame, Fatal::Memory),
        },
        Trap::Fatal(reason) => fatal::exception(frame, reason),
    }
}
