// SPDX-License-Identifier: MIT OR Apache-2.0
//! A series made ready for mail. Nothing is ever sent.
//!
//! A sign-off is a person's act: one is added only for the person that is named. A commit that
//! stands for a tarball is nobody else's, so it is never sent as `base-commit`: the upstream's
//! commit is, where it is known, and else the tag's name.

use std::path::{Path, PathBuf};

use git2::Oid;

use crate::declare::Base;
use crate::failure::{At as _, Failure, Result};
use crate::history::Version;
use crate::mail::{self, Person};
use crate::mirror::{BaseState, Mirror};

/// How a series is to be mailed.
pub struct Sending<'a> {
    /// The first commit that is not mailed: the base, or the layer below.
    pub start: Oid,
    /// The last commit that is.
    pub tip: Oid,
    /// The number of the version, 1 for the first.
    pub version: u32,
    /// What stands below the message of each patch, in order.
    pub notes: &'a [&'a [u8]],
    /// Subject and text of a cover letter.
    pub cover: Option<(&'a str, &'a str)>,
    /// Who sends it. Mails of nobody's have no message-id: whatever sends them gives them one. A
    /// cover letter is somebody's.
    pub sender: Option<&'a Person>,
    /// Does the sender sign it off?
    pub signoff: bool,
    /// The version before, for the range-diff in the cover letter.
    pub previous: Option<&'a Version>,
    /// Addresses to send to.
    pub to: &'a [String],
    /// Message-ids of series below that are not upstream.
    pub prerequisites: &'a [String],
    /// The folder for the mails, which has to be empty or not there.
    pub folder: &'a Path,
}

