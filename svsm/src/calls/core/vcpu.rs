// SPDX-License-Identifier: MIT OR Apache-2.0
//! CREATE_VCPU (58019, 6.3) and DELETE_VCPU (58019, 6.4).
//!
//! The attack on creation, by a guest with two vCPUs: A has a page made into a vCPU's state; while the
//! SVSM looks at it, B changes what was looked at, to a vCPU with more privilege than the guest has. So
//! the page is looked at only when no vCPU can write it any more: revoked, and flushed, since B may
//! have the page in its TLB.

use super::page;
use crate::calls::{Answer, Call, page_error};
use crate::guest::{AddError, DeleteError};
use crate::memory::custody::{Returning, TakeError, Taken};
use crate::platform::{Platform, VcpuError};
use svsm_abi::core_protocol::FAIL_IN_USE;
use svsm_abi::result::ResultCode;

/// Makes the page RCX the state of a vCPU on the CPU whose APIC id is R8, with its calling area at RDX.
pub(super) fn create<P: Platform>(call: &mut Call<'_, P>) -> Answer {
    let frame = page(call.registers.rcx)?;
    let calling_area = page(call.registers.rdx)?;
    let cpu = call.registers.r8 as u32 as usize;
    if cpu >= call.machine.cpus {
        return Err(ResultCode::INVALID_PARAMETER);
    }
    if frame == calling_area || !call.view.is_guests(calling_area) {
        return Err(ResultCode::INVALID_ADDRESS);
    }
    let place = call
        .machine
        .vcpus
        .reserve(frame, calling_area, cpu)
        .map_err(|error| match error {
            AddError::Full => ResultCode::INVALID_REQUEST,
            AddError::InUse => ResultCode::INVALID_ADDRESS,
        })?;
    let machine = call.machine;
    // From here on the page is given back, and the place too, where this returns an error.
    let taken =
        Taken::take(call.platform, &machine.tracker, machine.marks, frame).map_err(take_error)?;
    let state = taken.state();
    call.platform
        .create_vcpu(state, call.caller.state())
        .map_err(vcpu_error)?;
    taken.keep();
    place.publish(state);
    Ok(ResultCode::SUCCESS)
}

/// Makes the page RCX, the state of a vCPU, an ordinary page of the guest's again.
pub(super) fn delete<P: Platform>(call: &mut Call<'_, P>) -> Answer {
    let frame = page(call.registers.rcx)?;
    let deletion = call
        .machine
        .vcpus
        .begin_delete(frame)
        .map_err(|error| match error {
            DeleteError::Unknown => ResultCode::INVALID_PARAMETER,
            DeleteError::InUse => ResultCode::protocol(FAIL_IN_USE),
        })?;
    // Before what can't be undone: a vCPU that is gone while its page stays the SVSM's could not be asked
    // for again. From here on an error leaves all as it was.
    let returning = Returning::of(call.platform, &call.machine.tracker, &deletion)
        .map_err(|_| ResultCode::BUSY)?;
    call.platform
        .delete_vcpu(deletion.state())
        .map_err(vcpu_error)?;
    // Its CPU must not find it any more before the guest can write it.
    deletion.finish();
    call.platform.flush();
    returning.give();
    Ok(ResultCode::SUCCESS)
}

/// The code for a page that can't be taken from the guest.
pub(super) fn take_error(error: TakeError) -> ResultCode {
    match error {
        TakeError::NotGuests => ResultCode::INVALID_ADDRESS,
        TakeError::Busy => ResultCode::BUSY,
        TakeError::Page(error) => page_error(error),
    }
}

fn vcpu_error(error: VcpuError) -> ResultCode {
    match error {
        VcpuError::Malformed => ResultCode::INVALID_PARAMETER,
        VcpuError::Running => ResultCode::protocol(FAIL_IN_USE),
        VcpuError::Page(error) => page_error(error),
    }
}
