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
/// A file that can't be read, a mail that is neither patch nor cover letter nor an answer. What is
/// not one whole series is refused: a patch that is missing or there twice, one of another version,
/// one without a number among others that have one.
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

/// What a mail is to a series.
enum Role {
    Cover,
    /// With the subject that its commit gets.
    Patch(String),
    /// An answer, or somebody's thanks.
    Talk,
}

/// A mail that counts, as the series has it.
struct Placed<'m> {
    subject: String,
    message_id: Option<String>,
    place: Option<Place>,
    bytes: &'m [u8],
}

/// What the tags in front of a subject say: `[RFC] [PATCH v2 3/7]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    version: u32,
    total: u32,
    number: u32,
}

fn sort(mails: &[&[u8]], options: &mail::Options) -> Result<Mailed> {
    let mut cover: Option<Placed<'_>> = None;
    let mut patches = Vec::new();
    for &bytes in mails {
        let subject = mail::header(bytes, "Subject").unwrap_or_default();
        let place = place(&subject);
        let role = role(bytes, &subject, patches.is_empty(), options)?;
        let mut placed = Placed {
            subject: bare(&subject),
            message_id: mail::header(bytes, "Message-ID")
                .map(|id| id.trim_matches(['<', '>', ' ']).to_owned()),
            place,
            bytes,
        };
        match role {
            Role::Talk => {}
            Role::Patch(subject) => {
                if mail::loses_line_ends(bytes, options) {
                    return Err(mail::line_ends_lost(&format!("the mail \"{subject}\"")));
                }
                placed.subject = subject;
                patches.push(placed);
            }
            Role::Cover => {
                if let Some(first) = &cover {
                    return Err(Failure::refused(format!(
                        "neither \"{}\" nor \"{subject}\" is a patch, and a series has one cover letter",
                        first.subject
                    ))
                    .hint("take out what is not of the series"));
                }
                cover = Some(placed);
            }
        }
    }
    if patches.is_empty() {
        return Err(Failure::usage("there is no patch in it"));
    }
    require_whole(cover.as_ref(), &mut patches)?;
    let first = cover.as_ref().unwrap_or(&patches[0]);
    Ok(Mailed {
        message_id: first.message_id.clone(),
        title: first.subject.clone(),
        patches: patches
            .iter()
            .enumerate()
            .map(|(index, mail)| {
                let name = format!("{:04}-{}.patch", index + 1, slug(&mail.subject));
                (name, mail.bytes.to_vec())
            })
            .collect(),
        cover: cover.map(|cover| cover.bytes.to_vec()),
    })
}

/// A mail that calls itself a patch is one, or trouble; what is left out makes none.
fn role(
    bytes: &[u8],
    subject: &str,
    is_before_patches: bool,
    options: &mail::Options,
) -> Result<Role> {
    if subject.to_ascii_lowercase().starts_with("re:") {
        return Ok(Role::Talk);
    }
    let place = place(subject);
    if place.is_some_and(|place| place.number == 0) {
        return Ok(Role::Cover);
    }
    let called_patch =
        place.is_some() || mail::tags(subject).iter().any(|tag| tag.contains("PATCH"));
    let is_answer = answers(subject)
        || ["In-Reply-To", "References"]
            .iter()
            .any(|name| mail::header(bytes, name).is_some());
    match Patch::parse(bytes, options) {
        Ok(patch) => Ok(Role::Patch(patch.subject)),
        Err(_) if is_answer && !called_patch => Ok(Role::Talk),
        // `git format-patch -N` gives the cover letter a tag without a number.
        Err(mail::Error::NoDiff) if place.is_none() && is_before_patches => Ok(Role::Cover),
        Err(error) => Err(Failure::failed(format!(
            "the mail \"{subject}\" can't be read: {error}"
        ))),
    }
}

