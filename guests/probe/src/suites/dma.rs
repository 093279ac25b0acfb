// SPDX-License-Identifier: MIT OR Apache-2.0
//! DMA: a device reaches shared pages of the guest's, and no private one. The device is QEMU's fw_cfg, which writes its
//! signature where it is told to (QEMU `docs/specs/fw_cfg`, DMA interface).

use crate::machine::{access, ghcb, instructions};
use crate::report::Report;
use crate::scratch;

/// I/O ports of the address of the descriptor: its upper half; its lower half, which starts the transfer.
const ADDRESS_HIGH: u16 = 0x514;
const ADDRESS_LOW: u16 = 0x518;
/// Control word: select item 0, the signature, and read it.
const READ_SIGNATURE: u32 = 1 << 3 | 1 << 1;
/// What the item holds.
const SIGNATURE: [u8; 4] = *b"QEMU";

/// Has the device write its signature to `target`, by the descriptor at `descriptor`: the control word that it leaves.
fn transfer(descriptor: u64, target: u64) -> Result<u32, u64> {
    access::store_shared(descriptor, READ_SIGNATURE.to_be());
    access::store_shared(descriptor + 4, (SIGNATURE.len() as u32).to_be());
    access::store_shared(descriptor + 8, target.to_be());
    ghcb::port_write(ADDRESS_HIGH, ((descriptor >> 32) as u32).to_be(), 4)?;
    ghcb::port_write(ADDRESS_LOW, (descriptor as u32).to_be(), 4)?;
    Ok(u32::from_be(access::load_shared(descriptor)))
}

/// Runs the checks.
pub(super) fn check(report: &mut Report) {
    let [descriptor, shared, private] = [scratch::page(), scratch::page(), scratch::page()];
    for page in [descriptor, shared] {
        report.equal("a page becomes shared", ghcb::make_shared(page), Ok(()));
    }
    ghcb::restore();
    access::fill(private, 0x3C);
    report.equal("DMA to a shared page", transfer(descriptor, shared), Ok(0));
    let seen: [u8; 4] = access::load_shared(shared);
    report.equal("it arrives", seen, SIGNATURE);
    report.equal(
        "the device is asked for DMA to a private page",
        transfer(descriptor, private),
        Ok(0),
    );
    let same = instructions::load(private).is_ok()
        && access::page_is(private, u64::from_ne_bytes([0x3C; 8]));
    report.holds("which is as it was, and still validated", same);
    // A descriptor that the device can't see: it finds what the host has there, which is no request of this guest's.
    access::store(private, READ_SIGNATURE.to_be());
    access::store(private + 4, (SIGNATURE.len() as u32).to_be());
    access::store(private + 8, (shared + 0x800).to_be());
    access::store_shared(shared + 0x800, 0u32);
    let asked = ghcb::port_write(ADDRESS_HIGH, ((private >> 32) as u32).to_be(), 4)
        .and_then(|()| ghcb::port_write(ADDRESS_LOW, (private as u32).to_be(), 4));
    report.equal("a descriptor in a private page", asked, Ok(()));
    report.equal(
        "is not read",
        (
            access::load::<u32>(private),
            access::load_shared::<u32>(shared + 0x800),
        ),
        (READ_SIGNATURE.to_be(), 0),
    );
}
