// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's fw_cfg device, by its DMA interface (QEMU `docs/specs/fw_cfg`): how the emulator's
//! inputs come in.

use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::heap::LOW;
use super::instructions::{in8, out16, out32};
use super::physical;

const PORT_SELECTOR: u16 = 0x510;
const PORT_DATA: u16 = 0x511;
const PORT_DMA_HIGH: u16 = 0x514;
const PORT_DMA_LOW: u16 = 0x518;
const SELECT_SIGNATURE: u16 = 0x0000;
const SELECT_DIRECTORY: u16 = 0x0019;
const CONTROL_ERROR: u32 = 1 << 0;
const CONTROL_READ: u32 = 1 << 1;
const CONTROL_SELECT: u32 = 1 << 3;

/// A file of the device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File {
    selector: u16,
    /// Bytes.
    pub(crate) size: u32,
}

/// The DMA descriptor; all fields are big endian.
#[derive(IntoBytes, FromZeros, Immutable)]
#[repr(C)]
struct Access {
    control: u32,
    length: u32,
    address: u64,
}

/// Whether the device is there.
pub(crate) fn present() -> bool {
    out16(PORT_SELECTOR, SELECT_SIGNATURE);
    [
        in8(PORT_DATA),
        in8(PORT_DATA),
        in8(PORT_DATA),
        in8(PORT_DATA),
    ] == *b"QEMU"
}

/// Finds a file by its name.
pub(crate) fn find(name: &str) -> Option<File> {
    out16(PORT_SELECTOR, SELECT_DIRECTORY);
    let count = u32::from_be_bytes(core::array::from_fn(|_| in8(PORT_DATA)));
    let mut found = None;
    for _ in 0..count {
        let entry: [u8; 64] = core::array::from_fn(|_| in8(PORT_DATA));
        let end = entry[8..].iter().position(|&byte| byte == 0).unwrap_or(56);
        if entry[8..8 + end] == *name.as_bytes() {
            found = Some(File {
                size: u32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]]),
                selector: u16::from_be_bytes([entry[4], entry[5]]),
            });
        }
    }
    found
}

/// Reads a whole file into fresh pages; its host-physical address. `None`: QEMU refused.
pub(crate) fn load(file: File) -> Option<u64> {
    let target = LOW.allocate(u64::from(file.size).max(1), 4096);
    let descriptor = LOW.allocate(4096, 4096);
    let control = (u32::from(file.selector) << 16) | CONTROL_SELECT | CONTROL_READ;
    physical::write(
        descriptor,
        Access {
            control: control.to_be(),
            length: file.size.to_be(),
            address: target.to_be(),
        }
        .as_bytes(),
    );
    out32(PORT_DMA_HIGH, ((descriptor >> 32) as u32).to_be());
    // Starts the transfer.
    out32(PORT_DMA_LOW, (descriptor as u32).to_be());
    loop {
        let control = u32::from_be(physical::read_volatile(descriptor));
        if control & CONTROL_ERROR != 0 {
            return None;
        }
        if control == 0 {
            return Some(target);
        }
        core::hint::spin_loop();
    }
}

/// A file that was loaded, as bytes. The guest has no access to it.
pub(crate) fn bytes(file: File) -> Option<&'static [u8]> {
    let address = load(file)?;
    // SAFETY: pages of the emulator's own that nobody writes again, mapped for ever; the transfer
    // into them is complete, and its completion was read through a volatile access.
    Some(unsafe { core::slice::from_raw_parts(address as *const u8, file.size as usize) })
}
