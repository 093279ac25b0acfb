// SPDX-License-Identifier: MIT OR Apache-2.0
//! The statistics that the emulator logs at the end of a run: read for the benchmark, and printed
//! as a short table.
#![forbid(unsafe_code)]

use serde_json::Value;
use snp_defs::exit;

/// What one VMPL did, on all vCPUs together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Vmpl {
    /// Its number.
    pub(crate) vmpl: u64,
    /// Ticks that it executed itself.
    pub(crate) guest_ticks: u64,
    /// Ticks that the emulator worked for it.
    pub(crate) emulator_ticks: u64,
    /// Its exits by name, the most frequent first.
    pub(crate) exits: Vec<(String, u64)>,
    /// Its requests to the host by code, the most frequent first.
    pub(crate) requests: Vec<(u64, u64)>,
}

/// Intervals that VMPL0 executed for calls with the same registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interval {
    /// RAX of the caller: protocol and call.
    pub(crate) rax: u64,
    /// RCX of the caller.
    pub(crate) rcx: u64,
    /// How many there were.
    pub(crate) count: u64,
    /// The shortest, in ticks.
    pub(crate) min: u64,
    /// The longest, in ticks.
    pub(crate) max: u64,
    /// All together, in ticks.
    pub(crate) sum: u64,
}

/// All statistics of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Statistics {
    /// Ticks of the time-stamp counter in a second.
    pub(crate) tsc_hz: u64,
    /// Ticks from the start of the first vCPU to the end.
    pub(crate) ticks: u64,
    /// Ticks that all vCPUs together were asleep.
    pub(crate) idle_ticks: u64,
    /// Ticks that VMPL0 executed before a less privileged VMPL was first entered.
    pub(crate) until_guest: Option<u64>,
    /// What each VMPL did.
    pub(crate) vmpls: Vec<Vmpl>,
    /// What VMPL0 did for its callers.
    pub(crate) intervals: Vec<Interval>,
}

impl Statistics {
    /// Reads the lines of the emulator's log, a JSON object each. Unknown kinds are passed over.
    /// `None` if the run wrote none.
    pub(crate) fn read(lines: &[String]) -> Option<Self> {
        let mut statistics = Self::default();
        let mut seen = false;
        for line in lines {
            let Ok(object) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            let number = |key: &str| object[key].as_u64().unwrap_or(0);
            match object["kind"].as_str() {
                Some("run") => {
                    seen = true;
                    statistics.tsc_hz = number("tsc_hz");
                    statistics.ticks = number("ticks");
                    statistics.idle_ticks = number("idle_ticks");
                    // -1 where none was entered.
                    statistics.until_guest = object["vmpl0_ticks_until_guest"].as_u64();
                }
                Some("vmpl") => {
                    let vmpl = statistics.vmpl(number("vmpl"));
                    vmpl.guest_ticks = number("guest_ticks");
                    vmpl.emulator_ticks = number("emulator_ticks");
                }
                Some("exits") => {
                    let name = object["name"].as_str().unwrap_or("other").to_owned();
                    let exits = &mut statistics.vmpl(number("vmpl")).exits;
                    match exits.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, count)) => *count += number("count"),
                        None => exits.push((name, number("count"))),
                    }
                }
                Some("requests") => {
                    let request = (number("code"), number("count"));
                    statistics.vmpl(number("vmpl")).requests.push(request);
                }
                Some("interval") => statistics.intervals.push(Interval {
                    rax: number("rax"),
                    rcx: number("rcx"),
                    count: number("count"),
                    min: number("min"),
                    max: number("max"),
                    sum: number("sum"),
                }),
                _ => {}
            }
        }
        for vmpl in &mut statistics.vmpls {
            vmpl.exits
                .sort_by_key(|&(_, count)| std::cmp::Reverse(count));
            vmpl.requests
                .sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        }
        seen.then_some(statistics)
    }

    fn vmpl(&mut self, number: u64) -> &mut Vmpl {
        let index = match self.vmpls.iter().position(|vmpl| vmpl.vmpl == number) {
            Some(index) => index,
            None => {
                self.vmpls.push(Vmpl {
                    vmpl: number,
                    ..Vmpl::default()
                });
                self.vmpls.len() - 1
            }
        };
        &mut self.vmpls[index]
    }

    /// The table for a person, if there is anything to tell.
    pub(crate) fn table(&self, has_svsm: bool) -> String {
        let seconds = |ticks: u64| ticks as f64 / self.tsc_hz.max(1) as f64;
        let mut text = format!(
            "\n{:<14}{:>10}{:>13}{:>10}  most of them\n",
            "", "itself", "emulator", "exits"
        );
        for vmpl in &self.vmpls {
            let who = match (vmpl.vmpl, has_svsm) {
                (0, true) => "VMPL0 SVSM".to_owned(),
                (number, _) => format!("VMPL{number} guest"),
            };
            let exits: u64 = vmpl.exits.iter().map(|(_, count)| count).sum();
            text.push_str(&format!(
                "{who:<14}{:>8.3} s{:>11.3} s{exits:>10}  {}\n",
                seconds(vmpl.guest_ticks),
                seconds(vmpl.emulator_ticks),
                most(
                    vmpl.exits
                        .iter()
                        .map(|(name, count)| (name.clone(), *count))
                ),
            ));
            let requests: u64 = vmpl.requests.iter().map(|(_, count)| count).sum();
            if requests > 0 {
                text.push_str(&format!(
                    "{:<14}{:>33}  {}\n",
                    "  of these",
                    format!("requests {requests}"),
                    most(
                        vmpl.requests
                            .iter()
                            .map(|&(code, count)| (request_name(code), count))
                    ),
                ));
            }
        }
        text.push_str(&format!(
            "{:<14}{:>8.3} s\n",
            "asleep",
            seconds(self.idle_ticks)
        ));
        text
    }
}

