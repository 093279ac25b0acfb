// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls of the guest's: one file for each protocol, and this one, which finds the handler.
//!
//! A new protocol is a file (or a folder) with a `PROTOCOL`, declared here as every file is, and a line in
//! `Protocols::ALL`. Its numbers and layouts are `svsm-abi`'s.
//!
//! A handler returns a result code, or an error that is one. It never trusts an argument, and what it
//! read of the guest's memory it read once, through [`Call::view`].
#![forbid(unsafe_code)]

mod attestation;
mod core;

use crate::guest::{Lease, Registers, View};
use crate::machine::Machine;
use crate::memory::{Fault, PAGE};
use crate::platform::{PageError, Platform};
use svsm_abi::result::ResultCode;
use svsm_abi::{CallId, calling_area};

/// A call that is being served.
#[derive(Debug)]
pub struct Call<'a, P: Platform> {
    /// The platform's verbs.
    pub platform: &'a P,
    /// What all CPUs share.
    pub machine: &'a Machine<'a>,
    /// The guest's memory.
    pub view: View<'a, P::Memory>,
    /// The calling vCPU.
    pub caller: &'a Lease<'a>,
    /// Its registers: arguments before, results after. RAX is the dispatcher's.
    pub registers: Registers,
    /// Room of this CPU's, for what is read from the guest.
    pub scratch: &'a mut Scratch,
}

/// A page for copies of what the guest wrote. What it holds from call to call is nobody's.
pub type Scratch = [u64; PAGE / 8];

/// What a handler returns.
type Answer = Result<ResultCode, ResultCode>;

/// A protocol: who serves its calls.
struct Protocol<P: Platform> {
    number: u32,
    /// Least and greatest version.
    versions: (u32, u32),
    serve: fn(&mut Call<'_, P>, u32) -> Answer,
}

/// The protocols.
struct Protocols<P>(::core::marker::PhantomData<P>);

impl<P: Platform> Protocols<P> {
    const ALL: &'static [Protocol<P>] =
        &[core::Handlers::PROTOCOL, attestation::Handlers::PROTOCOL];

    fn find(number: u32) -> Option<&'static Protocol<P>> {
        Self::ALL.iter().find(|protocol| protocol.number == number)
    }
}

/// Serves the call that the vCPU may have pending. Whether it has is written in its calling area, which only the
/// guest can write: the host can bring the SVSM here whenever it likes, and then nothing happens (58019, 5).
pub(crate) fn serve<P: Platform>(
    platform: &P,
    machine: &Machine<'_>,
    caller: &Lease<'_>,
    cpu: usize,
    scratch: &mut Scratch,
) {
    let Some(view) = machine.view(platform.memory(), cpu) else {
        return;
    };
    // Read and cleared in one step, so that a call is served once. Where the guest gave its calling
    // area away there is nothing to learn and nobody to tell.
    let pending = view.swap_u8(caller.calling_area() + calling_area::CALL_PENDING, 0);
    let registers = match pending {
        Ok(0) | Err(Fault) => return,
        Ok(1) => {
            let registers = platform.registers(caller.state());
            let mut call = Call {
                platform,
                machine,
                view,
                caller,
                registers,
                scratch,
            };
            let (Ok(code) | Err(code)) = call.dispatch();
            Registers {
                rax: code.0,
                ..call.registers
            }
        }
        // Other values are reserved (58019, table 4).
        Ok(_) => {
            let registers = platform.registers(caller.state());
            Registers {
                rax: ResultCode::INVALID_FORMAT.0,
                ..registers
            }
        }
    };
    platform.set_registers(caller.state(), &registers);
}

impl<P: Platform> Call<'_, P> {
    fn dispatch(&mut self) -> Answer {
        let CallId { protocol, call } = CallId::from_rax(self.registers.rax);
        let protocol = Protocols::<P>::find(protocol).ok_or(ResultCode::UNSUPPORTED_PROTOCOL)?;
        (protocol.serve)(self, call)
    }

    /// Tells the guest whether it can withdraw memory: in the first vCPU's calling area, where it
    /// looks (58019, 6.6), and in the caller's. Whatever changes that, or an area, calls it afterwards.
    ///
    /// One CPU at a time looks and writes. Otherwise the one that looked first could write last, and the guest
    /// would read for good what is no longer so, and never ask for its memory.
    fn tell_mem_available(&self) {
        let _telling = self.machine.telling.lock();
        let available = u8::from(self.machine.pool.withdrawable() != 0);
        let boot = self.machine.vcpus.boot_calling_area();
        let caller = self.caller.calling_area();
        for area in [Some(caller), boot].into_iter().flatten() {
            // A guest that gave the area away does not want to know.
            let _ = self
                .view
                .write(area + calling_area::MEM_AVAILABLE, &[available]);
        }
    }
}

/// An address that is not aligned as it should be is a parameter that is not valid (58019, 5).
fn aligned(address: u64, alignment: u64) -> Result<u64, ResultCode> {
    if address.is_multiple_of(alignment) {
        Ok(address)
    } else {
        Err(ResultCode::INVALID_PARAMETER)
    }
}

/// "Additional memory is required": this many 4K pages, and then the call may be made again (58019, table 4).
fn memory_required(pages: usize) -> ResultCode {
    ResultCode(0x4000_0000 | pages as u64 & 0x3FFF_FFFF)
}

impl From<Fault> for ResultCode {
    fn from(_: Fault) -> Self {
        Self::INVALID_ADDRESS
    }
}

/// The code for a page that the platform refuses (58019, 6.2).
fn page_error(error: PageError) -> ResultCode {
    use svsm_abi::core_protocol as abi;
    match error {
        PageError::Unchanged => ResultCode::protocol(abi::PVALIDATE_FAIL_UNCHANGED),
        PageError::SizeMismatch => ResultCode::protocol(abi::PVALIDATE_FAIL_SIZE_MISMATCH),
        PageError::NotPresent => ResultCode::INVALID_ADDRESS,
        PageError::Refused(code @ 1..=0xF) => {
            ResultCode::protocol(abi::PVALIDATE_FAIL + u64::from(code))
        }
        PageError::Refused(_) => ResultCode::protocol(abi::PVALIDATE_FAIL_UNKNOWN),
    }
}

#[cfg(test)]
mod tests;
