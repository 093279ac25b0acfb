// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a mail is written, held against `git am`: the same commit, to the byte, or a refusal in
//! one clear sentence.

mod common;

use std::rc::Rc;

use common::{Repo, parse, same_as_am};
use git2::Oid;
use patch_stack::mail::{self, Error, Options, Patch};

const DIFF: &str =
    "diff --git a/f b/f\nindex 7898192..6178079 100644\n--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n";
const HEADERS: &str = "From: A U Thor <author@example.org>\nDate: Tue, 3 Mar 2026 12:00:00 +0100\n";

/// The repository of a test, and its commit with the file that the mails change.
fn repo() -> Rc<(Repo, Oid)> {
    thread_local! {
        static REPO: Rc<(Repo, Oid)> = {
            let repo = Repo::new();
            repo.write("f", "a\n");
            let base = repo.commit("base");
            Rc::new((repo, base))
        };
    }
    REPO.with(Rc::clone)
}

/// Applies a mail of these headers, this body, and the diff.
#[track_caller]
fn same(headers: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Patch {
    let mail = [
        headers.as_ref(),
        b"\n",
        body.as_ref(),
        b"---\n f | 2 +-\n\n",
        DIFF.as_bytes(),
        b"-- \n2.47\n",
    ]
    .concat();
    let (repo, base) = &*repo();
    same_as_am(repo, *base, std::slice::from_ref(&mail));
    parse(&mail)
}

#[track_caller]
fn refused(mail: impl AsRef<[u8]>) -> Error {
    Patch::parse(mail.as_ref(), &Options::default()).expect_err("the mail is refused")
}

#[test]
fn subjects() {
    for subject in [
        "[PATCH] a: b",
        "[PATCH v3 01/12] [REVERTME] x86: a  b",
        "[REVERTME] [RFC PATCH 1/5] x86: a",
        "Re: [PATCH] re: a",
        "[x86] [PATCH] a [b] c",
        "[PATCH] folded\n over\n\tlines",
        "[PATCH] =?UTF-8?q?caf=C3=A9=20au?= =?utf-8?B?IGxhaXQ=?= and more",
        "=?iso-8859-1?Q?[PATCH]_caf=E9?=",
        "a subject without tags",
        ": odd",
        "[PATCH]",
    ] {
        let patch = same(format!("{HEADERS}Subject: {subject}\n"), "Why.\n");
        assert!(!patch.subject.is_empty());
    }
    let patch = same(
        format!("{HEADERS}Subject: [PATCH v3 01/12] [REVERTME] a\n"),
        "Why.\n",
    );
    assert_eq!(patch.subject, "[REVERTME] a");
    assert_eq!(patch.tags, ["PATCH v3 01/12", "REVERTME"]);
}

#[test]
fn authors() {
    for from in [
        "A U Thor <author@example.org>",
        "\"Doe, J. (x)\" <john@example.org>",
        "john@example.org (John Doe)",
        "John (zzz) Doe <john@example.org> (Comment)",
        "john@example.org",
        "<john@example.org>",
        "J <john@example.org>",
        "John Doe <johndoe>",
        "=?UTF-8?q?Ren=C3=A9?= <rene@example.org>",
        "=?ISO-8859-1?Q?Ren=E9?= <rene@example.org>",
        "\"John \\\"Jo\\\" Doe\" <john@example.org>",
        "A very long name that nobody has but that goes on and on, sixty and more <a@example.org>",
        "John\n Doe <john@example.org>",
    ] {
        same(
            format!("From: {from}\nDate: Tue, 3 Mar 2026 12:00:00 +0100\nSubject: [PATCH] a\n"),
            "Why.\n",
        );
    }
}

#[test]
fn a_name_that_ends_in_a_dot() {
    // git 2.39 takes the dot off, git 2.47 does not, and neither does the engine.
    let (repo, base) = &*repo();
    let tree = format!("{base}^{{tree}}");
    let commit = repo
        .command(&["commit-tree", "-m", "a", &tree])
        .env("GIT_AUTHOR_NAME", "A jr.")
        .output()
        .unwrap();
    let commit = repo.git(&[
        "cat-file",
        "-p",
        String::from_utf8(commit.stdout).unwrap().trim(),
    ]);
    let headers = HEADERS.replace("A U Thor", "John Doe jr.") + "Subject: [PATCH] a\n";
    if String::from_utf8(commit).unwrap().contains("A jr.") {
        same(&headers, "Why.\n");
    } else {
        let mail = format!("{headers}\nWhy.\n---\n{DIFF}");
        assert_eq!(parse(mail.as_bytes()).author.name, b"John Doe jr.");
    }
}

#[test]
fn an_author_whose_name_is_not_utf8() {
    let headers = b"From: Ren\xe9 <rene@example.org>\nDate: Tue, 3 Mar 2026 12:00:00 +0100\nSubject: [PATCH] a\n";
    let patch = same(headers, "Why, Ren\u{e9}.\n");
    assert_eq!(patch.author.name, b"Ren\xe9");
    same(headers, b"Why, Ren\xe9.\n");
}

#[test]
fn dates() {
    for date in [
        "Tue, 3 Mar 2026 12:00:00 +0100",
        "3 Mar 2026 12:00:00 -0730",
        "Tue, 03 Mar 2026 12:00:00 +0100 (CET)",
        "Tue, 3 Mar 2026 12:00:00 GMT",
        "2026-03-03 12:00:00 +0100",
        "2026-03-03T12:00:00+01:00",
        "Thu, 29 Feb 2024 23:59:59 +0000",
        "Tue, 3 Mar 2026 12:00:00 -0000",
    ] {
        same(
            format!("From: A U Thor <author@example.org>\nDate: {date}\nSubject: [PATCH] a\n"),
            "Why.\n",
        );
    }
}

#[test]
fn headers_in_the_body() {
    let headers = format!("{HEADERS}Subject: [PATCH] a\n");
    for body in [
        "From: Other One <other@example.org>\n\nWhy.\n",
        "From: Other One <other@example.org>\nDate: Wed, 4 Mar 2026 12:00:00 +0000\nSubject: [x] other\n\nWhy.\n",
        "Subject: [PATCH] [x86] folded\n  here\n\nWhy.\n",
        "From: Other One <other@example.org>\nWhy: this is a trailer, no header.\n\nMore.\n",
        "[PATCH] taken for a subject\n\nWhy.\n",
        "\n\n  \nFrom: too late\n",
        ">From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\nFrom: Other One <other@example.org>\n\nWhy.\n",
        "Why.\n\nFrom: the middle of the text\n",
        "From: Other One <other@example.org>\nSubject: other\nSubject: the second is text\n\nWhy.\n",
    ] {
        same(&headers, body);
    }
}

#[test]
fn messages() {
    let headers = format!("{HEADERS}Subject: [PATCH] a\n");
    for body in [
        "",
        "Why.  \n\n\n\nMore.\t\n\n",
        ">From the beginning of a line.\n\n>From here on.\n",
        "From here, not at a mailbox's line.\n",
        "Cut:\n-- >8 --\nscissors are not used\n",
        "----\nfour dashes\n",
        "Signed-off-by: A U Thor <author@example.org>\n\n",
    ] {
        same(&headers, body);
    }
}

#[test]
fn encodings() {
    let headers = format!("{HEADERS}Subject: [PATCH] a\n");
    same(
        format!(
            "{headers}Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n"
        ),
        "Caf\u{e9}.\n",
    );
    same(
        format!("{headers}Content-Type: text/plain; charset=\"ISO-8859-1\"\n"),
        b"Caf\xe9.\n",
    );
    same(
        format!("{headers}Content-Type: text/plain; charset=koi8-r\n"),
        b"\xc1\xc2.\n",
    );
    same(
        format!("{headers}Content-Type: text/plain; charset=us-ascii\n"),
        "Plain.\n",
    );

    let quoted = format!(
        "Caf=C3=A9 goes =\non.\n---\n{}",
        DIFF.replace("=", "=3D").replace("-- a", "--=20a")
    );
    for mail in [
        format!(
            "{headers}Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n{quoted}"
        ),
        format!(
            "{headers}Content-Transfer-Encoding: base64\n\n{}\n",
            base64(format!("Caf\u{e9}.\n---\n{DIFF}").as_bytes())
        ),
    ] {
        let (repo, base) = &*repo();
        same_as_am(repo, *base, &[mail.into_bytes()]);
    }
}

fn base64(text: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for (index, group) in text.chunks(3).enumerate() {
        if index > 0 && index % 19 == 0 {
            out.push('\n');
        }
        let bits = group
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for digit in 0..=group.len() {
            out.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]));
        }
        out.extend(std::iter::repeat_n('=', 3 - group.len()));
    }
    out
}

