// SPDX-License-Identifier: MIT OR Apache-2.0
//! Instructions that the emulator executes in place of QEMU's processor: those that SNP adds, and
//! those whose result differs in an SNP guest.

use emulator::decode::Operation;
use emulator::exception::{GENERAL_PROTECTION, INVALID_OPCODE};
use emulator::paging::{CR0_PG, CR4_PAE, EFER_LMA};
use emulator::snp::cpuid;
use emulator::vmcb::event;
use snp_defs::exit;
use snp_defs::msr;
use snp_defs::vmsa::EFER_SVME;

use super::rmp_instruction::Then;
use crate::host::instructions::rdtsc;
use crate::host::physical;
use crate::records::report::say;
use crate::vcpu::{Level, Vcpu};

const MSR_EFER: u32 = 0xC000_0080;
const MSR_PAT: u32 = 0x277;
const MSR_TSC: u32 = 0x10;

const EFER_SCE: u64 = 1 << 0;
const EFER_LME: u64 = 1 << 8;
const EFER_NXE: u64 = 1 << 11;
const EFER_FFXSR: u64 = 1 << 14;

const CR0_PE: u64 = 1 << 0;
const CR0_TS: u64 = 1 << 3;
const CR0_ET: u64 = 1 << 4;
const CR0_NW: u64 = 1 << 29;
const CR0_CD: u64 = 1 << 30;

impl Level {
    /// Whether CR0 may have this value (24593, 3.1.1 and 14.6).
    fn cr0_is_legal(&self, cr0: u64) -> bool {
        let save = &self.block.save;
        let starts_paging = save.cr0 & CR0_PG == 0 && cr0 & CR0_PG != 0;
        let goes_long = starts_paging && save.efer & EFER_LME != 0;
        cr0 >> 32 == 0
            && (cr0 & CR0_PG == 0 || cr0 & CR0_PE != 0)
            && (cr0 & CR0_NW == 0 || cr0 & CR0_CD != 0)
            && !(goes_long && (save.cr4 & CR4_PAE == 0 || save.cs.attributes & (1 << 9) != 0))
            && !(self.is_64_bit() && cr0 & CR0_PG == 0)
    }

    /// Writes CR0, and EFER.LMA with it.
    fn set_cr0(&mut self, cr0: u64) {
        self.translations.owe();
        let save = &mut self.block.save;
        save.cr0 = cr0 | CR0_ET;
        if cr0 & CR0_PG != 0 && save.efer & EFER_LME != 0 {
            save.efer |= EFER_LMA;
        } else {
            save.efer &= !EFER_LMA;
        }
    }

    /// Writes EFER; false: #GP. EFER.SVME stays set: hardware keeps it so for a VMSA that runs.
    fn set_efer(&mut self, value: u64) -> bool {
        const KNOWN: u64 = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_SVME | EFER_FFXSR;
        let save = &mut self.block.save;
        let changes_mode = (save.efer ^ value) & EFER_LME != 0 && save.cr0 & CR0_PG != 0;
        if value & !KNOWN != 0 || changes_mode {
            return false;
        }
        save.efer = value & !EFER_LMA | save.efer & EFER_LMA | EFER_SVME;
        self.translations.owe();
        true
    }

    /// SEV_STATUS as this level sees it.
    fn sev_status(&self) -> u64 {
        msr::status::SEV | msr::status::ES | self.sev_features << 2
    }
}

impl Vcpu {
    /// RDMSR or WRMSR: the registers that an SNP guest has without its host, else #VC.
    pub(crate) fn model_specific(&mut self, vmpl: u8) {
        let level = self.level(vmpl);
        let number = level.gprs.rcx as u32;
        let is_write = level.block.control.exit_info1 & 1 != 0;
        let ours = matches!(
            number,
            MSR_EFER | MSR_PAT | MSR_TSC | msr::GHCB | msr::SEV_STATUS
        );
        if !ours {
            return self.raise_vc(vmpl, exit::MSR);
        }
        let operation = if is_write {
            Operation::Wrmsr
        } else {
            Operation::Rdmsr
        };
        let instruction = self.instruction(vmpl);
        if instruction.operation != operation {
            return;
        }
        let level = self.level(vmpl);
        let legal = if is_write {
            let value = level.block.save.rax & 0xFFFF_FFFF | level.gprs.rdx << 32;
            match number {
                MSR_EFER => level.set_efer(value),
                MSR_PAT => {
                    level.block.save.g_pat = value;
                    level.translations.owe();
                    true
                }
                msr::GHCB => {
                    level.ghcb.msr = value;
                    true
                }
                _ => false,
            }
        } else {
            let value = match number {
                MSR_EFER => level.block.save.efer,
                MSR_PAT => level.block.save.g_pat,
                MSR_TSC => rdtsc(),
                msr::GHCB => level.ghcb.msr,
                _ => level.sev_status(),
            };
            level.block.save.rax = value & 0xFFFF_FFFF;
            level.gprs.rdx = value >> 32;
            true
        };
        if legal {
            level.advance(instruction.length);
        } else {
            level.raise(GENERAL_PROTECTION, Some(0));
        }
    }

