// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a boot came to, read from the two serial ports. A skip is a skip: a program that found its
//! requirements missing has tested nothing, and one whose every part was skipped neither.

use serde_json::{Value, json};

/// KSFT_SKIP of tools/testing/selftests/kselftest.h.
const SKIPPED: i32 = 4;
/// What a shell says of a program that SIGKILL ended.
const KILLED: i32 = 128 + 9;

/// What a test came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It held.
    Pass,
    /// It could not be run, for this reason.
    Skip(String),
    /// It failed, for this reason.
    Fail(String),
}

impl Verdict {
    /// The word for it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Skip(_) => "SKIPPED",
            Self::Fail(_) => "FAIL",
        }
    }

    /// Why; empty for a pass.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Pass => "",
            Self::Skip(reason) | Self::Fail(reason) => reason,
        }
    }

    /// What `word` and `reason` were of.
    pub(crate) fn read(word: &str, reason: &str) -> Option<Self> {
        match word {
            "pass" => Some(Self::Pass),
            "SKIPPED" => Some(Self::Skip(reason.to_owned())),
            "FAIL" => Some(Self::Fail(reason.to_owned())),
            _ => None,
        }
    }
}

/// A test that was run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Done {
    /// Its name.
    pub(crate) name: String,
    /// What it came to.
    pub(crate) verdict: Verdict,
    /// How long it took, by the guest's clock.
    pub(crate) seconds: f64,
    /// The end of what it said.
    pub(crate) said: String,
}

impl Done {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "test": self.name,
            "verdict": self.verdict.word(),
            "reason": self.verdict.reason(),
            "seconds": self.seconds,
        })
    }
}

/// A boot, as far as it came.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Transcript {
    /// The kernel's release, if it reached user space.
    pub(crate) release: Option<String>,
    /// Could `/dev/kvm` be opened?
    pub(crate) kvm: bool,
    /// Tests that ended.
    pub(crate) done: Vec<Done>,
    /// The test that was under way at the end.
    pub(crate) running: Option<String>,
    /// Did it come to the end?
    pub(crate) complete: bool,
}

/// Reads what `/init` and the tests wrote. A test that took `limit` seconds was stopped.
pub(crate) fn read(results: &str, limit: u64) -> Transcript {
    let mut transcript = Transcript::default();
    let mut said: Vec<&str> = Vec::new();
    for line in results.lines() {
        let Some(mark) = line.strip_prefix("@@ ") else {
            said.push(line);
            continue;
        };
        let words: Vec<_> = mark.split(' ').collect();
        match words.as_slice() {
            ["boot", release @ ..] => transcript.release = Some(release.join(" ")),
            ["kvm", ..] => transcript.kvm = true,
            ["start", name] => {
                transcript.running = Some((*name).to_owned());
                said.clear();
            }
            ["end", name, status, begin, end] => {
                let number = |text: &str| text.parse::<f64>().unwrap_or_default();
                let seconds = (number(end) - number(begin)).max(0.0);
                let status = status.parse().unwrap_or(-1);
                transcript.done.push(Done {
                    name: (*name).to_owned(),
                    verdict: of_program(status, &said, seconds, limit),
                    seconds,
                    said: said.join("\n").trim().to_owned(),
                });
                transcript.running = None;
                said.clear();
            }
            ["done"] => transcript.complete = true,
            // A test may write what it likes.
            _ => said.push(line),
        }
    }
    transcript
}