/// Writes the mails.
///
/// # Errors
/// git fails, or the folder has something in it, or nobody is named who sends the cover letter.
pub fn write_mails(
    mirror: &Mirror,
    base: &BaseState,
    declared: &Base,
    sending: &Sending<'_>,
) -> Result<Vec<PathBuf>> {
    let folder = sending.folder;
    if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(
            Failure::refused(format!("{} has files in it", folder.display()))
                .hint("remove them, or choose another folder with --output"),
        );
    }
    if sending.cover.is_some() && sending.sender.is_none() {
        return Err(
            Failure::usage("a cover letter is from somebody, and nobody is named")
                .hint("--signoff \"Name <mail>\" names who sends and signs, --from \"Name <mail>\" who only sends"),
        );
    }
    std::fs::create_dir_all(folder).at("making", folder)?;
    let mut arguments: Vec<String> = [
        "-c",
        "diff.algorithm=myers",
        "format-patch",
        "--quiet",
        // The names of commits that only this machine has say nothing to a reader.
        "--zero-commit",
        "--no-signature",
        "--find-renames",
        "--no-ext-diff",
        "--numbered",
    ]
    .map(str::to_owned)
    .into();
    arguments.push(format!("--output-directory={}", folder.display()));
    if sending.version > 1 {
        arguments.push(format!("--reroll-count={}", sending.version));
    }
    if sending.cover.is_some() {
        arguments.push("--cover-letter".to_owned());
        if let Some(old) = sending.previous {
            arguments.push(format!("--range-diff={}..{}", old.start, old.tip));
        }
    }
    for address in sending.to {
        arguments.push(format!("--to={address}"));
    }
    let mut command = mirror.git().command();
    if let Some(person) = sending.sender {
        use std::os::unix::ffi::OsStrExt as _;
        let name = std::ffi::OsStr::from_bytes(&person.name);
        let email = std::ffi::OsStr::from_bytes(&person.email);
        command
            .env("GIT_COMMITTER_NAME", name)
            .env("GIT_COMMITTER_EMAIL", email);
        // Message-ids end in the committer's address.
        arguments.push("--thread=shallow".to_owned());
        arguments.push("--from".to_owned());
        if sending.signoff {
            arguments.push("--signoff".to_owned());
        }
    }
    arguments.push(format!("{}..{}", sending.start, sending.tip));
    let output = command
        .args(&arguments)
        .output()
        .map_err(|error| Failure::failed(format!("git cannot be started: {error}")))?;
    if !output.status.success() {
        return Err(Failure::failed(format!(
            "git format-patch failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .at("reading", folder)?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    let Some(first) = files.first() else {
        return Err(Failure::refused("there is no patch to mail"));
    };
    let patches = &files[usize::from(sending.cover.is_some())..];
    for (file, notes) in patches.iter().zip(sending.notes) {
        let mail = std::fs::read(file).at("reading", file)?;
        let mut mail = mail::with_notes(&mail, notes);
        if !notes.is_ascii() {
            mail = mail::encode::with_charset(mail);
        }
        std::fs::write(file, mail).at("writing", file)?;
    }
    let mut text = std::fs::read(first).at("reading", first)?;
    if let Some((subject, body)) = sending.cover {
        text = covered(text, subject, body);
    }
    let text = with_base(&text, &base_lines(base, declared, sending.prerequisites));
    std::fs::write(first, text).at("writing", first)?;
    Ok(files)
}

/// A cover letter of git's with what a person wrote. No more than that is replaced: the rest need
/// not be UTF-8.
fn covered(mut mail: Vec<u8>, subject: &str, body: &str) -> Vec<u8> {
    let find = |mail: &[u8], mark: &str| {
        memchr::memmem::find(mail, mark.as_bytes()).map(|at| (at, at + mark.len()))
    };
    if let Some((at, end)) = find(&mail, "*** SUBJECT HERE ***") {
        let line = memchr::memrchr(b'\n', &mail[..at]).map_or(0, |newline| newline + 1);
        let start = String::from_utf8_lossy(mail[line..at].trim_ascii_end()).into_owned();
        let header = mail::encode::header(&start, subject);
        mail.splice(line..end, header.into_bytes());
    }
    if let Some((at, end)) = find(&mail, "*** BLURB HERE ***") {
        mail.splice(at..end, body.trim_end().bytes());
    }
    mail::encode::with_charset(mail)
}

/// What says where the series belongs, as lines for the first mail.
fn base_lines(base: &BaseState, declared: &Base, prerequisites: &[String]) -> String {
    let mut lines = String::new();
    let known = declared
        .commit
        .clone()
        .or_else(|| (base.origin.kind == "git").then(|| base.imported.to_string()));
    match known {
        Some(commit) => lines.push_str(&format!("base-commit: {commit}\n")),
        None => lines.push_str(&format!("base: {}\n", declared.tag)),
    }
    for id in prerequisites {
        lines.push_str(&format!("prerequisite-message-id: <{id}>\n"));
    }
    lines
}

/// The lines at the end of a mail's text: below a cover letter's statistics, or below the
/// statistics of a patch, where `git am` does not take them for the message.
fn with_base(mail: &[u8], lines: &str) -> Vec<u8> {
    let at = memchr::memmem::find(mail, b"\ndiff --git ").unwrap_or(mail.len());
    let (head, tail) = mail.split_at(at);
    [head.trim_ascii_end(), b"\n\n", lines.as_bytes(), tail].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::branch;
    use crate::testing::{Small, write};

    struct Wish<'a> {
        version: u32,
        cover: Option<(&'a str, &'a str)>,
        signer: Option<&'a Person>,
        sender: Option<&'a Person>,
    }

    fn mails(small: &Small, wish: &Wish<'_>) -> Vec<String> {
        let base = small.base("v1");
        let layers = small.layers("v1").unwrap();
        let applied = branch::apply(&small.mirror, base.clone(), layers.clone()).unwrap();
        let notes: Vec<_> = branch::patches(&layers)
            .map(|file| file.patch.notes.as_slice())
            .collect();
        branch::keep(&small.mirror, &applied).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut declared = small.declared().projects["p"].bases["v1"].clone();
        declared.commit = None;
        let sending = Sending {
            start: base.start,
            tip: applied.tip(),
            version: wish.version,
            notes: &notes,
            cover: wish.cover,
            sender: wish.sender.or(wish.signer),
            signoff: wish.signer.is_some(),
            previous: None,
            to: &["list@example.org".to_owned()],
            prerequisites: &["1@example.org".to_owned()],
            folder: folder.path(),
        };
        let mut synthetic = base.clone();
        synthetic.origin.kind = "tar".to_owned();
        let files = write_mails(&small.mirror, &synthetic, &declared, &sending).unwrap();
        let again = write_mails(&small.mirror, &synthetic, &declared, &sending).unwrap_err();
        assert!(again.message.contains("has files in it"));
        files
            .iter()
            .map(|file| std::fs::read_to_string(file).unwrap())
            .collect()
    }

    #[test]
    fn a_sign_off_is_added_only_for_a_person_that_is_named() {
        let small = Small::new();
        let plain = Wish {
            version: 1,
            cover: None,
            signer: None,
            sender: None,
        };
        let found = mails(&small, &plain);
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|mail| !mail.contains("Signed-off-by")));
        assert!(found[0].contains("Subject: [PATCH 1/3] a: five"));
        let person = Person::new(b"Some One", b"one@example.org").unwrap();
        let signed = Wish {
            version: 2,
            cover: Some(("a: numbers", "Why.\n")),
            signer: Some(&person),
            sender: None,
        };
        let found = mails(&small, &signed);
        assert_eq!(found.len(), 4);
        assert!(
            found[0].contains("Subject: [PATCH v2 0/3] a: numbers"),
            "{}",
            found[0]
        );
        assert!(found[0].contains("\nWhy.\n"));
        assert!(found[0].contains("\nTo: list@example.org\n"));
        for mail in &found[1..] {
            assert!(mail.contains("\nSigned-off-by: Some One <one@example.org>\n"));
            assert!(mail.contains("\nFrom: Some One <one@example.org>\n"));
            assert!(mail.contains("\n\nFrom: A Person <person@example.org>\n"));
        }
    }

    #[test]
    fn a_cover_letter_is_from_a_person_and_readable() {
        let small = Small::new();
        let person = Person::new("Zoë One".as_bytes(), b"one@example.org").unwrap();
        let subject = "a: zwölf Zahlen, und noch eine, und eine mehr als das, und eine letzte";
        let wish = Wish {
            version: 1,
            cover: Some((subject, "Größer.\n")),
            signer: None,
            sender: Some(&person),
        };
        let found = mails(&small, &wish);
        let cover = found[0].as_bytes();
        assert!(found.iter().all(|mail| !mail.contains("Signed-off-by")));
        let (head, text) = found[0].split_once("\n\n").unwrap();
        assert!(
            head.is_ascii() && head.lines().all(|line| line.len() <= 78),
            "{head}"
        );
        assert!(text.contains("Größer.\n"), "{text}");
        assert_eq!(
            mail::header(cover, "From").unwrap(),
            "Zoë One <one@example.org>"
        );
        let read = mail::header(cover, "Subject").unwrap();
        assert_eq!(read, format!("[PATCH 0/3] {subject}"));
        assert_eq!(
            mail::header(cover, "Content-Type").unwrap(),
            "text/plain; charset=UTF-8"
        );
        for mail in &found {
            let id = mail::header(mail.as_bytes(), "Message-ID").unwrap();
            assert!(id.ends_with("one@example.org>"), "{id}");
        }
        // Nobody's mails leave it to whatever sends them.
        let nobody = Wish {
            version: 1,
            cover: None,
            signer: None,
            sender: None,
        };
        for mail in mails(&small, &nobody) {
            assert!(!mail.contains(crate::git::COMMITTER_EMAIL), "{mail}");
            assert!(mail::header(mail.as_bytes(), "Message-ID").is_none());
        }
    }

    #[test]
    fn what_changed_since_the_version_before_is_told_below_the_message() {
        let small = Small::new();
        let told = "v2: five, not 5\n\nv3: a comment less\n";
        let file = small.patch("0001-a-five.patch");
        let text = std::fs::read_to_string(&file).unwrap();
        write(&file, &text.replace("\n---\n", &format!("\n---\n{told}\n")));
        let person = Person::new(b"Some One", b"one@example.org").unwrap();
        for cover in [None, Some(("a: numbers", "Why.\n"))] {
            let wish = Wish {
                version: 3,
                cover,
                signer: None,
                sender: cover.and(Some(&person)),
            };
            let found = mails(&small, &wish);
            let patches = &found[usize::from(cover.is_some())..];
            let mail = &patches[0];
            assert!(mail.contains("Subject: [PATCH v3 1/3] a: five"), "{mail}");
            let place = format!("Because of five.\n---\n{told}\n src/a | 2 +-\n 1 file changed");
            assert!(mail.contains(&place), "{mail}");
            assert!(!patches[1].contains("v2: "), "{}", patches[1]);
            let parsed = crate::mail::Patch::parse(mail.as_bytes(), &Default::default()).unwrap();
            assert_eq!(parsed.message, "a: five\n\nBecause of five.\n");
        }
    }

    #[test]
    fn a_mail_of_a_file_that_is_not_utf8_keeps_its_bytes() {
        let lines = with_base(b"a\n\ndiff --git a/a b/a\n+\xe9\n", "base: v1\n");
        assert_eq!(lines, b"a\n\nbase: v1\n\ndiff --git a/a b/a\n+\xe9\n");
    }

    #[test]
    fn a_synthetic_commit_is_never_sent_as_the_base() {
        let small = Small::new();
        let wish = Wish {
            version: 1,
            cover: None,
            signer: None,
            sender: None,
        };
        let found = mails(&small, &wish);
        assert!(found[0].contains("\nbase: v1\n"), "{}", found[0]);
        assert!(found[0].contains("\nprerequisite-message-id: <1@example.org>\n"));
        let imported = small.base("v1").imported.to_string();
        assert!(found.iter().all(|mail| !mail.contains(&imported)));
        // And the mail still gives the same commit.
        let parsed = crate::mail::Patch::parse(found[0].as_bytes(), &Default::default()).unwrap();
        assert_eq!(parsed.message, "a: five\n\nBecause of five.\n");
        write(&small.path().join("mail"), &found[0]);
    }
}
