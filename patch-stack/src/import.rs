// SPDX-License-Identifier: MIT OR Apache-2.0
//! A mailed series taken in as it is: an external layer, with the message-id it came with. The
//! bytes of each mail are kept.

use std::path::Path;

use crate::failure::{At as _, Failure, Result};
use crate::mail::{self, Patch};

/// A mailed series, in order.
#[derive(Debug, Clone)]
pub struct Mailed {
    /// The message-id of the cover letter, or of the first mail.
    pub message_id: Option<String>,
    /// The cover letter, if there was one.
    pub cover: Option<Vec<u8>>,
    /// Subject of the cover letter, or of the first patch.
    pub title: String,
    /// File names and mails.
    pub patches: Vec<(String, Vec<u8>)>,
}

/// Reads a mailbox, or a folder of mails.
///
/// # Errors
/// A file that can't be read, a mail that is neither patch nor cover letter, a patch that is
/// missing or there twice.
pub fn read(path: &Path, options: &mail::Options) -> Result<Mailed> {
    let mut boxes = Vec::new();
    if path.is_dir() {
        let mut files: Vec<_> = std::fs::read_dir(path)
            .at("reading", path)?
            .flatten()
            .map(|entry| entry.path())
            .filter(|file| {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                file.is_file() && !name.starts_with('.') && name != "series"
            })
            .collect();
        files.sort();
        for file in files {
            boxes.push(std::fs::read(&file).at("reading", &file)?);
        }
    } else {
        boxes.push(std::fs::read(path).at("reading", path)?);
    }
    let mails: Vec<_> = boxes
        .iter()
        .flat_map(|content| mail::split(content))
        .collect();
    sort(&mails, options)
}

/// A mail with its place in the series.
struct Placed<'m> {
    number: Option<(u32, u32)>,
    subject: String,
    bytes: &'m [u8],
}

