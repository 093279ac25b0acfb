// SPDX-License-Identifier: MIT OR Apache-2.0
//! PVALIDATE, RMPADJUST and RMPQUERY (APM vol. 3). The caller has decoded the instruction and walked
//! the guest's page tables as for a one-byte read; here is the rest.

use snp_defs::VMPL_COUNT;
use snp_defs::rmp::{Permissions, RmpAttributes, RmpResult, RmpSize};

use super::block::Locked;
use super::{Change, ChangeKind, Entry, HostDuty, Rmp};
use crate::snp::rule::Rule;

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
    /// No memory there: #VC with the nested fault's code, as for any access.
    Mmio,
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

/// Bits of RDX that RMPADJUST and RMPQUERY know.
const ATTRIBUTE_BITS: u64 = 0x1_1FFF;

impl Rmp<'_> {
    /// PVALIDATE: ECX bit 0 is the page size, EDX bit 0 the new validated bit; the other bits mean
    /// nothing. `changed` is called with the block locked.
    pub fn pvalidate(
        &self,
        caller: Caller,
        operand: &Operand,
        rcx: u64,
        rdx: u64,
        changed: &mut dyn FnMut(Change),
    ) -> Instruction<Validated> {
        let done = |result, unchanged| Instruction::Done(Validated { result, unchanged });
        if caller.cpl != 0 || caller.vmpl != 0 {
            return Instruction::GeneralProtection;
        }
        let size = requested_size(rcx);
        let mut page = match self.page(caller, operand, size) {
            Ok(page) => page,
            Err(Stop::Result(result)) => return done(result, false),
            Err(Stop::Fault(fault)) => return fault.into(),
        };
        if page.entry.in_use() {
            return done(RmpResult::FailInUse, false);
        }
        let validate = rdx & 1 != 0;
        if page.entry.validated() == validate {
            return done(RmpResult::Success, true);
        }
        page.set(page.entry.with_validated(validate));
        changed(page.change(if validate {
            ChangeKind::Validated
        } else {
            ChangeKind::Rescinded
        }));
        done(RmpResult::Success, false)
    }

    /// RMPADJUST: ECX bit 0 is the page size, RDX the target VMPL, its new permissions and the VMSA
    /// bit, which counts at VMPL0 only. `changed` is called with the block locked.
    pub fn rmpadjust(
        &self,
        caller: Caller,
        operand: &Operand,
        rcx: u64,
        rdx: RmpAttributes,
        changed: &mut dyn FnMut(Change),
    ) -> Instruction<Adjusted> {
        let done = |result| Instruction::Done(Adjusted { result });
        if caller.cpl != 0 {
            return Instruction::GeneralProtection;
        }
        let target = rdx.vmpl();
        if target as usize >= VMPL_COUNT || rdx.0 & !ATTRIBUTE_BITS != 0 {
            return done(RmpResult::FailInput);
        }
        if target <= caller.vmpl {
            return done(RmpResult::FailPermission);
        }
        let size = requested_size(rcx);
        let mut page = match self.page(caller, operand, size) {
            Ok(page) => page,
            Err(Stop::Result(result)) => return done(result),
            Err(Stop::Fault(fault)) => return fault.into(),
        };
        if let Some(fault) = page.read_fault(caller, operand) {
            return fault.into();
        }
        if page.entry.in_use() {
            return done(RmpResult::FailInUse);
        }
        let old = page.entry.permissions(target);
        let new = rdx.permissions();
        if !page.entry.permissions(caller.vmpl).contains(new) {
            return done(RmpResult::FailPermission);
        }
        let mut entry = page.entry.with_permissions(target, new);
        if caller.vmpl == 0 {
            entry = entry.with_vmsa(rdx.vmsa());
        }
        if entry != page.entry {
            page.set(entry);
            let revokes = !new.contains(old);
            changed(page.change(ChangeKind::Adjusted { revokes }));
        }
        done(RmpResult::Success)
    }

    /// RMPQUERY: RDX bits 7:0 are the VMPL whose permissions are asked for, not below the caller's.
    pub fn rmpquery(
        &self,
        caller: Caller,
        operand: &Operand,
        rdx: RmpAttributes,
    ) -> Instruction<Queried> {
        let done = |result, size, attributes| {
            Instruction::Done(Queried {
                result,
                size,
                attributes,
            })
        };
        let fail = |result| done(result, RmpSize::Size4K, rdx);
        if caller.cpl != 0 {
            return Instruction::GeneralProtection;
        }
        let target = rdx.vmpl();
        if target as usize >= VMPL_COUNT {
            return fail(RmpResult::FailInput);
        }
        if target < caller.vmpl {
            return fail(RmpResult::FailPermission);
        }
        let page = match self.any_page(operand) {
            Ok(page) => page,
            Err(fault) => return fault.into(),
        };
        if let Some(fault) = page.read_fault(caller, operand) {
            return fault.into();
        }
        let attributes =
            RmpAttributes::new(target, page.entry.permissions(target), page.entry.vmsa());
        done(RmpResult::Success, page.size, attributes)
    }

    /// The page of an instruction that names a size.
    fn page(&self, caller: Caller, operand: &Operand, size: RmpSize) -> Result<Page<'_>, Stop> {
        if size == RmpSize::Size2M {
            if operand.virtual_address & (RmpSize::Size2M.bytes() - 1) & !0xFFF != 0 {
                return Err(Stop::Result(RmpResult::FailInput));
            }
            if operand.mapping == RmpSize::Size4K {
                return Err(Stop::Result(RmpResult::FailSizeMismatch));
            }
        }
        let page = self.any_page(operand)?;
        match (size, page.size) {
            (RmpSize::Size4K, RmpSize::Size2M) => {
                let gpa = operand.gpa & !(RmpSize::Size2M.bytes() - 1);
                Err(Stop::Fault(Fault::Host(HostDuty::Psmash { gpa })))
            }
            (RmpSize::Size2M, RmpSize::Size4K) => {
                // What is not readable faults before sizes are compared.
                match page.read_fault(caller, operand) {
                    Some(fault @ Fault::Violation(_)) => Err(Stop::Fault(fault)),
                    _ => Err(Stop::Result(RmpResult::FailSizeMismatch)),
                }
            }
            _ => Ok(page),
        }
    }

    /// The assigned page that `operand` names, with its block locked.
    fn any_page(&self, operand: &Operand) -> Result<Page<'_>, Fault> {
        let gpa = operand.gpa;
        if !operand.c_bit {
            return Err(Fault::Violation(Rule::InstructionThroughShared { gpa }));
        }
        let block = self.block(gpa).ok_or(Fault::Mmio)?;
        let whole = block.whole();
        let block = block.lock();
        let (entry, size) = block.get(gpa);
        if !entry.assigned() {
            let duty = self.assignment(gpa, entry, size, whole);
            return Err(Fault::Host(duty));
        }
        if entry.immutable() {
            return Err(Fault::Violation(Rule::ImmutablePage { gpa }));
        }
        Ok(Page {
            gpa: gpa & !(size.bytes() - 1),
            block,
            entry,
            size,
        })
    }
}

