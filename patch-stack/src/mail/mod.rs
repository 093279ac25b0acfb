// SPDX-License-Identifier: MIT OR Apache-2.0
//! A patch as it is mailed: headers, message and diff, read the way `git am --keep-non-patch`
//! reads them (git-mailsplit(1), git-mailinfo(1)).
//!
//! What git does with a mail that is no plain patch is a guess, or depends on the clock. Those
//! mails are refused here: several parts, `format=flowed`, no date, no diff.

mod body;
mod charset;
mod date;
pub(crate) mod encode;
mod header;
mod mailbox;
mod notes;
mod person;
mod text;
mod trailer;
mod transfer;

use git2::Time;

pub use self::mailbox::{loses_line_ends, split};
pub use self::notes::{joined, with_notes};
pub use self::person::Person;
pub use self::trailer::{Trailer, trailers};
use crate::diff::{self, Diff};
use crate::failure::Failure;
pub(crate) use text::latin1_where_invalid;

/// How a mail is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Lines keep a carriage return before their end, as with `git am --keep-cr`. Without it
    /// they lose it.
    pub keep_cr: bool,
}

/// One patch file.
#[derive(Debug, Clone)]
pub struct Patch {
    /// The file, exactly.
    pub bytes: Vec<u8>,
    /// Who wrote the patch.
    pub author: Person,
    /// When, in the author's time zone.
    pub date: Time,
    /// The first line of the message, tags that are kept included.
    pub subject: String,
    /// Every leading `[...]` of the mail's subject, without brackets, in order.
    pub tags: Vec<String>,
    /// The `Message-ID` header, without angle brackets.
    pub message_id: Option<String>,
    /// The whole commit message, subject included. Bytes that are no UTF-8 are taken for
    /// Latin-1, as git does when it commits.
    pub message: String,
    /// What stands below the message and is no part of it: "v2: ...". Empty if there is nothing.
    pub notes: Vec<u8>,
    /// What it changes.
    pub diff: Diff,
}

/// Why a mail is no patch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither the headers nor the body name an author.
    #[error("there is no usable `From:` header, so no author")]
    NoAuthor,
    /// There is no date; git would take the clock's.
    #[error("there is no `Date:` header; a commit would depend on the clock")]
    NoDate,
    /// A date in a form that is not read.
    #[error(
        "the date `{0}` is not one that mails have; write it like `Tue, 3 Mar 2026 12:00:00 +0100`"
    )]
    Date(String),
    /// The message would be empty.
    #[error("there is no subject and no message")]
    NoMessage,
    /// There is no diff.
    #[error("there is no diff: the patch is empty")]
    NoDiff,
    /// Parts would have to be put together by guesswork.
    #[error("the mail has several parts; save the patch itself as plain text")]
    Multipart,
    /// The mailer has wrapped lines.
    #[error("the mail is `format=flowed`, which breaks patches; ask for it as plain text")]
    Flowed,
    /// Text in a character set that is unknown, or is not what it claims to be.
    #[error("text in the character set `{0}` can't be read")]
    Charset(String),
    /// An encoded word (RFC 2047) that does not end, or is of no known kind.
    #[error("the header `{0}` has a malformed encoded word")]
    EncodedWord(&'static str),
    /// A NUL byte where no commit can have one.
    #[error("there is a NUL byte in the headers or the message")]
    Nul,
    /// The diff is malformed.
    #[error(transparent)]
    Diff(#[from] diff::Error),
}

impl Patch {
    /// Reads one mail.
    pub fn parse(bytes: &[u8], options: &Options) -> Result<Self, Error> {
        let text = mailbox::line_ends(bytes, options.keep_cr);
        let start = text
            .iter()
            .position(|byte| !text::is_space(*byte))
            .ok_or(Error::NoMessage)?;
        let (headers, body) = header::read(&text[start..])?;
        let body_line = 1 + count_lines(&text[..text.len() - body.len()]);

        let decoded = transfer::decode(body, headers.transfer);
        let body = body::read(&decoded, &headers.charset)?;
        if body.patch.is_empty() {
            return Err(Error::NoDiff);
        }

        let from = body.from.or(headers.from).ok_or(Error::NoAuthor)?;
        let author = Person::from_header(&text::single_spaced(&from)).ok_or(Error::NoAuthor)?;
        let date = body.date.or(headers.date).ok_or(Error::NoDate)?;
        let date = date::parse(&text::single_spaced(&date))?;
        let subject = body.subject.or(headers.subject).unwrap_or_default();
        let tags = text::tags(&subject);

        let mut message = text::clean_subject(&subject);
        message.extend_from_slice(b"\n\n");
        message.extend_from_slice(&body.message);
        let message = text::stripped(&message);
        if message.is_empty() {
            return Err(Error::NoMessage);
        }
        if message.contains(&0) || author.has_nul() {
            return Err(Error::Nul);
        }
        let message = latin1_where_invalid(&message);

        // Only an undecoded body has the lines of the file.
        let line = match headers.transfer {
            transfer::Transfer::Plain => body_line + count_lines(&decoded[..body.patch_at]),
            _ => 1,
        };
        Ok(Self {
            bytes: bytes.to_vec(),
            author,
            date,
            subject: message.lines().next().unwrap_or_default().to_owned(),
            tags,
            message_id: headers.message_id,
            message,
            notes: notes::of(body.patch),
            diff: Diff::parse(body.patch, line)?,
        })
    }
}

/// The refusal of what [`loses_line_ends`] finds.
pub(crate) fn line_ends_lost(what: &str) -> Failure {
    Failure::refused(format!(
        "{what} has lines that end in CR LF and lines that don't, and the carriage returns would be lost"
    ))
    .hint("`keep-cr = true` for the project in branches.toml keeps them")
}

/// A header of a mail that need not be a patch, unfolded and decoded. What is malformed or in an
/// unknown character set is read as it stands.
pub(crate) fn header(mail: &[u8], name: &'static str) -> Option<String> {
    let mut lines = mail.split(|byte| *byte == b'\n').map(text::trim_end);
    let mut value = loop {
        let line = lines.next().filter(|line| !line.is_empty())?;
        if line
            .get(..name.len())
            .is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
            && let Some(value) = line[name.len()..].strip_prefix(b":")
        {
            break text::trim(value).to_vec();
        }
    };
    for line in lines.take_while(|line| line.starts_with(b" ") || line.starts_with(b"\t")) {
        value.push(b' ');
        value.extend_from_slice(text::trim(line));
    }
    let decoded = header::decode(&value, name).unwrap_or(value);
    Some(latin1_where_invalid(&decoded))
}

/// Every leading `[...]` of a decoded subject, without brackets.
pub(crate) fn tags(subject: &str) -> Vec<String> {
    text::tags(subject.as_bytes())
}

fn count_lines(text: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', text).count()
}
