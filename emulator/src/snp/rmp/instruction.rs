// SPDX-License-Identifier: MIT OR Apache-2.0
//! PVALIDATE, RMPADJUST and RMPQUERY (APM vol. 3). The caller has decoded the instruction and walked
//! the guest's page tables as for a one-byte read; here is the rest.

use snp_defs::rmp::{RmpAttributes, RmpResult, RmpSize};

use super::host::{Change, HostDuty};
use super::{Rmp, Rule};

/// Who executes the instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Its VMPL.
    pub vmpl: u8,
    /// Its CPL.
    pub cpl: u8,
}

/// The page that RAX names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operand {
    /// RAX, a virtual address.
    pub virtual_address: u64,
    /// Where the guest's page tables lead, C-bit removed.
    pub gpa: u64,
    /// Size of the guest's mapping; 1G counts as 2M.
    pub mapping: RmpSize,
    /// The C-bit of the guest's mapping.
    pub c_bit: bool,
}

/// How an instruction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Instruction<T> {
    /// It retires with these results.
    Done(T),
    /// #GP(0).
    GeneralProtection,
    /// #VC with error code 0x404.
    NotValidated,
    /// Nested page fault: the host does this, and the instruction starts over.
    Host(HostDuty),
    /// Nested page fault that no honest host can mend.
    Violation(Rule),
}

/// Result of PVALIDATE. EAX = `result`; CF = `unchanged`; OF, ZF, AF, PF, SF after `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validated {
    /// EAX.
    pub result: RmpResult,
    /// CF: the validated bit was as asked for already. Cleared when `result` is not success.
    pub unchanged: bool,
}

/// Result of RMPADJUST. EAX = `result`; OF, ZF, AF, PF, SF after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adjusted {
    /// EAX.
    pub result: RmpResult,
}

/// Result of RMPQUERY. EAX = `result`; RCX and RDX are written on success only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queried {
    /// EAX.
    pub result: RmpResult,
    /// RCX: size of the page in the table.
    pub size: RmpSize,
    /// RDX: permissions of the VMPL that was asked for, and the VMSA bit.
    pub attributes: RmpAttributes,
}

impl Rmp<'_> {
    /// PVALIDATE with RCX and RDX.
    pub fn pvalidate(
        &self,
        caller: Caller,
        operand: &Operand,
        rcx: u64,
        rdx: u64,
        changed: &mut dyn FnMut(Change),
    ) -> Instruction<Validated> {
        let _ = (caller, operand, rcx, rdx, changed);
        todo!()
    }

    /// RMPADJUST with RCX and RDX.
    pub fn rmpadjust(
        &self,
        caller: Caller,
        operand: &Operand,
        rcx: u64,
        rdx: RmpAttributes,
        changed: &mut dyn FnMut(Change),
    ) -> Instruction<Adjusted> {
        let _ = (caller, operand, rcx, rdx, changed);
        todo!()
    }

    /// RMPQUERY with RDX.
    pub fn rmpquery(
        &self,
        caller: Caller,
        operand: &Operand,
        rdx: RmpAttributes,
    ) -> Instruction<Queried> {
        let _ = (caller, operand, rdx);
        todo!()
    }
}
