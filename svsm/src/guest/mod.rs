// SPDX-License-Identifier: MIT OR Apache-2.0
//! What enters from the guest and leaves to it.

mod state;
mod vcpus;
mod view;

pub use state::VcpuState;
pub use vcpus::{AddError, DeleteError, Deletion, Lease, Reservation, Vcpus};
pub use view::{Marks, View};

/// Why a vCPU of the guest's stopped. A handler serves a variant no matter which platform raised it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, to ask for the SVSM. Whether a call is pending says its calling area.
    Call,
    /// For a reason that is no business of the SVSM's: it is entered again.
    Other,
    /// It did not stop: the host runs it at this moment. It must be left alone.
    Running,
}

/// The registers of a call (58019, 5: RAX names the call; RCX, RDX, R8 and R9 are its arguments).
/// RAX takes the result code and the others take result values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "registers")]
pub struct Registers {
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub r8: u64,
    pub r9: u64,
}