fn of_program(status: i32, said: &[&str], seconds: f64, limit: u64) -> Verdict {
    let last = || {
        said.iter()
            .rev()
            .map(|line| line.trim())
            .find(|line| !line.is_empty())
            .unwrap_or("it said nothing")
            .to_owned()
    };
    match status {
        0 => {
            let parts: Vec<_> = said
                .iter()
                .filter(|line| line.starts_with("ok ") || line.starts_with("not ok "))
                .collect();
            let skipped = |line: &&&&str| line.to_ascii_uppercase().contains("# SKIP");
            match parts.iter().find(skipped) {
                Some(line) if parts.iter().all(|line| skipped(&line)) => {
                    Verdict::Skip(skip_reason(line).to_owned())
                }
                _ => Verdict::Pass,
            }
        }
        SKIPPED => {
            let line = said
                .iter()
                .rfind(|line| line.to_ascii_uppercase().contains("SKIP"))
                .map(|line| skip_reason(line).to_owned());
            Verdict::Skip(line.unwrap_or_else(last))
        }
        KILLED if seconds + 0.5 >= limit as f64 => {
            Verdict::Fail(format!("it was not done after {limit} s"))
        }
        126 | 127 => Verdict::Fail(format!("it could not be started: {}", last())),
        _ => {
            let assertion = said
                .iter()
                .position(|line| line.contains("Test Assertion Failure"))
                .map(|at| {
                    let lines = &said[at..said.len().min(at + 2)];
                    lines
                        .iter()
                        .map(|line| line.trim())
                        .collect::<Vec<_>>()
                        .join(" ")
                });
            Verdict::Fail(format!(
                "status {status}: {}",
                assertion.unwrap_or_else(last)
            ))
        }
    }
}

/// What follows `# SKIP`, or the whole line.
fn skip_reason(line: &str) -> &str {
    let upper = line.to_ascii_uppercase();
    let rest = upper
        .find("# SKIP")
        .map_or(line, |at| &line[at + "# SKIP".len()..]);
    let rest = rest.trim_start_matches([' ', '-', ':']).trim();
    if rest.is_empty() { line.trim() } else { rest }
}

/// A complaint of the kernel's, and the test during which it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Splat {
    /// The test; none while the kernel booted.
    pub(crate) test: Option<String>,
    /// The first line.
    pub(crate) line: String,
}

/// How the kernel's complaints begin: lib/bug.c, mm/kasan/report.c, kernel/locking/lockdep.c,
/// kernel/rcu/tree_stall.h, kernel/panic.c.
const COMPLAINTS: [&str; 10] = [
    "WARNING: ",
    "BUG: ",
    "kernel BUG at ",
    "Kernel panic",
    "Oops: ",
    "general protection fault",
    "INFO: task ",
    "INFO: possible ",
    "rcu: INFO: ",
    "UBSAN: ",
];

/// Reads the kernel's complaints from its console.
pub(crate) fn splats(console: &str) -> Vec<Splat> {
    let mut test = None;
    let mut found = Vec::new();
    for line in console.lines() {
        let message = message(line);
        if let Some(name) = message.strip_prefix("@@ ") {
            test = Some(name.to_owned());
        } else if COMPLAINTS.iter().any(|start| message.starts_with(start)) {
            found.push(Splat {
                test: test.clone(),
                line: message.to_owned(),
            });
        }
    }
    found
}

/// A line of the console without its time stamp.
fn message(line: &str) -> &str {
    let line = line.trim();
    match line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((stamp, rest)) if stamp.trim().parse::<f64>().is_ok() => rest.trim_start(),
        _ => line,
    }
}