    /// INT3 or INTn: no affair of an SNP host, but for a race in QEMU before version 8.1. Its TCG does
    /// not notice when code is written by one vCPU while another translates it, and the translation
    /// stays. Linux patches its code behind an INT3, and a vCPU that keeps the INT3 dies of it; so the
    /// emulator looks whether there is one.
    pub(crate) fn software_interrupt(&mut self, vmpl: u8) {
        let instruction = self.instruction(vmpl);
        let level = self.level(vmpl);
        if let Operation::Interrupt { vector } = instruction.operation {
            level.advance(instruction.length);
            level.reinject = Some(event::VALID | event::TYPE_SOFTWARE | u64::from(vector));
            return;
        }
        let address = level.code_address();
        if let Some(host) = self.linear(vmpl).code_host(address) {
            log::debug!("VMPL{vmpl} executes an INT3 that is no longer at {address:#x}");
            physical::touch(host);
        }
    }

    /// A write of CR0. Paging on or off changes which view of memory is at the root.
    pub(crate) fn write_cr0(&mut self, vmpl: u8) {
        let instruction = self.instruction(vmpl);
        let level = self.level(vmpl);
        let cr0 = level.block.save.cr0;
        let value = match instruction.operation {
            Operation::MovToCr {
                register: 0,
                source,
            } => {
                let value = level.register(source);
                if level.is_64_bit() {
                    value
                } else {
                    value & 0xFFFF_FFFF
                }
            }
            Operation::Clts => cr0 & !CR0_TS,
            // LMSW sets PE, but does not clear it.
            Operation::Lmsw { source } => cr0 & !0xE | level.register(source) & 0xF,
            Operation::Other => self.end(vmpl, emulator_defs::exit::RunEnd::Unsupported, |_| {
                say(format_args!(
                    "VMPL{vmpl} writes CR0 by an instruction that the emulator does not decode"
                ));
            }),
            // Overwritten since: it executes again.
            _ => return,
        };
        if level.cr0_is_legal(value) {
            level.set_cr0(value);
            level.advance(instruction.length);
        } else {
            level.raise(GENERAL_PROTECTION, Some(0));
        }
    }

    /// A write of CR8 while an interrupt waits: the next entry offers it if it may come now.
    pub(crate) fn write_cr8(&mut self, vmpl: u8) {
        let instruction = self.instruction(vmpl);
        let Operation::MovToCr {
            register: 8,
            source,
        } = instruction.operation
        else {
            // Overwritten since: it executes again.
            return;
        };
        let level = self.level(vmpl);
        // 24593, 3.1.5: bits 63:4 are reserved; 32-bit code writes no more than 32 of them.
        let value = match (level.register(source), level.is_64_bit()) {
            (value, true) => value,
            (value, false) => value & 0xFFFF_FFFF,
        };
        if value > 0xF {
            level.raise(GENERAL_PROTECTION, Some(0));
            return;
        }
        level.lapic.set_cr8(value as u8);
        level.advance(instruction.length);
    }

    /// #UD: an instruction that QEMU's processor does not have, or a genuine one.
    pub(crate) fn undefined(&mut self, vmpl: u8) {
        let instruction = self.instruction(vmpl);
        let then = match instruction.operation {
            Operation::Pvalidate | Operation::Rmpadjust | Operation::Rmpquery => {
                self.reverse_map(vmpl, instruction.operation)
            }
            Operation::Invlpgb | Operation::Tlbsync => {
                let level = self.level(vmpl);
                // 24594, INVLPGB: more pages than CPUID 0x80000008 EDX says are #GP too.
                let too_many = matches!(instruction.operation, Operation::Invlpgb)
                    && level.gprs.rcx as u16 > cpuid::INVLPGB_COUNT_MAX;
                if level.block.save.cpl != 0 || too_many {
                    level.raise(GENERAL_PROTECTION, Some(0));
                    return;
                }
                // INVLPGB starts an invalidation on all processors, TLBSYNC waits until it is done:
                // without the second, others may go on with what they have until their next entry.
                if matches!(instruction.operation, Operation::Invlpgb) {
                    for tables in &self.machine.tables {
                        tables.invalidations.note();
                    }
                    self.invalidation_pending = true;
                } else if core::mem::take(&mut self.invalidation_pending) {
                    self.machine.flush_others(self.shared.index);
                }
                Then::Retire
            }
            _ => {
                self.level(vmpl).raise(INVALID_OPCODE, None);
                Then::Again
            }
        };
        if matches!(then, Then::Retire) {
            self.level(vmpl).advance(instruction.length);
        }
    }
}
