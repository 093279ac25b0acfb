// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks on a small project, and that an answer is asked for once.

use super::*;
use crate::declare::Checkpatch;
use crate::testing::{Small, lines, write};

fn run(small: &Small, check: Check) -> Vec<(Verdict, bool)> {
    let declared = small.declared();
    let mut project = declared.projects["p"].clone();
    project.checkpatch = Some(Checkpatch {
        script: "src/a".to_owned(),
        files: Vec::new(),
        arguments: Vec::new(),
        ignore: Vec::new(),
    });
    let base = small.base("v1");
    let layers = small.layers("v1").unwrap();
    let applied = branch::apply(&small.mirror, base.clone(), layers).unwrap();
    branch::keep(&small.mirror, &applied).unwrap();
    let checker = Checker::new(&small.mirror, &project, base.start).unwrap();
    branch::patches(&applied.layers)
        .enumerate()
        .map(|(index, file)| {
            let found = checker
                .check(check, index, file, &applied.outcome.steps)
                .unwrap();
            (found.verdict, found.cached)
        })
        .collect()
}

use crate::branch;

#[test]
fn an_answer_is_asked_for_once() {
    let small = Small::new();
    for check in [Check::Signoff, Check::Reason, Check::Roundtrip] {
        let first = run(&small, check);
        assert!(first.iter().all(|(_, cached)| !cached), "{check:?}");
        let second = run(&small, check);
        assert!(second.iter().all(|(_, cached)| *cached), "{check:?}");
        let verdicts = |all: &[(Verdict, bool)]| {
            all.iter()
                .map(|(verdict, _)| verdict.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(verdicts(&first), verdicts(&second));
    }
    // Another third patch: the others are not asked again.
    let file = small.patch("0003-TAG-a-new-file.patch");
    let text = std::fs::read_to_string(&file).unwrap();
    write(&file, &text.replace("Because it is new.", "Because."));
    for check in [Check::Signoff, Check::Reason, Check::Roundtrip] {
        let cached: Vec<_> = run(&small, check)
            .iter()
            .map(|(_, cached)| *cached)
            .collect();
        assert_eq!(cached, [true, true, false], "{check:?}");
    }
}

#[test]
fn unsigned_is_a_note_and_no_reason_a_failure() {
    let small = Small::new();
    let signoff = run(&small, Check::Signoff);
    assert!(
        signoff
            .iter()
            .all(|(verdict, _)| matches!(verdict, Verdict::Note(_)))
    );
    assert!(
        run(&small, Check::Reason)
            .iter()
            .all(|(verdict, _)| *verdict == Verdict::Pass)
    );
    let file = small.patch("0001-a-five.patch");
    let text = std::fs::read_to_string(&file).unwrap();
    write(
        &file,
        &text.replace(
            "Because of five.",
            "Signed-off-by: A Person <a@example.org>",
        ),
    );
    assert_eq!(run(&small, Check::Signoff)[0].0, Verdict::Pass);
    assert!(matches!(run(&small, Check::Reason)[0].0, Verdict::Fail(_)));
}

#[test]
fn the_round_trip_holds_for_what_git_writes() {
    let small = Small::new();
    let found = run(&small, Check::Roundtrip);
    assert!(
        found.iter().all(|(verdict, _)| *verdict == Verdict::Pass),
        "{found:?}"
    );
}

#[test]
fn a_checker_that_is_broken_is_a_failure_and_one_that_is_not_there_a_skip() {
    let small = Small::new();
    // `src/a` is no Perl.
    let found = run(&small, Check::Checkpatch);
    assert!(matches!(found[0].0, Verdict::Fail(_)), "{found:?}");
    let declared = small.declared();
    let base = small.base("v1");
    let layers = small.layers("v1").unwrap();
    let checker = Checker::new(&small.mirror, &declared.projects["p"], base.start).unwrap();
    let file = branch::patches(&layers).next().unwrap();
    let found = checker.check(Check::Checkpatch, 0, file, &[]).unwrap();
    assert!(matches!(found.verdict, Verdict::Skip(_)));
    assert!(lines(&[]).contains("line 20"));
    assert!(
        Check::named("chekpatch")
            .unwrap_err()
            .message
            .contains("`checkpatch`")
    );
}

#[test]
fn a_finding_is_ignored_by_its_text_or_by_its_parts() {
    let line = "0001-a.patch:93: ERROR:ASSIGN_IN_IF: do not use assignment in if condition";
    for text in ["ASSIGN_IN_IF", "0001-*:ASSIGN_IN_IF", "*"] {
        assert!(says(line, text), "{text}");
    }
    for text in [
        "0002-*:ASSIGN_IN_IF",
        "ASSIGN_IN_IF*0001-",
        "ERROR*ERROR",
        "LONG_LINE",
    ] {
        assert!(!says(line, text), "{text}");
    }
}
