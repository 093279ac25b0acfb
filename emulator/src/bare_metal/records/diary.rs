// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a vCPU did: its last exits for the report, and the sums for the statistics.

use alloc::collections::BTreeMap;

use emulator_defs::config::LINE_STATISTICS;
use snp_defs::VMPL_COUNT;

use crate::host::log;
use crate::records::report::{exit_name, say};

/// Exits that are remembered.
const REMEMBERED: usize = 24;
/// Kinds that are counted apart; the guest chooses the numbers, so there is an end to them.
const MOST_KINDS: usize = 64;
/// Callers whose intervals are kept apart.
const MOST_CALLERS: usize = 1024;
/// The number under which what exceeds those is counted.
const ALL_OTHERS: u64 = u64::MAX;

/// An exit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Exit {
    pub(crate) tsc: u64,
    pub(crate) vmpl: u8,
    pub(crate) code: u64,
    pub(crate) info1: u64,
    pub(crate) info2: u64,
    pub(crate) rip: u64,
    /// GHCB MSR, or the exit code in the GHCB, where the exit was VMGEXIT.
    pub(crate) ghcb: u64,
}

/// Intervals of one kind that VMPL0 executed between two RUN_VMPL requests.
#[derive(Debug, Clone, Copy)]
struct Intervals {
    count: u64,
    min: u64,
    max: u64,
    sum: u64,
}

/// The diary of one vCPU.
pub(crate) struct Diary {
    last: [Exit; REMEMBERED],
    next: usize,
    /// Exits by VMPL and code: how many, and the emulator's ticks for them.
    exits: [BTreeMap<u64, Sum>; VMPL_COUNT],
    /// VMGEXIT requests by VMPL and code; MSR protocol codes are below 0x1000.
    requests: [BTreeMap<u64, Sum>; VMPL_COUNT],
    /// Ticks in the guest, by VMPL.
    pub(crate) guest_ticks: [u64; VMPL_COUNT],
    /// Ticks in the emulator, idle time left out, by the VMPL that it served.
    pub(crate) emulator_ticks: [u64; VMPL_COUNT],
    /// Ticks asleep.
    pub(crate) idle_ticks: u64,
    /// Ticks of VMPL0 when a less privileged VMPL was first entered.
    pub(crate) until_guest: Option<u64>,
    /// VMPL0's intervals, by RAX and RCX of the caller.
    intervals: BTreeMap<(u64, u64), Intervals>,
}

/// How many, and how long together.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    count: u64,
    ticks: u64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.ticks += other.ticks;
    }
}

fn add(sums: &mut BTreeMap<u64, Sum>, kind: u64, what: Sum) {
    if let Some(sum) = sums.get_mut(&kind) {
        sum.add(what);
    } else if sums.len() < MOST_KINDS {
        sums.insert(kind, what);
    } else {
        sums.entry(ALL_OTHERS).or_default().add(what);
    }
}

impl Diary {
    pub(crate) const fn new() -> Self {
        Self {
            last: [Exit {
                tsc: 0,
                vmpl: 0,
                code: 0,
                info1: 0,
                info2: 0,
                rip: 0,
                ghcb: 0,
            }; REMEMBERED],
            next: 0,
            exits: [const { BTreeMap::new() }; VMPL_COUNT],
            requests: [const { BTreeMap::new() }; VMPL_COUNT],
            guest_ticks: [0; VMPL_COUNT],
            emulator_ticks: [0; VMPL_COUNT],
            idle_ticks: 0,
            until_guest: None,
            intervals: BTreeMap::new(),
        }
    }

    /// Notes an exit.
    pub(crate) fn exit(&mut self, exit: Exit) {
        self.last[self.next % REMEMBERED] = exit;
        self.next += 1;
    }

    /// Notes that the last exit was served in `ticks`.
    pub(crate) fn served(&mut self, ticks: u64) {
        let Some(last) = self.next.checked_sub(1) else {
            return;
        };
        let Exit {
            vmpl, code, ghcb, ..
        } = self.last[last % REMEMBERED];
        let vmpl = usize::from(vmpl);
        let one = Sum { count: 1, ticks };
        add(&mut self.exits[vmpl], code, one);
        if ghcb != 0 {
            add(&mut self.requests[vmpl], ghcb, one);
        }
        self.emulator_ticks[vmpl] += ticks;
    }

    /// Notes what the last exit, a VMGEXIT, asked for.
    pub(crate) fn request(&mut self, code: u64) {
        if let Some(last) = self.next.checked_sub(1) {
            self.last[last % REMEMBERED].ghcb = code;
        }
    }

