// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of a run: all vCPUs stop, the report says why and who, the statistics follow.

use core::sync::atomic::Ordering;

use emulator_defs::exit::RunEnd;
use emulator::vmcb::{Gprs, Vmcb};

use crate::diary::Diary;
use crate::host::instructions::{halt_forever, rdtsc};
use crate::host::{end, log, time};
use crate::machine::{Machine, Request, Shared};

/// How long to wait for a vCPU to stop, in parts of a second.
const PATIENCE: u64 = 4;

/// A line of the report.
pub(crate) fn say(text: core::fmt::Arguments<'_>) {
    log::line(emulator_defs::config::LINE_REPORT, text);
}

/// Ends the run. `explain` writes the report's first lines; it gets the diary of the vCPU that ends
/// the run. Of several vCPUs that end it, the first is heard.
pub(crate) fn end_run(
    machine: &Machine,
    shared: &Shared,
    how: RunEnd,
    explain: impl FnOnce(&Diary),
) -> ! {
    if machine.ending.swap(true, Ordering::SeqCst) {
        stop(shared);
    }
    let ticks = rdtsc() - machine.started.load(Ordering::Relaxed).min(rdtsc());
    log::run_is_ending();
    for vcpu in &machine.vcpus {
        if vcpu.index != shared.index {
            vcpu.request(Request::STOP);
        }
    }
    let deadline = rdtsc() + time::tsc_hz() / PATIENCE;
    let all_stopped = || {
        machine
            .vcpus
            .iter()
            .all(|vcpu| vcpu.index == shared.index || vcpu.stopped.load(Ordering::SeqCst))
    };
    while !all_stopped() && rdtsc() < deadline {
        core::hint::spin_loop();
    }
    let normal = matches!(how, RunEnd::PowerOff | RunEnd::Reset);
    if !normal {
        say(format_args!("the run ended on vCPU {}", shared.index));
        match shared.diary.try_lock() {
            Some(diary) => explain(&diary),
            None => explain(&Diary::new()),
        }
    }
    let mut sum = Diary::new();
    for vcpu in &machine.vcpus {
        match vcpu.diary.try_lock() {
            Some(diary) => {
                if !normal {
                    diary.report_last(vcpu.index);
                }
                sum.add(&diary);
            }
            None => say(format_args!("vCPU {} does not stop", vcpu.index)),
        }
    }
    sum.write_statistics(machine.config.cpus, time::tsc_hz(), ticks);
    if let Some(hostile) = &machine.hostile {
        hostile.report();
    }
    end::end(how)
}

/// Stops the calling processor, because another ends the run.
pub(crate) fn stop(shared: &Shared) -> ! {
    shared.stopped.store(true, Ordering::SeqCst);
    halt_forever()
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