/// The last lines of the console that say something, for people.
pub(crate) fn last_lines(console: &str) -> Vec<&str> {
    const MOST: usize = 12;
    let lines: Vec<_> = console
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    // From the panic on, if there is one: what follows is a trace.
    let from = lines
        .iter()
        .position(|line| {
            COMPLAINTS
                .iter()
                .any(|start| message(line).starts_with(start))
        })
        .unwrap_or(lines.len().saturating_sub(MOST));
    lines[from..lines.len().min(from + MOST)].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULTS: &str = "@@ boot 7.1.8\n@@ kvm /sys/module/kvm_amd/parameters/nested\n\
        @@ start x86/cpuid_test\nRandom seed: 1\n\n@@ end x86/cpuid_test 0 1.50 2.25\n\
        @@ start x86/vmx_msrs_test\n1..0 # SKIP - Requirement not met: kvm_cpu_has(X86_FEATURE_VMX)\n\
        \n@@ end x86/vmx_msrs_test 4 2.30 2.40\n\
        @@ start set_memory_region_test\n==== Test Assertion Failure ====\n  lib/x.c:1: !ret\n\
        THP is not configured\n@@ end set_memory_region_test 254 2.50 2.60\n\
        @@ start slow\n@@ end slow 137 3.00 63.00\n\
        @@ start crash\nSegmentation fault\n@@ end crash 139 63.00 63.10\n\
        @@ start parts\n1..2\nok 1 # SKIP no TDX\nok 2 two # SKIP no TDX\n@@ end parts 0 64 65\n\
        @@ start some\nok 1 one\nok 2 two # SKIP no TDX\n@@ end some 0 65 66\n@@ start last\n";

    #[test]
    fn statuses_and_words_give_verdicts() {
        let read = read(RESULTS, 60);
        assert_eq!(read.release.as_deref(), Some("7.1.8"));
        assert!(read.kvm && !read.complete);
        assert_eq!(read.running.as_deref(), Some("last"));
        let verdict = |name: &str| {
            let done = read.done.iter().find(|done| done.name == name).unwrap();
            done.verdict.clone()
        };
        assert_eq!(verdict("x86/cpuid_test"), Verdict::Pass);
        assert_eq!(read.done[0].seconds, 0.75);
        assert_eq!(read.done[0].said, "Random seed: 1");
        assert_eq!(
            verdict("x86/vmx_msrs_test"),
            Verdict::Skip("Requirement not met: kvm_cpu_has(X86_FEATURE_VMX)".to_owned())
        );
        assert_eq!(
            verdict("set_memory_region_test"),
            Verdict::Fail(
                "status 254: ==== Test Assertion Failure ==== lib/x.c:1: !ret".to_owned()
            )
        );
        assert_eq!(
            verdict("slow"),
            Verdict::Fail("it was not done after 60 s".to_owned())
        );
        assert_eq!(
            verdict("crash"),
            Verdict::Fail("status 139: Segmentation fault".to_owned())
        );
        // Every part skipped is no pass; one part that ran is.
        assert_eq!(verdict("parts"), Verdict::Skip("no TDX".to_owned()));
        assert_eq!(verdict("some"), Verdict::Pass);
    }

    #[test]
    fn what_is_cut_off_is_not_done() {
        assert_eq!(read("", 60), Transcript::default());
        let cut = read("@@ boot 7\n@@ start a\n@@ end a 0 1", 60);
        assert!(cut.done.is_empty() && cut.running.is_some());
        assert!(read("@@ boot 7\n@@ done\n", 60).complete);
    }

    #[test]
    fn a_verdict_is_read_back() {
        for verdict in [
            Verdict::Pass,
            Verdict::Skip("a".into()),
            Verdict::Fail("b".into()),
        ] {
            assert_eq!(
                Verdict::read(verdict.word(), verdict.reason()),
                Some(verdict)
            );
        }
        assert_eq!(Verdict::read("ok", ""), None);
    }

    #[test]
    fn the_kernels_complaints_belong_to_a_test() {
        let console = "[    0.1] Linux version\n[    0.5] WARNING: CPU: 0 at x\n[    0.9] @@ x86/a\n\
            [    1.0] kvm: no WARNING: here\n[    1.1] BUG: KASAN: use-after-free in f\n";
        assert_eq!(
            splats(console),
            [
                Splat {
                    test: None,
                    line: "WARNING: CPU: 0 at x".to_owned()
                },
                Splat {
                    test: Some("x86/a".to_owned()),
                    line: "BUG: KASAN: use-after-free in f".to_owned(),
                },
            ]
        );
    }

    #[test]
    fn the_last_lines_begin_at_the_panic() {
        let mut console: String = (0..50).map(|at| format!("[ {at}.0] line\n")).collect();
        assert_eq!(last_lines(&console).len(), 12);
        console.push_str("[   51.0] Kernel panic - not syncing: x\n[   51.1] Call Trace:\n");
        let last = last_lines(&console);
        assert_eq!(last[0], "[   51.0] Kernel panic - not syncing: x");
        assert_eq!(last.len(), 2);
    }
}
