// SPDX-License-Identifier: MIT OR Apache-2.0
//! The processor's side of running a guest: control blocks, permission maps, world switch.

pub(crate) mod block;
pub(crate) mod enter;
pub(crate) mod fpu;
pub(crate) mod maps;

use crate::host::heap::LOW;
use crate::host::instructions::wrmsr;

const MSR_VM_HSAVE_PA: u32 = 0xC001_0117;

/// Prepares this processor for VMRUN: gives it the page in which it keeps the host's state.
pub(crate) fn initialize() {
    let page = LOW.allocate(4096, 4096);
    // SAFETY: a page of its own that nothing else touches.
    unsafe { wrmsr(MSR_VM_HSAVE_PA, page) };
}