    /// Notes that VMPL0 served the caller with these registers in `ticks` of its own.
    pub(crate) fn interval(&mut self, rax: u64, rcx: u64, ticks: u64) {
        let mut key = (rax, rcx);
        if self.intervals.len() >= MOST_CALLERS && !self.intervals.contains_key(&key) {
            key = (ALL_OTHERS, ALL_OTHERS);
        }
        let entry = self.intervals.entry(key).or_insert(Intervals {
            count: 0,
            min: u64::MAX,
            max: 0,
            sum: 0,
        });
        entry.count += 1;
        entry.min = entry.min.min(ticks);
        entry.max = entry.max.max(ticks);
        entry.sum += ticks;
    }

    /// Writes the last exits into the report.
    pub(crate) fn report_last(&self, vcpu: u32) {
        let count = self.next.min(REMEMBERED);
        if count == 0 {
            say(format_args!("vCPU {vcpu} never ran"));
            return;
        }
        say(format_args!("last exits of vCPU {vcpu}, oldest first:"));
        for number in self.next - count..self.next {
            let exit = &self.last[number % REMEMBERED];
            say(format_args!(
                "  {:>16} VMPL{} {:#05x} {:<20} info {:#x} {:#x} RIP {:#x}{}",
                exit.tsc,
                exit.vmpl,
                exit.code,
                exit_name(exit.code),
                exit.info1,
                exit.info2,
                exit.rip,
                Request(exit.ghcb),
            ));
        }
    }

    /// Adds another diary's sums to this one.
    pub(crate) fn add(&mut self, other: &Self) {
        for vmpl in 0..VMPL_COUNT {
            for (code, sum) in &other.exits[vmpl] {
                add(&mut self.exits[vmpl], *code, *sum);
            }
            for (code, sum) in &other.requests[vmpl] {
                add(&mut self.requests[vmpl], *code, *sum);
            }
            self.guest_ticks[vmpl] += other.guest_ticks[vmpl];
            self.emulator_ticks[vmpl] += other.emulator_ticks[vmpl];
        }
        self.idle_ticks += other.idle_ticks;
        self.until_guest = match (self.until_guest, other.until_guest) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        for (registers, interval) in &other.intervals {
            let entry = self.intervals.entry(*registers).or_insert(Intervals {
                count: 0,
                min: u64::MAX,
                max: 0,
                sum: 0,
            });
            entry.count += interval.count;
            entry.min = entry.min.min(interval.min);
            entry.max = entry.max.max(interval.max);
            entry.sum += interval.sum;
        }
    }

    /// Writes the statistics lines: one JSON object each.
    pub(crate) fn write_statistics(&self, vcpus: u32, tsc_hz: u64, ticks: u64) {
        log::line(
            LINE_STATISTICS,
            format_args!(
                r#"{{"kind":"run","vcpus":{vcpus},"tsc_hz":{tsc_hz},"ticks":{ticks},"idle_ticks":{},"vmpl0_ticks_until_guest":{}}}"#,
                self.idle_ticks,
                self.until_guest.map_or(-1, |ticks| ticks as i64),
            ),
        );
        for vmpl in 0..VMPL_COUNT {
            if self.exits[vmpl].is_empty() {
                continue;
            }
            log::line(
                LINE_STATISTICS,
                format_args!(
                    r#"{{"kind":"vmpl","vmpl":{vmpl},"guest_ticks":{},"emulator_ticks":{}}}"#,
                    self.guest_ticks[vmpl], self.emulator_ticks[vmpl],
                ),
            );
            for (code, sum) in &self.exits[vmpl] {
                log::line(
                    LINE_STATISTICS,
                    format_args!(
                        r#"{{"kind":"exits","vmpl":{vmpl},"code":{code},"name":"{}","count":{},"ticks":{}}}"#,
                        exit_name(*code),
                        sum.count,
                        sum.ticks,
                    ),
                );
            }
            for (code, sum) in &self.requests[vmpl] {
                log::line(
                    LINE_STATISTICS,
                    format_args!(
                        r#"{{"kind":"requests","vmpl":{vmpl},"code":{code},"count":{},"ticks":{}}}"#,
                        sum.count, sum.ticks,
                    ),
                );
            }
        }
        for ((rax, rcx), interval) in &self.intervals {
            log::line(
                LINE_STATISTICS,
                format_args!(
                    r#"{{"kind":"interval","rax":{rax},"rcx":{rcx},"count":{},"min":{},"max":{},"sum":{}}}"#,
                    interval.count, interval.min, interval.max, interval.sum,
                ),
            );
        }
    }
}

/// What a VMGEXIT asked for, for people; nothing where the exit was none.
struct Request(u64);

impl core::fmt::Display for Request {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            0 => Ok(()),
            value if value & 0xFFF != 0 && value < 0x1000 => {
                write!(f, " MSR protocol {value:#x}")
            }
            code => write!(f, " GHCB {code:#x}"),
        }
    }
}
