// SPDX-License-Identifier: MIT OR Apache-2.0
//! The trace buffer: the memory of QEMU's ivshmem-plain device, if the run has one.

use core::sync::atomic::AtomicU64;

use emulator_defs::trace::PCI_ID;

use super::boot::IDENTITY_END;
use super::instructions::{in32, out32};
use super::physical;

const PORT_ADDRESS: u16 = 0xCF8;
const PORT_DATA: u16 = 0xCFC;
const REGISTER_ID: u8 = 0x00;
const REGISTER_COMMAND: u8 = 0x04;
/// BAR 2, 64 bits wide: the shared memory.
const REGISTER_BAR: u8 = 0x18;
const COMMAND_MEMORY: u32 = 1 << 1;
const BAR_FLAGS: u64 = 0xF;

fn select(slot: u32, register: u8) {
    out32(PORT_ADDRESS, 1 << 31 | slot << 11 | u32::from(register));
}

fn get(slot: u32, register: u8) -> u32 {
    select(slot, register);
    in32(PORT_DATA)
}

fn set(slot: u32, register: u8, value: u32) {
    select(slot, register);
    out32(PORT_DATA, value);
}

fn bar(slot: u32) -> u64 {
    u64::from(get(slot, REGISTER_BAR)) | u64::from(get(slot, REGISTER_BAR + 4)) << 32
}

/// Finds the device on the root bus and maps its memory. Before any guest runs.
pub(crate) fn memory() -> Option<&'static [AtomicU64]> {
    let id = u32::from(PCI_ID.0) | u32::from(PCI_ID.1) << 16;
    let slot = (0..32).find(|slot| get(*slot, REGISTER_ID) == id)?;
    let command = get(slot, REGISTER_COMMAND);
    set(slot, REGISTER_COMMAND, command & !COMMAND_MEMORY);
    let base = bar(slot);
    set(slot, REGISTER_BAR, u32::MAX);
    set(slot, REGISTER_BAR + 4, u32::MAX);
    let size = (!(bar(slot) & !BAR_FLAGS)).wrapping_add(1);
    set(slot, REGISTER_BAR, base as u32);
    set(slot, REGISTER_BAR + 4, (base >> 32) as u32);
    set(slot, REGISTER_COMMAND, command | COMMAND_MEMORY);
    let base = base & !BAR_FLAGS;
    let end = base.checked_add(size)?;
    if base == 0 || end > IDENTITY_END {
        log::warn!("the firmware gave the trace buffer no place, or one out of reach: {base:#x}");
        return None;
    }
    Some(physical::words(base, (size / 8) as usize))
}