/// The three most frequent of `counts`.
fn most(counts: impl Iterator<Item = (String, u64)>) -> String {
    let words: Vec<_> = counts
        .take(3)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    words.join(", ")
}

/// What a VMGEXIT asked for: a code of the MSR protocol is below 0x1000 and no SVM exit code has
/// its number, or else it is an SVM exit code or one of the GHCB specification's own.
fn request_name(code: u64) -> String {
    let name = match code {
        exit::CPUID => "CPUID",
        exit::IOIO => "port I/O",
        exit::MSR => "MSR",
        exit::WBINVD => "WBINVD",
        exit::MMIO_READ => "MMIO read",
        exit::MMIO_WRITE => "MMIO write",
        exit::PAGE_STATE_CHANGE => "page state",
        exit::GUEST_REQUEST | exit::EXT_GUEST_REQUEST => "guest request",
        exit::AP_CREATION => "AP creation",
        exit::HV_DOORBELL => "doorbell",
        exit::APIC_ID_LIST => "APIC ids",
        exit::RUN_VMPL => "run VMPL",
        exit::HV_FEATURES => "features",
        // MSR protocol (GHCB specification 56421, 2.3.1).
        0x002 => "SEV information",
        0x004 => "CPUID",
        0x010 | 0x012 => "GHCB place",
        0x014 => "page state",
        0x016 => "run VMPL",
        0x080 => "features",
        _ => return format!("{code:#x}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<String> {
        [
            r#"{"kind":"run","vcpus":2,"tsc_hz":1000,"ticks":5000,"idle_ticks":500,"vmpl0_ticks_until_guest":77}"#,
            r#"{"kind":"vmpl","vmpl":0,"guest_ticks":100,"emulator_ticks":50}"#,
            r#"{"kind":"exits","vmpl":0,"code":129,"name":"VMMCALL or VMGEXIT","count":12}"#,
            r#"{"kind":"vmpl","vmpl":2,"guest_ticks":3000,"emulator_ticks":1500}"#,
            r#"{"kind":"exits","vmpl":2,"code":1024,"name":"nested page fault","count":3}"#,
            r#"{"kind":"exits","vmpl":2,"code":129,"name":"VMMCALL or VMGEXIT","count":30}"#,
            r#"{"kind":"requests","vmpl":2,"code":123,"count":20}"#,
            r#"{"kind":"interval","rax":1,"rcx":4096,"count":2,"min":10,"max":20,"sum":30}"#,
            r#"{"kind":"of the future"}"#,
            "not JSON",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    #[test]
    fn lines_become_numbers() {
        let read = Statistics::read(&lines()).unwrap();
        assert_eq!(read.until_guest, Some(77));
        assert_eq!(read.vmpls.len(), 2);
        assert_eq!(
            read.vmpls[1].exits[0],
            ("VMMCALL or VMGEXIT".to_owned(), 30)
        );
        assert_eq!(read.intervals[0].sum, 30);
        assert_eq!(Statistics::read(&[]), None);
    }

    #[test]
    fn the_table_is_short() {
        let table = Statistics::read(&lines()).unwrap().table(true);
        assert!(table.lines().count() <= 7, "{table}");
        assert!(
            table.contains("VMPL0 SVSM       0.100 s      0.050 s        12"),
            "{table}"
        );
        assert!(table.contains("requests 20  port I/O 20"), "{table}");
    }

    #[test]
    fn a_run_without_a_guest_has_no_such_time() {
        let line = lines()[0].replace("77", "-1");
        assert_eq!(Statistics::read(&[line]).unwrap().until_guest, None);
    }
}
