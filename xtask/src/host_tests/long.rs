// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test --long`: the downstream branches, built from nothing and booted. Each step is
//! a word of the branch tool, which keeps what it has built, so a second run is short.
#![forbid(unsafe_code)]

use anyhow::Result;
use serde_json::Value;

use super::{Findings, HostTest, Totals, unit};
use crate::cache::Cache;
use crate::captured::{self, Captured};
use crate::workspace::cargo;

/// Status of the branch tool: no source has a base, or a package is missing.
const UNAVAILABLE: i32 = 5;

pub(super) const TESTS: &[HostTest] = &[
    HostTest {
        name: "long::each::planes",
        run: || built("planes"),
    },
    HostTest {
        name: "long::boot::planes",
        run: || told(&["boot", "planes", "--json"], booted),
    },
    HostTest {
        name: "long::race::planes",
        run: || told(&RACE, booted),
    },
    HostTest {
        name: "long::each::planes_6_18",
        run: || built("planes-6.18"),
    },
    HostTest {
        name: "long::boot::planes_6_18",
        run: || told(&["boot", "planes-6.18", "--json"], booted),
    },
    HostTest {
        name: "long::each::tdx_partitioning",
        run: || built("tdx-partitioning"),
    },
    HostTest {
        name: "long::side_by_side::planes",
        run: || told(&["boot", "planes", "--long", "--json"], compared),
    },
    HostTest {
        name: "long::each::tcg_svm",
        run: || built("tcg-svm"),
    },
    HostTest {
        name: "long::real_trees::linux",
        run: || real_trees("linux", ["v6.12.90", "v6.12.96", "v6.18.15"]),
    },
    HostTest {
        name: "long::real_trees::qemu",
        run: || real_trees("qemu", ["v7.2", "v10.0.13", "v10.2.2"]),
    },
];

/// The tests of planes on a kernel with lockdep and KASAN, which everything takes longer on.
const RACE: [&str; 9] = [
    "boot",
    "planes",
    "--build",
    "kvm-debug",
    "--test",
    "x86/plane_*",
    "--limit",
    "300",
    "--json",
];

/// The engine beside git, on patches made of what differs between three releases of `project`: a
/// base, the next one, and a further one.
fn real_trees(project: &str, releases: [&str; 3]) -> Result<Findings> {
    let mut words = vec!["fetch"];
    words.extend(releases.iter().flat_map(|release| ["--base", release]));
    let fetched = tool(&words)?;
    if !fetched.success {
        return Ok(unlucky(&fetched));
    }
    let mirror = Cache::place()?.join(format!("branches/mirror/{project}.git"));
    let mut command = cargo();
    command
        .args(["test", "--quiet", "--release", "--package", "patch-stack"])
        .args(["--test", "real_trees", "--"])
        .args(["--ignored", "--nocapture", "--test-threads=1"])
        .env("PATCH_STACK_REPOSITORY", mirror)
        .env(
            "PATCH_STACK_RELEASES",
            releases
                .map(|release| format!("refs/bases/{release}"))
                .join(","),
        );
    Ok(unit::findings(&captured::run(command)?))
}

/// Fetches what the branch is on, and builds each of its patches.
fn built(branch: &str) -> Result<Findings> {
    let fetched = tool(&["fetch", branch])?;
    if !fetched.success {
        return Ok(unlucky(&fetched));
    }
    told(&["build", branch, "--each", "--json"], |report| {
        let mut totals = Totals::default();
        let mut lines = Vec::new();
        for build in items(&report["builds"]) {
            for step in items(&build["steps"]) {
                if step["verdict"] == "built" {
                    totals.passed += 1;
                } else {
                    totals.failed += 1;
                    lines.push(format!("{}: {}", text(&step["of"]), text(&step["reason"])));
                }
            }
        }
        findings(totals, lines)
    })
}

/// The tests of one boot.
fn booted(report: &Value) -> Findings {
    let mut totals = Totals::default();
    let mut lines = vec![format!(
        "{:.1} s",
        report["seconds"].as_f64().unwrap_or(0.0)
    )];
    for test in items(&report["tests"]) {
        match text(&test["verdict"]) {
            "pass" => totals.passed += 1,
            "SKIPPED" => totals.skipped += 1,
            _ => totals.failed += 1,
        }
        if test["verdict"] != "pass" {
            lines.push(sentence(test, "test"));
        }
    }
    findings(totals, lines)
}

