// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report of a run: its lines, and numbers in words.

use core::fmt;

use emulator::snp::ghcb::Termination;
use emulator::vmcb::{Gprs, Vmcb};
use emulator_defs::config::LINE_REPORT;
use snp_defs::exit;
use snp_defs::msr::terminate;

use crate::host::log;

/// A line of the report.
pub(crate) fn say(text: fmt::Arguments<'_>) {
    log::line(LINE_REPORT, text);
}

/// Writes registers into the report.
pub(crate) fn say_registers(vmcb: &Vmcb, gprs: &Gprs) {
    let save = &vmcb.save;
    say(format_args!(
        "RIP {:#018x} RSP {:#018x} RFLAGS {:#x} CPL {}",
        save.rip, save.rsp, save.rflags, save.cpl
    ));
    say(format_args!(
        "RAX {:#018x} RBX {:#018x} RCX {:#018x} RDX {:#018x}",
        save.rax, gprs.rbx, gprs.rcx, gprs.rdx
    ));
    say(format_args!(
        "RSI {:#018x} RDI {:#018x} RBP {:#018x} R8  {:#018x}",
        gprs.rsi, gprs.rdi, gprs.rbp, gprs.r8
    ));
    say(format_args!(
        "R9  {:#018x} R10 {:#018x} R11 {:#018x} R12 {:#018x}",
        gprs.r9, gprs.r10, gprs.r11, gprs.r12
    ));
    say(format_args!(
        "R13 {:#018x} R14 {:#018x} R15 {:#018x}",
        gprs.r13, gprs.r14, gprs.r15
    ));
    say(format_args!(
        "CR0 {:#x} CR2 {:#x} CR3 {:#x} CR4 {:#x} EFER {:#x}",
        save.cr0, save.cr2, save.cr3, save.cr4, save.efer
    ));
    say(format_args!(
        "CS {:#x} base {:#x} SS {:#x} TR {:#x} base {:#x} GDT {:#x} IDT {:#x} GS {:#x}",
        save.cs.selector,
        save.cs.base,
        save.ss.selector,
        save.tr.selector,
        save.tr.base,
        save.gdtr.base,
        save.idtr.base,
        save.gs.base
    ));
    let control = &vmcb.control;
    say(format_args!(
        "exit {:#x} info {:#x} {:#x} interrupted event {:#x}",
        control.exit_code, control.exit_info1, control.exit_info2, control.exit_int_info
    ));
}

/// The name of an exit code, for people.
pub(crate) fn exit_name(code: u64) -> &'static str {
    match code {
        exit::CR0_WRITE => "write of CR0",
        exit::CR8_WRITE => "write of CR8",
        0x20..=0x2F => "read of a debug register",
        0x30..=0x3F => "write of a debug register",
        exit::UD => "#UD",
        exit::INTR => "interrupt",
        exit::NMI => "NMI",
        exit::VINTR => "interrupt window",
        exit::RDPMC => "RDPMC",
        exit::CPUID => "CPUID",
        exit::IRET => "IRET",
        exit::INVD => "INVD",
        exit::HLT => "HLT",
        exit::INVLPGA => "INVLPGA",
        exit::IOIO => "port I/O",
        exit::MSR => "MSR",
        exit::SHUTDOWN => "shutdown",
        exit::VMMCALL => "VMMCALL or VMGEXIT",
        0x80 | 0x82..=0x86 => "SVM instruction",
        exit::WBINVD => "WBINVD",
        exit::MONITOR => "MONITOR",
        exit::MWAIT => "MWAIT",
        exit::XSETBV => "XSETBV",
        exit::NPF => "nested page fault",
        exit::INVALID | 0xFFFF_FFFF => "invalid state",
        _ => "other",
    }
}

/// Who has a reason for which a guest ends itself, and what it means (56421, 2.3.1).
pub(crate) fn reason(termination: Termination) -> (&'static str, &'static str) {
    let (owner, meanings): (_, &[&str]) = match termination.set {
        terminate::SET_GENERAL => ("GHCB specification", &terminate::GENERAL),
        terminate::SET_LINUX => ("Linux", &terminate::LINUX),
        terminate::SET_PARAPET => ("Parapet", &terminate::PARAPET),
        _ => ("nobody known", &[]),
    };
    let meaning = meanings.get(usize::from(termination.code));
    (
        owner,
        meaning
            .copied()
            .unwrap_or("a reason that is not in its table"),
    )
}
