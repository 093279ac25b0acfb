// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calling area: a page of the guest's for each vCPU (58019, 5, table 2).

/// Offset of `call_pending`: the guest sets it to 1 before it calls, the SVSM swaps 0 in.
pub const CALL_PENDING: u64 = 0;
/// Offset of `mem_available`: 1 when the SVSM has memory that the guest can withdraw.
pub const MEM_AVAILABLE: u64 = 1;
/// Offset of `no_eoi_required` (APIC emulation protocol).
pub const NO_EOI_REQUIRED: u64 = 2;
/// Offset of the bytes that the guest may use as it likes, Linux for its lists.
pub const BUFFER: u64 = 8;
