// SPDX-License-Identifier: MIT OR Apache-2.0
//! The headers of a mail: unfolding (RFC 5322 section 2.2.3) and encoded words (RFC 2047).

use super::transfer::{self, Transfer};
use super::{Error, charset, text};

/// What is looked at. The last of several headers of a name counts.
#[derive(Debug, Default)]
pub(super) struct Headers {
    pub(super) from: Option<Vec<u8>>,
    pub(super) subject: Option<Vec<u8>>,
    pub(super) date: Option<Vec<u8>>,
    pub(super) message_id: Option<String>,
    /// Of the body; empty when nothing is said.
    pub(super) charset: String,
    pub(super) transfer: Transfer,
}

/// Reads headers up to the first line that is none. Returns the rest, that line included.
pub(super) fn read(mail: &[u8]) -> Result<(Headers, &[u8]), Error> {
    let mut headers = Headers::default();
    let mut rest = mail;
    loop {
        let (line, after) = split_line(rest);
        let line = text::trim_end(line);
        if !is_header(line) {
            return Ok((headers, rest));
        }
        let mut header = line.to_vec();
        rest = after;
        while rest
            .first()
            .is_some_and(|byte| matches!(byte, b' ' | b'\t'))
        {
            let (line, after) = split_line(rest);
            header.push(b' ');
            header.extend_from_slice(text::trim_end(line.get(1..).unwrap_or_default()));
            rest = after;
        }
        headers.take(&header)?;
    }
}

impl Headers {
    fn take(&mut self, line: &[u8]) -> Result<(), Error> {
        if let Some(value) = value(line, "From") {
            self.from = Some(decode(value, "From")?);
        } else if let Some(value) = value(line, "Subject") {
            self.subject = Some(decode(value, "Subject")?);
        } else if let Some(value) = value(line, "Date") {
            self.date = Some(decode(value, "Date")?);
        } else if let Some(value) = value(line, "Content-Type") {
            self.content_type(&decode(value, "Content-Type")?)?;
        } else if let Some(value) = value(line, "Content-Transfer-Encoding") {
            let value = value.to_ascii_lowercase();
            let says = |word: &[u8]| value.windows(word.len()).any(|window| window == word);
            self.transfer = if says(b"base64") {
                Transfer::Base64
            } else if says(b"quoted-printable") {
                Transfer::QuotedPrintable
            } else {
                Transfer::Plain
            };
        } else if let Some(value) = value(line, "Message-ID") {
            let id = String::from_utf8_lossy(text::trim(value)).into_owned();
            let id = id
                .strip_prefix('<')
                .and_then(|id| id.strip_suffix('>'))
                .unwrap_or(&id);
            self.message_id = Some(id.to_owned());
        }
        Ok(())
    }

    fn content_type(&mut self, value: &[u8]) -> Result<(), Error> {
        if attribute(value, b"boundary=").is_some() {
            return Err(Error::Multipart);
        }
        if attribute(value, b"format=").is_some_and(|format| format.eq_ignore_ascii_case(b"flowed"))
        {
            return Err(Error::Flowed);
        }
        let name = attribute(value, b"charset=").unwrap_or_default();
        self.charset = String::from_utf8_lossy(name).into_owned();
        Ok(())
    }
}

/// The value of a header of this name: white space has to follow the colon.
pub(super) fn value<'l>(line: &'l [u8], name: &str) -> Option<&'l [u8]> {
    let (head, rest) = line.split_at_checked(name.len())?;
    match rest {
        [b':', space, value @ ..]
            if head.eq_ignore_ascii_case(name.as_bytes()) && text::is_space(*space) =>
        {
            Some(value)
        }
        _ => None,
    }
}

/// Decodes the encoded words of a header. White space between two of them is not part of the
/// text (RFC 2047 section 6.2).
pub(super) fn decode(value: &[u8], header: &'static str) -> Result<Vec<u8>, Error> {
    let malformed = || Error::EncodedWord(header);
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(start) = find(rest, b"=?") {
        let between = &rest[..start];
        let first = rest.len() == value.len();
        if first || !between.iter().all(|byte| text::is_space(*byte)) {
            out.extend_from_slice(between);
        }
        let word = &rest[start + 2..];
        let question = find(word, b"?").ok_or_else(malformed)?;
        let (name, word) = word.split_at(question);
        let [b'?', kind, b'?', word @ ..] = word else {
            return Err(malformed());
        };
        let end = find(word, b"?=").ok_or_else(malformed)?;
        let mut decoded = Vec::with_capacity(end);
        match kind {
            b'b' | b'B' => transfer::base64(&word[..end], &mut decoded),
            b'q' | b'Q' => transfer::quoted_printable(&word[..end], true, &mut decoded),
            _ => return Err(malformed()),
        }
        out.extend_from_slice(&charset::to_utf8(&decoded, &String::from_utf8_lossy(name))?);
        rest = &word[end + 2..];
    }
    out.extend_from_slice(rest);
    Ok(out)
}

/// A field name of printable characters and a colon (RFC 5322 section 2.2), or the line that a
/// mailbox puts before a mail.
fn is_header(line: &[u8]) -> bool {
    if line.starts_with(b"From ") || line.starts_with(b">From ") {
        return true;
    }
    let name = line
        .iter()
        .take_while(|byte| matches!(byte, 33..=57 | 59..=126))
        .count();
    line.get(name) == Some(&b':')
}

/// The value of `name` (with its `=`) among the attributes of a content type.
fn attribute<'v>(value: &'v [u8], name: &[u8]) -> Option<&'v [u8]> {
    let at = value
        .windows(name.len())
        .position(|window| window.eq_ignore_ascii_case(name))?;
    let value = &value[at + name.len()..];
    Some(match value.strip_prefix(b"\"") {
        Some(quoted) => quoted
            .split(|byte| *byte == b'"')
            .next()
            .unwrap_or_default(),
        None => value
            .split(|byte| matches!(byte, b';' | b' ' | b'\t'))
            .next()
            .unwrap_or_default(),
    })
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'\n', text) {
        Some(end) => text.split_at(end + 1),
        None => (text, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_headers_are_one_line() {
        let (headers, rest) = read(b"From 1234\nSubject: a\n b\n\tc\nX-a: b\n\nbody\n").unwrap();
        assert_eq!(headers.subject.unwrap(), b"a b c");
        assert_eq!(rest, b"\nbody\n");
    }

    #[test]
    fn encoded_words_join() {
        let decode = |value: &[u8]| decode(value, "Subject");
        assert_eq!(
            decode(b"=?utf-8?q?a_b?= =?UTF-8?B?Yw==?= d").unwrap(),
            b"a bc d"
        );
        assert_eq!(
            decode(b"x =?iso-8859-1?Q?=E9?=").unwrap(),
            "x \u{e9}".as_bytes()
        );
        assert_eq!(decode(b"a =? b"), Err(Error::EncodedWord("Subject")));
    }

    #[test]
    fn mails_that_need_guesswork_are_refused() {
        assert_eq!(
            read(b"Content-Type: multipart/mixed; boundary=x\n\n").unwrap_err(),
            Error::Multipart
        );
        assert_eq!(
            read(b"Content-Type: text/plain; format=\"flowed\"\n\n").unwrap_err(),
            Error::Flowed
        );
    }
}