#[test]
fn carriage_returns() {
    let repo = Repo::new();
    repo.write("dos", "a\r\nb\r\nc\r\n");
    let base = repo.commit("base");
    repo.write("dos", "a\r\nB\r\nc\r\n");
    repo.commit("change");
    let patches = repo.format_patch(&base.to_string(), &[]);

    // Kept: the file's own.
    let kept = Patch::parse(&patches[0], &Options { keep_cr: true }).unwrap();
    let ours = repo.applier().series(base, [&kept]).unwrap();
    let theirs = repo.am(base, &patches, &["-3", "--keep-cr"]).unwrap();
    assert_eq!(common::tip(&ours), theirs);

    // Without: neither applies it as it is, both merge from the blob or fail.
    let ours = repo.applier().series(base, [&parse(&patches[0])]).unwrap();
    let theirs = repo.am(base, &patches, &["-3"]);
    assert_eq!(ours.stopped.is_some(), theirs.is_none());

    // A mail that a mailer gave carriage returns to.
    let mail = format!("{HEADERS}Subject: [PATCH] a\n\nWhy.\n---\n{DIFF}").replace('\n', "\r\n");
    let (repo, base) = &*self::repo();
    same_as_am(repo, *base, &[mail.into_bytes()]);
}

#[test]
fn what_would_be_a_guess_is_refused() {
    let mail = |headers: &str, body: &str| format!("{headers}\n{body}---\n{DIFF}");
    let whole = format!("{HEADERS}Subject: a\n");
    assert_eq!(
        refused(mail(
            &format!("{whole}Content-Type: text/plain; format=flowed\n"),
            ""
        )),
        Error::Flowed
    );
    assert_eq!(
        refused(mail(
            &format!("{whole}Content-Type: multipart/mixed; boundary=x\n"),
            ""
        )),
        Error::Multipart
    );
    assert_eq!(
        refused(mail("From: A <a@b.c>\nSubject: a\n", "")),
        Error::NoDate
    );
    assert_eq!(
        refused(mail(
            "Date: Tue, 3 Mar 2026 12:00:00 +0100\nSubject: a\n",
            ""
        )),
        Error::NoAuthor
    );
    assert!(matches!(
        refused(mail("From: A <a@b.c>\nDate: tomorrow\nSubject: a\n", "")),
        Error::Date(_)
    ));
    assert_eq!(refused(mail(HEADERS, "")), Error::NoMessage);
    assert_eq!(refused(format!("{whole}\nOnly text.\n")), Error::NoDiff);
    assert!(
        refused(format!("{whole}\nOnly a stat.\n---\n f | 2 +-\n"))
            .to_string()
            .contains("the patch is empty")
    );
    assert_eq!(refused(mail(&whole, "a\0b\n")), Error::Nul);
    assert_eq!(
        refused(mail(&format!("{HEADERS}Subject: =?utf-8?q?a\n"), "")),
        Error::EncodedWord("Subject")
    );
    assert!(matches!(
        refused(mail(
            &format!("{whole}Content-Type: text/plain; charset=klingon\n"),
            "caf\u{e9}\n"
        )),
        Error::Charset(_)
    ));
    assert_eq!(refused(b" \n"), Error::NoMessage);
}

#[test]
fn errors_name_the_line_of_the_file() {
    let mail = format!(
        "{HEADERS}Subject: a\n\nWhy.\n---\n{}",
        DIFF.replace("+b\n", "b\n")
    );
    let error = refused(&mail).to_string();
    let line = 1 + mail.lines().position(|line| line == "b").unwrap();
    assert!(error.starts_with(&format!("line {line}: ")), "{error}");
}

#[test]
fn a_mailbox_of_several() {
    let repo = Repo::new();
    repo.write("f", "a\n");
    let base = repo.commit("base");
    for text in ["b\n", "c\n", "d\n"] {
        repo.write("f", text);
        repo.commit("change\n\nFrom the top.\n\n>From below.");
    }
    let patches = repo.format_patch(&base.to_string(), &[]);
    assert_eq!(patches.len(), 3);
    same_as_am(&repo, base, &patches);
    assert_eq!(mail::split(&patches.concat()).len(), 3);
}
