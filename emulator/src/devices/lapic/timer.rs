// SPDX-License-Identifier: MIT OR Apache-2.0
//! The timer of a local APIC (SDM vol. 3, 11.5.4).
//!
//! Its clock, before the divider, is the time-stamp counter: one tick of a timer that divides by 1
//! is one tick of the TSC. So the count is exact, and with QEMU's `-icount` it is the same in
//! every run. Software measures the rate, as on hardware, against another clock.

/// LVT timer register, bits 18:17.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    OneShot,
    Periodic,
    TscDeadline,
    /// The reserved encoding: the timer stands still.
    Reserved,
}

impl Mode {
    pub(super) const fn from_lvt(lvt: u32) -> Self {
        match lvt >> 17 & 3 {
            0 => Self::OneShot,
            1 => Self::Periodic,
            2 => Self::TscDeadline,
            _ => Self::Reserved,
        }
    }

    const fn counts(self) -> bool {
        matches!(self, Self::OneShot | Self::Periodic)
    }
}

/// A count that began at `since` with `from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    since: u64,
    from: u32,
}

#[derive(Debug)]
pub(super) struct Timer {
    mode: Mode,
    divide: u32,
    initial: u32,
    count: Option<Count>,
    /// 0 when disarmed, as software reads it.
    deadline: u64,
}

impl Timer {
    pub(super) const fn new() -> Self {
        Self {
            mode: Mode::OneShot,
            divide: 0,
            initial: 0,
            count: None,
            deadline: 0,
        }
    }

    /// The divide configuration register: bits 3, 1 and 0 select 2, 4, 8, 16, 32, 64, 128, 1.
    const fn divisor(&self) -> u64 {
        let select = self.divide >> 1 & 4 | self.divide & 3;
        1 << ((select + 1) % 8)
    }

    /// TSC at which the count reaches 0.
    fn end(&self, count: Count) -> u64 {
        count
            .since
            .saturating_add(u64::from(count.from) * self.divisor())
    }

    /// TSC at which [`Self::expire`] has something to do.
    pub(super) fn next(&self) -> Option<u64> {
        match self.mode {
            Mode::TscDeadline => (self.deadline != 0).then_some(self.deadline),
            _ => self.count.map(|count| self.end(count)),
        }
    }

    /// Whether the timer has run out by `now`; rearms it if it is periodic. However many periods
    /// have passed, it is one interrupt: the request register has one bit for it.
    pub(super) fn expire(&mut self, now: u64) -> bool {
        let Some(end) = self.next().filter(|end| *end <= now) else {
            return false;
        };
        self.deadline = 0;
        self.count = match self.mode {
            Mode::Periodic if self.initial != 0 => {
                let period = u64::from(self.initial) * self.divisor();
                Some(Count {
                    since: end + (now - end) / period * period,
                    from: self.initial,
                })
            }
            _ => None,
        };
        true
    }

    /// The current count register. [`Self::expire`] comes first.
    pub(super) fn current(&self, now: u64) -> u32 {
        self.count.map_or(0, |count| {
            let ticks = now.saturating_sub(count.since) / self.divisor();
            u64::from(count.from).saturating_sub(ticks) as u32
        })
    }

    pub(super) const fn initial(&self) -> u32 {
        self.initial
    }

    pub(super) const fn divide(&self) -> u32 {
        self.divide
    }

    pub(super) const fn deadline(&self) -> u64 {
        self.deadline
    }

    /// Starts the count, or stops it with 0. Without effect in TSC-deadline mode.
    pub(super) fn set_initial(&mut self, initial: u32, now: u64) {
        if !self.mode.counts() {
            return;
        }
        self.initial = initial;
        self.count = (initial != 0).then_some(Count {
            since: now,
            from: initial,
        });
    }

    /// A count under way goes on from where it is, at the new rate.
    pub(super) fn set_divide(&mut self, divide: u32, now: u64) {
        let current = self.current(now);
        self.divide = divide & 0b1011;
        if let Some(count) = &mut self.count {
            *count = Count {
                since: now,
                from: current,
            };
        }
    }

    /// Between one-shot and periodic a count goes on; any other change disarms the timer
    /// (SDM vol. 3, 11.5.4.1).
    pub(super) fn set_mode(&mut self, mode: Mode) {
        if mode != self.mode && !(mode.counts() && self.mode.counts()) {
            self.count = None;
            self.initial = 0;
            self.deadline = 0;
        }
        self.mode = mode;
    }

    /// IA32_TSC_DEADLINE. Without effect in other modes.
    pub(super) fn set_deadline(&mut self, deadline: u64) {
        if self.mode == Mode::TscDeadline {
            self.deadline = deadline;
        }
    }
}
