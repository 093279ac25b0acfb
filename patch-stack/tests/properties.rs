// SPDX-License-Identifier: MIT OR Apache-2.0
//! Properties of the parser and of applying, on made-up input.

mod common;

use std::cell::RefCell;

use common::Repo;
use git2::{DiffOptions, Oid};
use patch_stack::apply::{Applier, How, Policy};
use patch_stack::mail::{self, Options, Patch};
use patch_stack::{landed, patch_id};
use proptest::collection::vec;
use proptest::prelude::*;

const HEADER: &str = "From: A U Thor <author@example.org>\nDate: Tue, 3 Mar 2026 12:00:00 +0100\nSubject: [PATCH] a\n\nWhy.\n---\n";

/// A mail that changes a file, with a rename, a binary file and a signature to mutate.
fn sample() -> Vec<u8> {
    thread_local! {
        static SAMPLE: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
    }
    SAMPLE.with(|sample| {
        sample
            .borrow_mut()
            .get_or_insert_with(|| {
                let repo = Repo::new();
                repo.write("f", "a\nb\nc\nd\ne\nf\ng\n");
                repo.write("g h", "1\n2\n3\n4\n5\n6\n7\n");
                repo.write("b", [0, 1, 2, 3]);
                let base = repo.commit("base");
                repo.write("f", "a\nb\nC\nd\ne\nf\ng");
                repo.git(&["mv", "g h", "\u{e9}"]);
                repo.write("\u{e9}", "1\n2\n3\n4\n5\n6\n8\n");
                repo.write("b", [0, 1, 2, 3, 4]);
                repo.write("new", "a\n");
                repo.commit("area: [x] caf\u{e9}\n\nWhy.");
                repo.format_patch(&base.to_string(), &[]).remove(0)
            })
            .clone()
    })
}

/// A repository with one file `f`.
struct OneFile {
    repo: Repo,
}

impl OneFile {
    fn new() -> Self {
        Self { repo: Repo::new() }
    }

    fn commit(&self, content: &[u8]) -> Oid {
        let repository = self.repo.repository();
        let blob = repository.blob(content).unwrap();
        let mut tree = repository.treebuilder(None).unwrap();
        tree.insert("f", blob, 0o100_644).unwrap();
        let tree = repository.find_tree(tree.write().unwrap()).unwrap();
        let person = git2::Signature::new("A", "a@b", &git2::Time::new(0, 0)).unwrap();
        repository
            .commit(None, &person, &person, "base", &tree, &[])
            .unwrap()
    }

    fn content(&self, applier: &mut Applier, commit: Oid) -> Vec<u8> {
        applier.keep(commit).unwrap();
        let repository = self.repo.repository();
        let tree = repository.find_commit(commit).unwrap().tree().unwrap();
        let id = tree.get_name("f").unwrap().id();
        repository.find_blob(id).unwrap().content().to_vec()
    }
}

/// Text of few different lines, so that hunks fit at many places.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just("a"),
        Just("b"),
        Just("{"),
        Just("}"),
        Just(""),
        Just("-- "),
        Just("\r")
    ];
    (vec(line, 0..40), any::<bool>()).prop_map(|(lines, end)| {
        let mut text = lines.join("\n").into_bytes();
        if end && !text.is_empty() {
            text.push(b'\n');
        }
        text
    })
}

/// Two texts that have most lines in common.
fn two_texts() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    (text(), vec((any::<prop::sample::Index>(), text()), 0..3)).prop_map(|(before, edits)| {
        let mut after = before.clone();
        for (at, text) in edits {
            let at = at.index(after.len() + 1);
            let end = (at + text.len() % 7).min(after.len());
            after.splice(at..end, text);
        }
        (before, after)
    })
}