fn sort(mails: &[&[u8]], options: &mail::Options) -> Result<Mailed> {
    let mut cover = None;
    let mut placed = Vec::new();
    let mut message_id = None;
    let mut title = String::new();
    for &bytes in mails {
        let subject = mail::header(bytes, "Subject").unwrap_or_default();
        let id =
            mail::header(bytes, "Message-ID").map(|id| id.trim_matches(['<', '>', ' ']).to_owned());
        let number = numbers(&subject);
        let is_patch = contains(bytes, b"\ndiff --git ") || contains(bytes, b"\n--- ");
        if subject.to_ascii_lowercase().starts_with("re:") {
            continue;
        }
        if matches!(number, Some((0, _))) || (!is_patch && cover.is_none() && placed.is_empty()) {
            message_id = id;
            title = bare(&subject);
            cover = Some(bytes.to_vec());
            continue;
        }
        let patch = Patch::parse(bytes, options).map_err(|error| {
            Failure::failed(format!("the mail \"{subject}\" can't be read: {error}"))
        })?;
        if mail::loses_line_ends(bytes, options) {
            return Err(mail::line_ends_lost(&format!("the mail \"{subject}\"")));
        }
        if title.is_empty() {
            title = patch.subject.clone();
        }
        message_id = message_id.or(id);
        placed.push(Placed {
            number,
            subject: patch.subject,
            bytes,
        });
    }
    if placed.is_empty() {
        return Err(Failure::usage("there is no patch in it"));
    }
    if placed.iter().all(|mail| mail.number.is_some()) {
        placed.sort_by_key(|mail| mail.number);
        let total = placed[0].number.map_or(0, |(_, total)| total);
        for (index, mail) in placed.iter().enumerate() {
            let (number, of) = mail.number.unwrap_or_default();
            let expected = index as u32 + 1;
            if of != total {
                return Err(Failure::usage(format!(
                    "\"{}\" is {number} of {of}, among patches of {total}; these are two series",
                    mail.subject
                )));
            }
            if number != expected {
                return Err(Failure::usage(if number < expected {
                    format!("patch {number} of {total} is there twice")
                } else {
                    format!("patch {expected} of {total} is missing")
                }));
            }
        }
        if placed.len() as u32 != total {
            return Err(Failure::usage(format!(
                "{} of {total} patches are there; the last ones are missing",
                placed.len()
            )));
        }
    }
    let patches = placed
        .iter()
        .enumerate()
        .map(|(index, mail)| {
            let name = format!("{:04}-{}.patch", index + 1, slug(&mail.subject));
            (name, mail.bytes.to_vec())
        })
        .collect();
    Ok(Mailed {
        message_id,
        cover,
        title,
        patches,
    })
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// `[PATCH v2 3/7]`: 3 of 7.
fn numbers(subject: &str) -> Option<(u32, u32)> {
    let tag = subject.trim_start().strip_prefix('[')?.split(']').next()?;
    tag.split_whitespace().find_map(|word| {
        let (number, total) = word.split_once('/')?;
        Some((number.parse().ok()?, total.parse().ok()?))
    })
}

fn bare(subject: &str) -> String {
    let mut rest = subject.trim_start();
    while let Some((_, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        rest = after.trim_start();
    }
    rest.to_owned()
}

/// A subject as a file name, as git-format-patch(1) makes one.
fn slug(subject: &str) -> String {
    let mut slug = String::new();
    for character in subject.chars() {
        if character.is_ascii_alphanumeric() || matches!(character, '.' | '_') {
            slug.push(character);
        } else if !slug.ends_with('-') && !slug.is_empty() {
            slug.push('-');
        }
    }
    let slug: String = slug.chars().take(52).collect();
    slug.trim_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(tag: &str, subject: &str, id: &str, body: &str) -> String {
        format!(
            "From mboxrd@z Thu Jan  1 00:00:00 1970\nFrom: A <a@example.org>\n\
             Date: Tue, 24 Nov 2026 12:00:00 +0000\nSubject: {tag} {subject}\n\
             Message-ID: <{id}@example.org>\n\n{body}\n"
        )
    }

    const DIFF: &str = "Why.\n---\n a | 1 +\n\ndiff --git a/a b/a\nindex 1111111..2222222 100644\n--- a/a\n\
        +++ b/a\n@@ -1 +1,2 @@\n 1\n+2\n";

    fn imported(text: &str) -> Result<Mailed> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mbox");
        std::fs::write(&file, text).unwrap();
        read(&file, &mail::Options::default())
    }

    #[test]
    fn mails_are_put_in_order_and_replies_left_out() {
        let text = [
            mail("[PATCH v2 2/2]", "b: two", "2", DIFF),
            mail("Re: [PATCH v2 1/2]", "b: one", "9", "Good."),
            mail("[PATCH v2 0/2]", "two things", "0", "All about it."),
            mail("[PATCH v2 1/2]", "b: one [x]", "1", DIFF),
        ]
        .concat();
        let mailed = imported(&text).unwrap();
        assert_eq!(mailed.message_id.as_deref(), Some("0@example.org"));
        assert_eq!(mailed.title, "two things");
        assert!(mailed.cover.is_some());
        let names: Vec<_> = mailed
            .patches
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["0001-b-one-x.patch", "0002-b-two.patch"]);
        assert!(text.contains(std::str::from_utf8(&mailed.patches[0].1).unwrap()));
    }

    #[test]
    fn subjects_and_authors_in_other_character_sets() {
        let cover = mail(
            "[PATCH 0/2]",
            "=?ISO-8859-1?Q?Zw=F6lf?= =?utf-8?q?_Dinge?=",
            "0",
            "Why.",
        );
        let mut text = cover.into_bytes();
        let one = mail("[PATCH 1/2]", "=?utf-8?q?=C3=B6l?=", "1", DIFF);
        let two = mail("[PATCH 2/2]", "fett", "2", DIFF);
        text.extend(
            one.replace("From: A <", "From: =?ISO-8859-1?Q?Ren=E9?= <")
                .into_bytes(),
        );
        let at = text.len();
        text.extend(two.replace("From: A <", "From: Ren? <").into_bytes());
        let question = at + text[at..].iter().position(|byte| *byte == b'?').unwrap();
        text[question] = 0xe9;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mbox");
        std::fs::write(&file, &text).unwrap();
        let mailed = read(&file, &mail::Options::default()).unwrap();
        assert_eq!(mailed.title, "Zwölf Dinge");
        // The bytes are kept, and give the same author either way.
        let authors = mailed.patches.iter().map(|(_, bytes)| {
            let patch = Patch::parse(bytes, &mail::Options::default()).unwrap();
            mail::latin1_where_invalid(&patch.author.ident())
        });
        assert!(authors.eq(["René <a@example.org>", "René <a@example.org>"]));
        assert!(text.ends_with(&mailed.patches[1].1));
    }

    #[test]
    fn line_ends_that_would_be_lost_are_told() {
        let mixed = mail("[PATCH]", "one", "1", &DIFF.replace("+2\n", "+2\r\n"));
        let error = imported(&mixed).unwrap_err();
        assert!(
            error.message.contains("carriage returns would be lost"),
            "{error}"
        );
        let (from, rest) = mixed.split_once('\n').unwrap();
        let on_its_way = rest.replace("\r\n", "\n").replace('\n', "\r\n");
        imported(&format!("{from}\n{on_its_way}")).unwrap();
    }

    #[test]
    fn a_series_that_is_not_whole_is_refused() {
        let one = mail("[PATCH 1/3]", "one", "1", DIFF);
        let two = mail("[PATCH 2/3]", "two", "2", DIFF);
        let three = mail("[PATCH 3/3]", "three", "3", DIFF);
        let refused = |mails: &[&str]| imported(&mails.concat()).unwrap_err().message;
        assert!(refused(&[&one, &three]).contains("patch 2 of 3 is missing"));
        assert!(refused(&[&one, &two]).contains("2 of 3 patches are there"));
        assert!(refused(&[&one, &two, &two]).contains("2 of 3 is there twice"));
        let other = mail("[PATCH 2/2]", "other", "4", DIFF);
        assert!(refused(&[&one, &other]).contains("these are two series"));
        assert!(refused(&[]).contains("no patch in it"));
    }
}
