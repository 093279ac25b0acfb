// SPDX-License-Identifier: MIT OR Apache-2.0
//! Message-signalled interrupts: which messages a guest may have a device send.
//!
//! A message is a write of 32 bits to 0xFEExxxxx (SDM vol. 3, 11.11). QEMU hands it to its own
//! local APICs, so the message that the guest programs reaches the real vCPU that the guest means,
//! provided that:
//!
//! * a physical destination is an APIC id, and ids are the same on both sides;
//! * a logical destination is matched against LDR and DFR of the real local APICs, which repeat
//!   the guest's (flat and cluster model; in x2APIC mode what 8 bits can name: the first 8
//!   members of cluster 0);
//! * of the destinations of a lowest-priority message, any one is right;
//! * the vector is 32 or more and the delivery mode fixed or lowest priority.
//!
//! The last is what has to be checked: an INIT or an SMI would take the real vCPU from under the
//! emulator, and a vector below 32 is one of its exceptions. Nothing needs to be translated, and
//! nothing of a message is kept: a device that is reset sends no more.

use super::Refused;

/// Where a message goes that is an interrupt.
const MESSAGES: core::ops::RangeInclusive<u64> = 0xFEE0_0000..=0xFEEF_FFFF;
/// Address bits that a message must have clear: with one of them set and destination 0, QEMU
/// takes the write for one to a register of the local APIC.
const RESERVED: u64 = 0xFF0;

/// Checks a message that a device may send from now on. One to another address is no interrupt
/// but DMA like any other.
pub(super) fn check(address: u64, data: u32) -> Result<(), Refused> {
    if !MESSAGES.contains(&address) {
        return Ok(());
    }
    let delivery = data >> 8 & 7;
    let vector = data & 0xFF;
    if address & RESERVED == 0 && delivery <= 1 && vector >= 32 {
        Ok(())
    } else {
        Err(Refused::Message { address, data })
    }
}

/// One entry of an MSI-X table (PCI Local Bus 3.0, 6.8.2): address, upper address, data, control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableEntry(pub(super) [u32; 4]);

impl TableEntry {
    /// Bytes of an entry.
    pub(super) const SIZE: u64 = 16;
    const MASKED: u32 = 1;

    /// Checks what the device may send. Whether MSI-X is enabled at all is left out of account: it
    /// can be, without another look at the table.
    pub(super) fn check(self) -> Result<(), Refused> {
        let [low, high, data, control] = self.0;
        if control & Self::MASKED != 0 {
            return Ok(());
        }
        check(u64::from(high) << 32 | u64::from(low), data)
    }
}

/// The MSI capability (PCI Local Bus 3.0, 6.8.1), as its first 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capability(pub(super) [u32; 4]);

impl Capability {
    /// Bytes that bear on the message.
    pub(super) const SIZE: u16 = 16;
    const ENABLE: u32 = 1 << 16;
    const WIDE: u32 = 1 << 23;

    /// Checks what the device may send.
    pub(super) fn check(self) -> Result<(), Refused> {
        let [header, low, second, third] = self.0;
        if header & Self::ENABLE == 0 {
            Ok(())
        } else if header & Self::WIDE != 0 {
            check(u64::from(second) << 32 | u64::from(low), third & 0xFFFF)
        } else {
            check(low.into(), second & 0xFFFF)
        }
    }
}

/// Puts `width` bytes of `value` at `offset` into little-endian dwords: what they are after a
/// write. `offset + width` is within them.
pub(super) fn patch(dwords: &mut [u32; 4], offset: usize, width: usize, value: u64) {
    for byte in 0..width {
        let (index, shift) = ((offset + byte) / 4, (offset + byte) % 4 * 8);
        if let Some(dword) = dwords.get_mut(index) {
            *dword = *dword & !(0xFF << shift) | ((value >> (8 * byte) & 0xFF) as u32) << shift;
        }
    }
}

#[cfg(test)]
mod tests;
