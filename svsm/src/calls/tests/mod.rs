// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls, made by a guest on a machine that notices when a rule is broken.

extern crate std;

mod attestation;
mod dispatch;
mod memory;
mod pvalidate;
mod racing;
mod vcpu;

use crate::testing::{Rig, with_rig};
use svsm_abi::core_protocol::{self as abi, PvalidateEntry};
use svsm_abi::result::ResultCode;

const MIB: u64 = 1 << 20;
/// Where lists go.
const LIST: u64 = MIB + 0x1000;
/// The SVSM's region.
const REGION: u64 = 0x80_0000_0000;

const SUCCESS: u64 = ResultCode::SUCCESS.0;
const INCOMPLETE: u64 = ResultCode::INCOMPLETE.0;
const INVALID_ADDRESS: u64 = ResultCode::INVALID_ADDRESS.0;
const INVALID_PARAMETER: u64 = ResultCode::INVALID_PARAMETER.0;
const INVALID_REQUEST: u64 = ResultCode::INVALID_REQUEST.0;
const BUSY: u64 = ResultCode::BUSY.0;
const SIZE_MISMATCH: u64 = 0x8000_1006;
const IN_USE: u64 = 0x8000_1003;
const UNCHANGED: u64 = 0x8000_1010;

fn validate(gpa: u64) -> u64 {
    PvalidateEntry::new(gpa, false, true, false).0
}

fn invalidate(gpa: u64) -> u64 {
    PvalidateEntry::new(gpa, false, false, false).0
}

/// Makes PVALIDATE with these entries; the result code and how many were done.
fn pvalidate(rig: &Rig<'_>, entries: &[u64]) -> (u64, u16) {
    rig.write_list(LIST, 0, entries);
    (rig.core_call(abi::PVALIDATE, LIST), rig.next(LIST))
}

/// Addresses that no call takes for a page of the guest's memory: the SVSM's region, a hole, beyond all memory, beyond all
/// addresses.
const NOT_THE_GUESTS: [u64; 6] = [
    REGION,
    REGION + 0x3_0000,
    0xA_0000,
    64 * MIB,
    1 << 50,
    0xFFFF_FFFF_FFFF_F000,
];