/// The tests of two boots. One that fails on both is nobody's: it is told, and counts as skipped.
fn compared(report: &Value) -> Findings {
    let mut totals = Totals::default();
    let mut lines = Vec::new();
    for pair in items(&report["tests"]) {
        let tip = &pair["tip"];
        if pair["worse"] == true {
            totals.failed += 1;
        } else if tip["verdict"] == "pass" {
            totals.passed += 1;
            continue;
        } else {
            totals.skipped += 1;
        }
        lines.push(format!(
            "{}: {}, before: {}; {}",
            text(&pair["test"]),
            text(&tip["verdict"]),
            text(&pair["base"]["verdict"]),
            text(&tip["reason"]).lines().next().unwrap_or_default()
        ));
    }
    findings(totals, lines)
}

fn findings(totals: Totals, lines: Vec<String>) -> Findings {
    // A report that has nothing to say has tested nothing.
    if totals == Totals::default() {
        return Findings::failed("the branch tool's report has no result".to_owned());
    }
    Findings {
        totals,
        detail: lines.join("\n"),
    }
}

fn sentence(value: &Value, name: &str) -> String {
    format!(
        "{}: {} {}",
        text(&value[name]),
        text(&value["verdict"]),
        text(&value["reason"])
    )
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Runs the branch tool and reads the report that it writes, even if it failed.
fn told(words: &[&str], read: impl Fn(&Value) -> Findings) -> Result<Findings> {
    let ended = tool(words)?;
    match serde_json::from_str(&ended.output) {
        Ok(report) => {
            let mut findings = read(&report);
            // Its word counts, whatever is in the report.
            if !ended.success && findings.totals.failed == 0 {
                findings.totals.failed = 1;
            }
            Ok(findings)
        }
        Err(_) => Ok(unlucky(&ended)),
    }
}

/// What is not to be had here can't be tested here.
fn unlucky(ended: &Captured) -> Findings {
    let reason: Vec<_> = ended
        .errors
        .lines()
        .skip_while(|line| !line.starts_with("error:"))
        .collect();
    let reason = reason.join("\n");
    if ended.status == Some(UNAVAILABLE) {
        Findings::skipped(reason)
    } else {
        let status = ended.status.unwrap_or(-1);
        Findings::failed(format!("status {status}: {reason}"))
    }
}

fn tool(words: &[&str]) -> Result<Captured> {
    let mut command = cargo();
    // On Unix `cargo run` becomes the program that it runs, so a signal reaches that.
    command
        .args(["run", "--quiet", "--release", "--package", "xtask-branch"])
        .args(["--", "branch"])
        .args(words);
    captured::run(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_skip_is_a_skip_and_no_result_is_a_failure() {
        let report = json!({ "seconds": 9.0, "tests": [
            { "test": "boot", "verdict": "pass", "reason": "" },
            { "test": "x86/vmx", "verdict": "SKIPPED", "reason": "no VMX" },
            { "test": "x86/a", "verdict": "FAIL", "reason": "status 254" },
        ]});
        let found = booted(&report);
        let totals = Totals {
            passed: 1,
            failed: 1,
            skipped: 1,
        };
        assert_eq!(found.totals, totals);
        assert!(
            found.detail.contains("x86/vmx: SKIPPED no VMX"),
            "{}",
            found.detail
        );
        assert_eq!(booted(&json!({})).totals.failed, 1);
        assert_eq!(compared(&json!({ "tests": [] })).totals.failed, 1);
    }

    #[test]
    fn only_what_got_worse_fails() {
        let pair = |base: &str, tip: &str, worse: bool| {
            json!({ "test": "t", "base": { "verdict": base, "reason": "" },
                    "tip": { "verdict": tip, "reason": "r" }, "worse": worse })
        };
        let found = compared(&json!({ "tests": [
            pair("pass", "pass", false),
            pair("pass", "FAIL", true),
            pair("FAIL", "FAIL", false),
            pair("SKIPPED", "SKIPPED", false),
        ]}));
        let totals = Totals {
            passed: 1,
            failed: 1,
            skipped: 2,
        };
        assert_eq!(found.totals, totals);
    }

    #[test]
    fn what_is_not_to_be_had_is_skipped() {
        let ended = |status| Captured {
            success: false,
            status: Some(status),
            output: String::new(),
            errors: "fetching\nerror: no source\nhint: x\n".to_owned(),
        };
        assert_eq!(unlucky(&ended(5)).totals.skipped, 1);
        assert_eq!(unlucky(&ended(5)).detail, "error: no source\nhint: x");
        assert_eq!(unlucky(&ended(1)).totals.failed, 1);
    }
}
