// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes into the trace, if the run has one: [`emulator_defs::trace`] says what the records mean.
//!
//! Without a trace every function here is one branch, and no time-stamp is taken for it.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU8, Ordering};

use alloc::boxed::Box;

use emulator::snp::rmp::{Change, ChangeKind};
use emulator::trace::Trace;
use emulator::vmcb::event;
use emulator_defs::trace::{Kind, Record, page_op};
use snp_defs::exit;
use snp_defs::ghcb::Ghcb;

use crate::host::cpu::Processor;
use crate::host::instructions::rdtsc;
use crate::host::{ivshmem, time};
use crate::records::diary::Exit;
use crate::svm::enter::Times;

/// The trace of a run, or none.
pub(crate) struct Tracer(Option<Tracing>);

struct Tracing {
    buffer: Trace<'static>,
    /// The VMPL that each processor serves, written by that processor.
    serving: Box<[AtomicU8]>,
}

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
        let tracing = ivshmem::memory().and_then(|memory| {
            let buffer = Trace::new(memory, vcpus as usize, time::tsc_hz(), rdtsc())
                .inspect_err(|_| log::warn!("the trace buffer is too small for {vcpus} vCPUs"))
                .ok()?;
            let serving = (0..vcpus).map(|_| AtomicU8::new(0)).collect();
            Some(Tracing { buffer, serving })
        });
        Self(tracing)
    }

    /// Whether there is a trace.
    #[inline]
    pub(crate) const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// When something begins that [`Self::since`] notes; 0 without a trace.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        if self.is_on() { rdtsc() } else { 0 }
    }

    /// Notes an event of the calling processor that lasted from `start` to `end`.
    #[inline]
    pub(crate) fn span(&self, kind: Kind, start: u64, end: u64, event: Event) {
        if let Some(tracing) = &self.0 {
            tracing.span(kind, start, end, event);
        }
    }

    /// Notes an event that lasted from `start` to this moment.
    #[inline]
    pub(crate) fn since(&self, kind: Kind, start: u64, event: Event) {
        if let Some(tracing) = &self.0 {
            tracing.span(kind, start, rdtsc(), event);
        }
    }

    /// Notes an event that happens now.
    #[inline]
    pub(crate) fn instant(&self, kind: Kind, event: Event) {
        if let Some(tracing) = &self.0 {
            let now = rdtsc();
            tracing.span(kind, now, now, event);
        }
    }

    /// Notes that the calling processor ran a guest up to `exit`; `injected` is what EVENTINJ was.
    #[inline]
    pub(crate) fn ran(&self, times: &Times, exit: &Exit, injected: u64) {
        if let Some(tracing) = &self.0 {
            tracing.ran(times, exit, injected);
        }
    }

    /// Notes that `exit` was served up to `end`; `rcx` is what the guest's was.
    #[inline]
    pub(crate) fn served(&self, exit: &Exit, rcx: u64, end: u64) {
        if let Some(tracing) = &self.0 {
            tracing.served(exit, rcx, end);
        }
    }

    /// Notes a change of the RMP.
    #[inline]
    pub(crate) fn change(&self, change: &Change) {
        if let Some(tracing) = &self.0 {
            tracing.change(change);
        }
    }

    /// The event of a request that is about to be served. `asked` is the value of the GHCB MSR, or
    /// the code in the GHCB, of which `read` gives the eight bytes at an offset.
    #[inline]
    pub(crate) fn request(&self, vmpl: u8, asked: u64, read: impl FnMut(usize) -> u64) -> Event {
        if self.is_on() {
            request(vmpl, asked, read)
        } else {
            Event::default()
        }
    }
}

#[cold]
fn request(vmpl: u8, asked: u64, mut read: impl FnMut(usize) -> u64) -> Event {
    let info1 = read(offset_of!(Ghcb, sw_exit_info1));
    let (is_write, b) = match asked {
        exit::MSR => (info1 & 1 != 0, read(offset_of!(Ghcb, rcx)) & 0xFFFF_FFFF),
        exit::CPUID => (false, read(offset_of!(Ghcb, rax)) & 0xFFFF_FFFF),
        _ => (false, info1),
    };
    Event {
        vmpl,
        small: is_write.into(),
        a: asked,
        b,
    }
}

impl Tracing {
    #[cold]
    fn span(&self, kind: Kind, start: u64, end: u64, event: Event) {
        let vcpu = Processor::current().index() as usize;
        let mut record = Record {
            tsc: start,
            duration: 0,
            kind: kind as u8,
            vmpl: event.vmpl,
            small: event.small,
            a: event.a,
            b: event.b,
        };
        let mut left = end.saturating_sub(start);
        while left > u64::from(u32::MAX) {
            record.duration = u32::MAX;
            self.buffer.emit(vcpu, &record);
            record.tsc += u64::from(u32::MAX);
            left -= u64::from(u32::MAX);
        }
        record.duration = left as u32;
        self.buffer.emit(vcpu, &record);
    }

    fn serving(&self) -> Option<&AtomicU8> {
        self.serving.get(Processor::current().index() as usize)
    }

    #[cold]
    fn ran(&self, times: &Times, exit: &Exit, injected: u64) {
        if let Some(serving) = self.serving() {
            serving.store(exit.vmpl, Ordering::Relaxed);
        }
        let event = |small, a, b| Event {
            vmpl: exit.vmpl,
            small,
            a,
            b,
        };
        let kind = injected & event::TYPE_MASK;
        if injected & event::VALID != 0 && matches!(kind, event::TYPE_NMI | event::TYPE_EXCEPTION) {
            let exception = event(injected as u16 & 0xFF, injected >> 32, 0);
            self.span(Kind::Exception, times.entry, times.entry, exception);
        }
        let guest = event(0, exit.code, exit.rip);
        self.span(Kind::Guest, times.entry, times.exit, guest);
    }

    #[cold]
    fn served(&self, exit: &Exit, rcx: u64, end: u64) {
        let (is_write, b) = match exit.code {
            exit::MSR => (exit.info1 & 1 != 0, rcx & 0xFFFF_FFFF),
            exit::NPF => (exit.info1 & exit::npf::WRITE != 0, exit.info2),
            _ => (false, exit.info1),
        };
        let event = Event {
            vmpl: exit.vmpl,
            small: is_write.into(),
            a: exit.code,
            b,
        };
        self.span(Kind::Exit, exit.tsc, end, event);
    }

    #[cold]
    fn change(&self, change: &Change) {
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
            vmpl: self
                .serving()
                .map_or(0, |vmpl| vmpl.load(Ordering::Relaxed)),
            small,
            a: change.gpa,
            b: change.size.bytes(),
        };
        let now = rdtsc();
        self.span(Kind::PageState, now, now, event);
    }
}