/// The mail that makes `after` of `before`.
fn mail(before: &[u8], after: &[u8], context: u32) -> Option<Vec<u8>> {
    let path = std::path::Path::new("f");
    let mut options = DiffOptions::new();
    options.context_lines(context);
    let mut patch =
        git2::Patch::from_buffers(before, Some(path), after, Some(path), Some(&mut options))
            .unwrap();
    let text = patch.to_buf().unwrap().to_vec();
    (!text.is_empty()).then(|| [HEADER.as_bytes(), &text].concat())
}

proptest! {
    #[test]
    fn the_parser_takes_anything(bytes in vec(any::<u8>(), 0..2000)) {
        for mail in mail::split(&bytes) {
            let _ = Patch::parse(mail, &Options::default());
        }
    }

    #[test]
    fn the_parser_takes_damaged_mails(
        cuts in vec((any::<prop::sample::Index>(), 0_usize..30, vec(any::<u8>(), 0..4)), 1..4),
        keep_cr in any::<bool>(),
    ) {
        let mut mail = sample();
        for (at, length, insert) in cuts {
            let at = at.index(mail.len());
            let end = (at + length).min(mail.len());
            mail.splice(at..end, insert);
        }
        if let Ok(patch) = Patch::parse(&mail, &Options { keep_cr }) {
            prop_assert!(!patch.diff.files.is_empty());
            prop_assert!(!patch.message.is_empty());
            for file in &patch.diff.files {
                for path in [&file.old_path, &file.new_path].into_iter().flatten() {
                    prop_assert!(!path.is_empty() && path[0] != b'/');
                    prop_assert!(path.split(|byte| *byte == b'/').all(|name| name != b".." && name != b".git"));
                }
            }
            let _ = patch_id::of(&patch);
        }
    }

    #[test]
    fn mails_are_split_and_nothing_is_lost(bytes in "(From 1 Mon Sep 17 00:00:00 2001\n|From x\n|a\n){0,20}") {
        let mails = mail::split(bytes.as_bytes());
        prop_assert_eq!(mails.concat(), bytes.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_diff_applies_to_what_it_was_made_from((before, after) in two_texts()) {
        let Some(mail) = mail(&before, &after, 3) else { return Ok(()) };
        let patch = Patch::parse(&mail, &Options { keep_cr: true }).unwrap();
        let file = OneFile::new();
        let base = file.commit(&before);
        let mut applier = file.repo.applier();
        let outcome = applier.series(base, [&patch]).unwrap();
        prop_assert_eq!(&outcome.stopped, &None);
        prop_assert_eq!(outcome.steps[0].how, How::Exact);
        let tip = outcome.steps[0].commit;
        prop_assert_eq!(file.content(&mut applier, tip), after);

        // What undoes it applies to the result, and is evidence unless the patch applies once more.
        let found = landed::find(&mut applier, &file.repo.repository(), tip, &[&patch], &[]).unwrap();
        let policy = Policy { three_way: false, ..common::policy() };
        let mut strict = Applier::new(&file.repo.repository(), policy).unwrap();
        let again = strict.series(tip, [&patch]).unwrap().stopped.is_none();
        prop_assert_eq!(found[0].reverse_applies, !again);
    }

    #[test]
    fn lines_put_before_only_move_it((before, after) in two_texts(), moved in 1_usize..5) {
        let Some(mail) = mail(&before, &after, 3) else { return Ok(()) };
        let patch = Patch::parse(&mail, &Options { keep_cr: true }).unwrap();
        let file = OneFile::new();
        let filler: Vec<u8> = (0..moved).flat_map(|at| format!("new {at}\n").into_bytes()).collect();
        let base = file.commit(&[&filler[..], &before].concat());
        let mut applier = common::Repo::applier(&file.repo);
        let outcome = applier.series(base, [&patch]).unwrap();
        // git has the last word on where: hunks that begin the file do not move, and of several
        // places the nearest is taken.
        let ours = outcome.steps.first().map(|step| step.commit);
        let theirs = file.repo.am(base, &[mail], &["-3", "--keep-cr"]);
        prop_assert_eq!(ours, theirs);
    }
}
