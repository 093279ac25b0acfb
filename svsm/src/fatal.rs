// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end: says what happened and where, and asks the host to end the machine.

use crate::cpu::Once;
use crate::platform::{Fatal, Host};
use core::sync::atomic::{AtomicBool, Ordering};

#[cfg_attr(target_os = "none", unsafe(link_section = ".ro_after_init"))]
static HOST: Once<&'static dyn Host> = Once::new();

/// The way to the host, once the boot CPU has set it.
pub(crate) fn host() -> Option<&'static dyn Host> {
    HOST.get().copied()
}

/// Sets the way to the host; the first caller wins, and is the boot CPU.
pub(crate) fn set_host(host: &'static dyn Host) {
    let _ = HOST.set(host);
}

/// Whether a fatal error is being told already: then this one is not, since it may come from the telling.
fn tells_first() -> bool {
    static TELLING: AtomicBool = AtomicBool::new(false);
    !TELLING.swap(true, Ordering::Relaxed)
}

/// Ends the machine for `reason`, and says `what`.
pub fn end(reason: Fatal, what: core::fmt::Arguments<'_>) -> ! {
    if tells_first() {
        ::log::error!("fatal: {reason:?}: {what}");
    }
    terminate(reason)
}

/// Asks the host to end the machine. Without a way to the host all that is left is to stop.
fn terminate(reason: Fatal) -> ! {
    if let Some(host) = host() {
        host.terminate(reason)
    }
    #[cfg(target_os = "none")]
    crate::cpu::halt();
    #[cfg(not(target_os = "none"))]
    panic!("{reason:?}");
}

#[cfg(target_os = "none")]
mod bare_metal {
    use super::{tells_first, terminate};
    use crate::cpu::{TrapFrame, backtrace};
    use crate::platform::Fatal;

    /// Ends the machine because of an exception.
    pub(crate) fn exception(frame: &TrapFrame, reason: Fatal) -> ! {
        if tells_first() {
            ::log::error!(
                "fatal: {reason:?}: exception {} (error {:#x}) at {:#x}, stack {:#x}",
                frame.vector,
                frame.error,
                frame.rip,
                frame.rsp
            );
        }
        terminate(reason)
    }

    fn tell_callers(frame: u64) {
        backtrace::walk(frame, |address| ::log::error!("  called from {address:#x}"));
    }

    #[panic_handler]
    fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
        if tells_first() {
            ::log::error!("fatal: {info}");
            tell_callers(backtrace::here());
        }
        terminate(Fatal::Panic)
    }
}

#[cfg(target_os = "none")]
pub(crate) use bare_metal::exception;
