// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of a run: all vCPUs stop, the report says why and who, the statistics follow.

use core::sync::atomic::Ordering;

use emulator_defs::exit::RunEnd;

use crate::host::instructions::{halt_forever, rdtsc};
use crate::host::{end, log, time};
use crate::machine::{Machine, Request, Shared};
use crate::records::diary::Diary;
use crate::records::report::say;

/// How long to wait for a vCPU to stop, in parts of a second.
const PATIENCE: u64 = 4;

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
