// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes into the trace, if the run has one: [`emulator_defs::trace`] says what the records mean.

use emulator::snp::rmp::{Change, ChangeKind};
use emulator::trace::Trace;
use emulator_defs::trace::{Kind, Record, page_op};

use crate::host::cpu::Processor;
use crate::host::instructions::rdtsc;
use crate::host::{ivshmem, time};

/// The trace of a run, or none.
pub(crate) struct Tracer(Option<Trace<'static>>);

/// An event; what does not apply is zero.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Event {
    pub(crate) vmpl: u8,
    pub(crate) small: u16,
    pub(crate) a: u64,
    pub(crate) b: u64,
}

impl Tracer {
    /// Sets the buffer up, if QEMU has the device for it.
    pub(crate) fn new(vcpus: u32) -> Self {
        let trace = ivshmem::memory().and_then(|memory| {
            Trace::new(memory, vcpus as usize, time::tsc_hz(), rdtsc())
                .inspect_err(|_| log::warn!("the trace buffer is too small for {vcpus} vCPUs"))
                .ok()
        });
        Self(trace)
    }

    /// Notes an event of the calling processor that lasted from `start` to `end`.
    pub(crate) fn span(&self, kind: Kind, start: u64, end: u64, event: Event) {
        let Some(trace) = &self.0 else {
            return;
        };
        trace.emit(
            Processor::current().index() as usize,
            &Record {
                tsc: start,
                duration: u32::try_from(end.saturating_sub(start)).unwrap_or(u32::MAX),
                kind: kind as u8,
                vmpl: event.vmpl,
                small: event.small,
                a: event.a,
                b: event.b,
            },
        );
    }

    /// Notes an event that happens now.
    pub(crate) fn instant(&self, kind: Kind, event: Event) {
        if self.0.is_some() {
            let now = rdtsc();
            self.span(kind, now, now, event);
        }
    }

    /// Notes a change of the RMP.
    pub(crate) fn change(&self, change: &Change) {
        let small = match change.kind {
            ChangeKind::Assigned => page_op::PRIVATE,
            ChangeKind::Unassigned => page_op::SHARED,
            ChangeKind::Split => page_op::PSMASH,
            ChangeKind::Merged => page_op::UNSMASH,
            ChangeKind::Validated => page_op::VALIDATE,
            ChangeKind::Rescinded => page_op::RESCIND,
            ChangeKind::Adjusted { .. } => page_op::ADJUST,
        };
        let event = Event {
            vmpl: 0,
            small,
            a: change.gpa,
            b: change.size.bytes(),
        };
        self.instant(Kind::PageState, event);
    }
}
