// SPDX-License-Identifier: MIT OR Apache-2.0
//! The unit and property tests of the workspace, counted.
#![forbid(unsafe_code)]

use super::{Findings, HostTest, Totals};
use crate::captured::{self, Captured};
use crate::workspace::cargo;

pub(super) const TESTS: &[HostTest] = &[HostTest {
    name: "unit",
    run: || {
        let mut command = cargo();
        command.args(["test", "--workspace", "--no-fail-fast"]);
        Ok(findings(&captured::run(command)?))
    },
}];

/// What a run of test binaries says of itself.
pub(super) fn findings(captured: &Captured) -> Findings {
    let mut totals = count(&captured.text());
    if captured.success {
        let mut detail = format!("{} passed", totals.passed);
        // What is left out says why.
        for line in captured.text().lines() {
            if line.starts_with("test ") && line.contains(" ... ignored") {
                detail.push('\n');
                detail.push_str(line);
            }
        }
        return Findings { totals, detail };
    }
    // Without a count of failures, they did not even build.
    totals.failed = totals.failed.max(1);
    Findings {
        totals,
        detail: failures(&captured.text()),
    }
}

/// Adds up the lines with which each test binary ends.
fn count(text: &str) -> Totals {
    let mut totals = Totals::default();
    for result in text
        .lines()
        .filter_map(|line| line.strip_prefix("test result: "))
    {
        let number = |unit: &str| {
            result
                .split(['.', ';'])
                .find_map(|part| part.trim().strip_suffix(unit)?.trim().parse::<u64>().ok())
                .unwrap_or(0)
        };
        totals += Totals {
            passed: number("passed"),
            failed: number("failed"),
            skipped: number("ignored"),
        };
    }
    totals
}

/// What of cargo's output tells of failures: all but the tests that passed.
fn failures(text: &str) -> String {
    text.lines()
        .filter(|line| {
            !line.ends_with("... ok")
                && !line.starts_with("running ")
                && !line.contains("Running ")
                && !line.starts_with("test result: ok")
                && !line.trim().is_empty()
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_test_binaries_add_up() {
        let text = "running 2 tests\n\
            test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            test result: FAILED. 3 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n";
        assert_eq!(
            count(text),
            Totals {
                passed: 5,
                failed: 4,
                skipped: 1
            }
        );
    }

    #[test]
    fn what_is_left_out_says_why() {
        let findings = findings(&Captured {
            success: true,
            status: None,
            errors: String::new(),
            output: "test a ... ok\ntest b ... ignored, too slow\ntest result: ok. 1 passed; 0 failed; 1 ignored; 0 measured\n"
                .to_owned(),
        });
        assert_eq!((findings.totals.passed, findings.totals.skipped), (1, 1));
        assert_eq!(findings.detail, "1 passed\ntest b ... ignored, too slow");
    }

    #[test]
    fn what_does_not_build_is_a_failure() {
        let findings = findings(&Captured {
            success: false,
            status: None,
            errors: String::new(),
            output: "error: could not compile".to_owned(),
        });
        assert_eq!(findings.totals.failed, 1);
        assert_eq!(findings.detail, "error: could not compile");
    }
}