/// `AW: [PATCH 1/3] a: b`, `SV: ...`: what mailers of other languages write for `Re:`.
fn answers(subject: &str) -> bool {
    subject.split_once(':').is_some_and(|(word, rest)| {
        (1..=5).contains(&word.chars().count())
            && word.chars().all(char::is_alphabetic)
            && rest.trim_start().starts_with('[')
    })
}

/// Puts the patches in order, and fails unless they are one series from first to last. Mails
/// without numbers stay as they are.
fn require_whole(cover: Option<&Placed<'_>>, patches: &mut [Placed<'_>]) -> Result<()> {
    patches.sort_by_key(|mail| mail.place);
    // A mail without a number is before all others.
    let Some(last) = patches.last().and_then(|mail| mail.place) else {
        return Ok(());
    };
    let total = last.total;
    if let Some(mail) = patches.iter().find(|mail| mail.place.is_none()) {
        return Err(Failure::refused(format!(
            "\"{}\" has no number, among patches of {total}",
            mail.subject
        ))
        .hint("take out what is not of the series"));
    }
    for mail in cover.into_iter().chain(patches.iter()) {
        let other = |place: &Place| (place.version, place.total) != (last.version, total);
        if let Some(place) = mail.place.filter(other) {
            return Err(Failure::refused(format!(
                "\"{}\" is {place}, \"{}\" is {last}; these are two series",
                mail.subject,
                patches[patches.len() - 1].subject
            ))
            .hint("take out what is not of the series"));
        }
    }
    for (expected, number) in (1..).zip(patches.iter().filter_map(|mail| mail.place)) {
        let number = number.number;
        if number != expected {
            return Err(Failure::refused(if number < expected {
                format!("patch {number} of {total} is there twice")
            } else {
                format!("patch {expected} of {total} is missing")
            }));
        }
    }
    if patches.len() as u64 != u64::from(total) {
        return Err(Failure::refused(format!(
            "{} of {total} patches are there; the last ones are missing",
            patches.len()
        )));
    }
    Ok(())
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} in v{}", self.number, self.total, self.version)
    }
}