/// ECX bit 0.
fn requested_size(rcx: u64) -> RmpSize {
    if rcx & 1 != 0 {
        RmpSize::Size2M
    } else {
        RmpSize::Size4K
    }
}

/// An assigned page whose block is locked.
struct Page<'a> {
    block: Locked<'a>,
    gpa: u64,
    entry: Entry,
    size: RmpSize,
}

impl Page<'_> {
    fn set(&mut self, entry: Entry) {
        match self.size {
            RmpSize::Size4K => self.block.set_page(self.gpa, entry),
            RmpSize::Size2M => self.block.set_block(entry),
        }
        self.entry = entry;
    }

    fn change(&self, kind: ChangeKind) -> Change {
        Change {
            gpa: self.gpa,
            size: self.size,
            kind,
            fresh: false,
        }
    }

    /// The fault of a one-byte read of the page, which RMPADJUST and RMPQUERY do.
    fn read_fault(&self, caller: Caller, operand: &Operand) -> Option<Fault> {
        let (gpa, vmpl) = (operand.gpa, caller.vmpl);
        if !self.entry.validated() {
            Some(Fault::NotValidated)
        } else if !self.entry.permissions(vmpl).contains(Permissions::READ) {
            Some(Fault::Violation(Rule::VmplPermission { gpa, vmpl }))
        } else {
            None
        }
    }
}

/// The ways in which an instruction does not retire, whatever its result would be.
enum Fault {
    NotValidated,
    Mmio,
    Host(HostDuty),
    Violation(Rule),
}

enum Stop {
    Result(RmpResult),
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl<T> From<Fault> for Instruction<T> {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NotValidated => Self::NotValidated,
            Fault::Mmio => Self::Mmio,
            Fault::Host(duty) => Self::Host(duty),
            Fault::Violation(rule) => Self::Violation(rule),
        }
    }
}
