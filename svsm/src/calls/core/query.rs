// SPDX-License-Identifier: MIT OR Apache-2.0
//! QUERY_PROTOCOL (58019, 6.7) and CONFIGURE_VTOM (58019, 6.8): what there is, and what there is not.

use crate::calls::{Answer, Call, Protocols};
use crate::platform::Platform;
use svsm_abi::core_protocol as abi;
use svsm_abi::result::ResultCode;

/// QUERY_PROTOCOL: RCX names a protocol and a version; it returns the versions that are spoken, or 0.
pub(super) fn protocol<P: Platform>(call: &mut Call<'_, P>) -> Answer {
    let (number, version) = ((call.registers.rcx >> 32) as u32, call.registers.rcx as u32);
    call.registers.rcx = match Protocols::<P>::find(number).map(|protocol| protocol.versions) {
        Some((least, greatest)) if (least..=greatest).contains(&version) => {
            abi::query(greatest, least)
        }
        _ => 0,
    };
    Ok(ResultCode::SUCCESS)
}

/// CONFIGURE_VTOM: no guest of this SVSM's runs with a virtual top of memory, which it may ask about.
pub(super) fn vtom<P: Platform>(call: &mut Call<'_, P>) -> Answer {
    let operation = call.registers.rcx;
    if operation & abi::VTOM_QUERY != 0 {
        if operation != abi::VTOM_QUERY {
            return Err(ResultCode::INVALID_PARAMETER);
        }
        // Not `VTOM_ENABLE`: the limits in RDX and R8 mean nothing then.
        call.registers.rcx = 0;
        return Ok(ResultCode::SUCCESS);
    }
    let disable_with_value = operation & abi::VTOM_ENABLE == 0 && operation & !0xFFF != 0;
    if operation & abi::VTOM_RESERVED != 0 || disable_with_value {
        return Err(ResultCode::INVALID_PARAMETER);
    }
    Err(ResultCode::INVALID_REQUEST)
}
