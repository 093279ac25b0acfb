// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of a run, through QEMU's isa-debug-exit device.

use emulator_defs::exit::{DEBUG_EXIT_PORT, RunEnd};

use super::instructions::{halt_forever, out8};

/// Ends QEMU. Without the device (a QEMU that was started by hand) the processor halts.
pub(crate) fn end(how: RunEnd) -> ! {
    out8(DEBUG_EXIT_PORT, how as u8);
    halt_forever()
}
