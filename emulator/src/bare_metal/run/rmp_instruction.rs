// SPDX-License-Identifier: MIT OR Apache-2.0
//! PVALIDATE, RMPADJUST and RMPQUERY, which QEMU's processor does not have: their operand, the RMP's
//! answer, and the registers after it.

use emulator::decode::Operation;
use emulator::exception::{GENERAL_PROTECTION, PAGE_FAULT};
use emulator::paging::{Fault, Translation};
use emulator::snp::rmp::{Caller, Instruction, Operand};
use snp_defs::exit;
use snp_defs::rmp::{RmpAttributes, RmpResult, RmpSize};

use crate::memory::backings::GuestMemory;
use crate::vcpu::{Level, Vcpu};

const FLAG_CF: u64 = 1 << 0;
/// CF, PF, AF, ZF, SF, OF.
const FLAGS_STATUS: u64 = 1 << 0 | 1 << 2 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 11;

/// How an instruction of the RMP goes on.
pub(super) enum Then {
    /// It has retired.
    Retire,
    /// It starts over.
    Again,
}

fn map<T, U>(instruction: Instruction<T>, convert: impl FnOnce(T) -> U) -> Instruction<U> {
    match instruction {
        Instruction::Done(done) => Instruction::Done(convert(done)),
        Instruction::GeneralProtection => Instruction::GeneralProtection,
        Instruction::NotValidated => Instruction::NotValidated,
        Instruction::Mmio => Instruction::Mmio,
        Instruction::Host(duty) => Instruction::Host(duty),
        Instruction::Violation(rule) => Instruction::Violation(rule),
    }
}

impl Level {
    /// EAX and the flags after an instruction of the RMP (24594, PVALIDATE and RMPADJUST).
    fn set_result(&mut self, result: RmpResult, carry: bool) {
        let save = &mut self.block.save;
        let value = result as u32;
        save.rax = value.into();
        let mut flags = 0;
        if carry {
            flags |= FLAG_CF;
        }
        if (value as u8).count_ones().is_multiple_of(2) {
            flags |= 1 << 2;
        }
        if value == 0 {
            flags |= 1 << 6;
        }
        save.rflags = save.rflags & !FLAGS_STATUS | flags;
    }
}

impl Vcpu {
    /// The page that RAX names, as for a one-byte read (24594, PVALIDATE); a fault is raised.
    fn operand(&mut self, vmpl: u8) -> Option<Operand> {
        let linear = self.linear(vmpl);
        let level = self.level(vmpl);
        let address = if level.is_64_bit() {
            level.block.save.rax
        } else {
            level.block.save.rax & 0xFFFF_FFFF
        };
        match linear.translate(address) {
            Ok(Translation {
                gpa,
                private,
                page_size,
                ..
            }) => Some(Operand {
                virtual_address: address,
                gpa,
                mapping: if page_size >= RmpSize::Size2M.bytes() {
                    RmpSize::Size2M
                } else {
                    RmpSize::Size4K
                },
                c_bit: private,
            }),
            Err(Fault::NotCanonical) => {
                level.raise(GENERAL_PROTECTION, Some(0));
                None
            }
            Err(Fault::NotPresent | Fault::Table(_)) => {
                level.block.save.cr2 = address;
                level.raise(PAGE_FAULT, Some(0));
                None
            }
            Err(Fault::Reserved) => {
                level.block.save.cr2 = address;
                level.raise(PAGE_FAULT, Some(1 | 1 << 3));
                None
            }
        }
    }

    /// PVALIDATE, RMPADJUST or RMPQUERY.
    pub(super) fn reverse_map(&mut self, vmpl: u8, operation: Operation) -> Then {
        let machine = self.machine;
        let level = self.level(vmpl);
        let caller = Caller {
            vmpl,
            cpl: level.block.save.cpl,
        };
        if caller.cpl != 0 {
            level.raise(GENERAL_PROTECTION, Some(0));
            return Then::Again;
        }
        let (rcx, rdx) = (level.gprs.rcx, level.gprs.rdx);
        let Some(operand) = self.operand(vmpl) else {
            return Then::Again;
        };
        if GuestMemory::is_hosts_own(operand.gpa) {
            self.raise_vc(vmpl, exit::NPF);
            return Then::Again;
        }
        self.check_misled(vmpl, operand.gpa);
        let changed = &mut |change| machine.apply(change);
        let attributes = RmpAttributes(rdx);
        let outcome = match operation {
            Operation::Pvalidate => map(
                machine.rmp.pvalidate(caller, &operand, rcx, rdx, changed),
                |done| (done.result, done.unchanged, None),
            ),
            Operation::Rmpadjust => map(
                machine
                    .rmp
                    .rmpadjust(caller, &operand, rcx, attributes, changed),
                |done| (done.result, false, None),
            ),
            _ => map(machine.rmp.rmpquery(caller, &operand, attributes), |done| {
                (done.result, false, Some(done))
            }),
        };
        match outcome {
            Instruction::Done((result, carry, query)) => {
                let level = self.level(vmpl);
                level.set_result(result, carry);
                if let Some(query) = query
                    && result == RmpResult::Success
                {
                    level.gprs.rcx = query.size as u64;
                    level.gprs.rdx = query.attributes.0;
                }
                Then::Retire
            }
            Instruction::GeneralProtection => {
                self.level(vmpl).raise(GENERAL_PROTECTION, Some(0));
                Then::Again
            }
            Instruction::NotValidated => {
                self.raise_vc(vmpl, exit::PAGE_NOT_VALIDATED);
                Then::Again
            }
            Instruction::Mmio => {
                self.raise_vc(vmpl, exit::NPF);
                Then::Again
            }
            Instruction::Host(duty) => {
                self.serve_duty(vmpl, operand.gpa, duty);
                Then::Again
            }
            Instruction::Violation(rule) => self.violation(vmpl, &rule),
        }
    }
}
