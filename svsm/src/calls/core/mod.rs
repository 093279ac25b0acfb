// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core protocol (58019, 6).

mod list;
mod memory;
mod pvalidate;
mod query;
mod vcpu;

use super::{Answer, Call, Protocol, aligned};
use crate::memory::Frame;
use crate::platform::Platform;
use svsm_abi::calling_area;
use svsm_abi::core_protocol::{
    CONFIGURE_VTOM, CREATE_VCPU, DELETE_VCPU, DEPOSIT_MEM, PROTOCOL, PVALIDATE, QUERY_PROTOCOL,
    REMAP_CA, VERSION, WITHDRAW_MEM,
};
use svsm_abi::result::ResultCode;

/// Who serves which call.
pub(super) struct Handlers<P>(core::marker::PhantomData<P>);

impl<P: Platform> Handlers<P> {
    /// The protocol.
    pub(super) const PROTOCOL: Protocol<P> = Protocol {
        number: PROTOCOL,
        versions: (VERSION, VERSION),
        serve: Self::serve,
    };

    fn serve(call: &mut Call<'_, P>, number: u32) -> Answer {
        match number {
            QUERY_PROTOCOL => query::protocol(call),
            PVALIDATE => pvalidate::serve(call),
            REMAP_CA => remap_calling_area(call),
            CREATE_VCPU => vcpu::create(call),
            DELETE_VCPU => vcpu::delete(call),
            DEPOSIT_MEM => memory::deposit(call),
            WITHDRAW_MEM => memory::withdraw(call),
            CONFIGURE_VTOM => query::vtom(call),
            _ => Err(ResultCode::UNSUPPORTED_CALL),
        }
    }
}

/// REMAP_CA (58019, 6.1): RCX is the new calling area of this vCPU.
fn remap_calling_area<P: Platform>(call: &mut Call<'_, P>) -> Answer {
    let frame = page(call.registers.rcx)?;
    // Not pending, whatever was there before: the host could otherwise have a call served that the
    // guest never made. This is also the proof that the page is the guest's and can be written.
    call.view
        .write(frame.gpa() + calling_area::CALL_PENDING, &[0])?;
    if !call.caller.move_calling_area(frame) {
        return Err(ResultCode::INVALID_ADDRESS);
    }
    call.tell_mem_available();
    Ok(ResultCode::SUCCESS)
}

/// A page that an argument names.
fn page(gpa: u64) -> Result<Frame, ResultCode> {
    Frame::new(aligned(gpa, 4096)?).ok_or(ResultCode::INVALID_ADDRESS)
}
