// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the trap entry saves, and who serves which exception.
#![forbid(unsafe_code)]

use crate::platform::{Fatal, Host, Trap};

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
}

/// What an exception means. All but two mean something to the platform only, or nothing.
fn judge(frame: &mut TrapFrame, host: Option<&dyn Host>) -> Trap {
    match frame.vector {
        vector::PAGE_FAULT => Trap::Access,
        vector::DOUBLE_FAULT => Trap::Fatal(Fatal::Memory),
        _ => match host {
            Some(host) => host.trap(frame),
            None => Trap::Fatal(Fatal::Exception),
        },
    }
}

/// Serves an exception, or ends the machine. Called by the trap entry, with interrupts off.
#[cfg(target_os = "none")]
pub(crate) extern "C" fn serve(frame: &mut TrapFrame) {
    use crate::fatal;

    match judge(frame, fatal::host()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Knows one exception, and says so in the frame.
    struct OneOfItsOwn(u64);

    impl Host for OneOfItsOwn {
        fn port_write(&self, _: u16, _: u8) {}

        fn port_read(&self, _: u16) -> u8 {
            u8::MAX
        }

        fn terminate(&self, reason: Fatal) -> ! {
            panic!("{reason:?}")
        }

        fn trap(&self, frame: &mut TrapFrame) -> Trap {
            frame.rax = frame.vector;
            if frame.vector == self.0 {
                Trap::Handled
            } else {
                Trap::Fatal(Fatal::Exception)
            }
        }
    }

    fn frame(vector: u64) -> TrapFrame {
        TrapFrame {
            vector,
            ..TrapFrame::default()
        }
    }

    #[test]
    fn the_core_knows_two_exceptions_and_the_platform_the_rest() {
        for own in 0..32 {
            let host = OneOfItsOwn(own);
            for vector in 0..32 {
                let mut frame = frame(vector);
                let (expected, asked) = match vector {
                    8 => (Trap::Fatal(Fatal::Memory), false),
                    14 => (Trap::Access, false),
                    _ if vector == own => (Trap::Handled, true),
                    _ => (Trap::Fatal(Fatal::Exception), true),
                };
                assert_eq!(judge(&mut frame, Some(&host)), expected, "{vector}");
                assert_eq!(frame.rax, if asked { vector } else { 0 });
            }
        }
    }

    #[test]
    fn without_a_platform_nothing_is_expected() {
        assert_eq!(judge(&mut frame(14), None), Trap::Access);
        assert_eq!(judge(&mut frame(29), None), Trap::Fatal(Fatal::Exception));
    }
}