/// `[RFC] [PATCH v2 3/7]`: 3 of 7 in v2. None where no tag has a number.
fn place(subject: &str) -> Option<Place> {
    let tags = mail::tags(subject);
    let words = || {
        tags.iter()
            .flat_map(|tag| tag.split([' ', ',']))
            .filter(|word| !word.is_empty())
    };
    let (number, total) = words().find_map(|word| {
        let (number, total) = word.split_once('/')?;
        Some((number.parse().ok()?, total.parse().ok()?))
    })?;
    let version = words().find_map(|word| {
        // `[PATCHv2 3/7]` is seen as well.
        let word = word.strip_prefix("PATCH").unwrap_or(word);
        word.strip_prefix(['v', 'V'])?.parse().ok()
    });
    Some(Place {
        version: version.unwrap_or(1),
        total,
        number,
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
        let newer = mail("[PATCH v2 1/3]", "one", "5", DIFF);
        assert!(refused(&[&newer, &two, &three]).contains("these are two series"));
        let cover = mail("[PATCH v2 0/3]", "all", "6", "All of it.");
        assert!(refused(&[&cover, &one, &two, &three]).contains("these are two series"));
        let stray = mail("[PATCH]", "stray", "7", DIFF);
        assert!(refused(&[&one, &stray, &three]).contains("\"stray\" has no number"));
        let empty = mail("[PATCH]", "empty", "8", "Nothing.");
        assert!(refused(&[&stray, &empty]).contains("there is no diff"));
        let cover = mail("Hello", "", "9", "All of it.");
        assert!(refused(&[&cover, &cover, &stray]).contains("a series has one cover letter"));
        assert!(refused(&[]).contains("no patch in it"));
        let kind = |mails: &[&str]| imported(&mails.concat()).unwrap_err().kind;
        for whole_not in [
            &[&one[..], &three][..],
            &[&one, &two],
            &[&newer, &two, &three],
        ] {
            assert_eq!(kind(whole_not), crate::failure::Kind::Refused);
        }
    }

    #[test]
    fn numbers_are_looked_for_in_every_tag() {
        let found = |subject| place(subject).map(|place| place.to_string());
        for (subject, told) in [
            ("[PATCH 3/7] a", "3 of 7 in v1"),
            ("[RFC] [PATCH net-next v3 03/12] a", "3 of 12 in v3"),
            ("[PATCHv2 1/2] a [4/4]", "1 of 2 in v2"),
            ("[v2,1/2] a", "1 of 2 in v2"),
        ] {
            assert_eq!(found(subject).as_deref(), Some(told), "{subject}");
        }
        assert_eq!(found("[x86/mm] a: 1/2"), None);
        let text: Vec<_> = ["3", "1", "2"]
            .map(|n| mail(&format!("[RFC] [PATCH v3 {n}/3]"), n, n, DIFF))
            .into();
        let mailed = imported(&text.concat()).unwrap();
        // The first one's, though the last one stands first.
        assert_eq!(mailed.title, "[RFC] 1");
        assert_eq!(mailed.message_id.as_deref(), Some("1@example.org"));
        let names: Vec<_> = mailed.patches.iter().map(|(name, _)| &name[..]).collect();
        assert_eq!(
            names,
            ["0001-RFC-1.patch", "0002-RFC-2.patch", "0003-RFC-3.patch"]
        );
        assert!(imported(&text[..2].concat()).is_err());
    }

    #[test]
    fn encoded_mails_need_no_cover_letter() {
        // The text of `DIFF`, as base64(1) writes it.
        let body = "V2h5LgotLS0KIGEgfCAxICsKCmRpZmYgLS1naXQgYS9hIGIvYQppbmRleCAxMTExMTExLi4yMjIy\n\
            MjIyIDEwMDY0NAotLS0gYS9hCisrKyBiL2EKQEAgLTEgKzEsMiBAQAogMQorMgo=";
        let encoded = |tag, n| {
            mail(tag, n, n, body).replace("\n\n", "\nContent-Transfer-Encoding: base64\n\n")
        };
        let text = [encoded("[PATCH 1/2]", "1"), encoded("[PATCH 2/2]", "2")].concat();
        let mailed = imported(&text).unwrap();
        assert!(mailed.cover.is_none());
        assert_eq!(mailed.patches.len(), 2);
    }

    #[test]
    fn answers_without_a_patch_are_left_out() {
        let answer = |tag| {
            mail(tag, "a", "9", "Thanks.\n> diff --git a/a b/a")
                .replace("Message-ID", "In-Reply-To: <1@example.org>\nMessage-ID")
        };
        let one = mail("[PATCH 1/2]", "one", "1", DIFF);
        let two = answer("[PATCH 2/2]").replace("Thanks.\n> diff --git a/a b/a", DIFF);
        for talk in ["AW: [PATCH 1/2]", "Thanks!"] {
            let mailed = imported(&[&answer(talk), &one[..], &two].concat()).unwrap();
            assert!(mailed.cover.is_none());
            assert_eq!(mailed.title, "one");
            assert_eq!(mailed.patches.len(), 2);
        }
        // One that nothing says of which mail it is an answer to.
        let bare = mail("Antw: [PATCH 1/2]", "a", "9", "Thanks.");
        for mails in [[&bare[..], &one, &two], [&one, &bare, &two]] {
            assert_eq!(imported(&mails.concat()).unwrap().title, "one");
        }
        let stray = mail("Hello", "", "9", "Who is this?");
        assert!(imported(&[&one[..], &two, &stray].concat()).is_err());
        // What calls itself a patch is never left out.
        let broken = answer("[PATCH 2/2]");
        let error = imported(&[one, broken].concat()).unwrap_err();
        assert!(error.message.contains("there is no diff"), "{error}");
    }
}
