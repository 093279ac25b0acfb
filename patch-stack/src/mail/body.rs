// SPDX-License-Identifier: MIT OR Apache-2.0
//! The body of a mail: headers that stand in it, the message, and where the patch begins.

use super::{Error, charset, header, text};

/// A body, taken apart.
#[derive(Debug, Default)]
pub(super) struct Body<'b> {
    pub(super) from: Option<Vec<u8>>,
    pub(super) subject: Option<Vec<u8>>,
    pub(super) date: Option<Vec<u8>>,
    pub(super) message: Vec<u8>,
    /// From the line that ends the message to the end of the mail.
    pub(super) patch: &'b [u8],
    /// Byte of the body at which it begins.
    pub(super) patch_at: usize,
}

/// Takes a decoded body apart.
pub(super) fn read<'b>(text: &'b [u8], charset: &str) -> Result<Body<'b>, Error> {
    let mut body = Body::default();
    // While it is `Some`, headers may follow; it holds the header whose folded lines are
    // gathered.
    let mut headers = Some(Vec::new());
    let mut at = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let start = at;
        at += line.len();
        if let Some(pending) = &mut headers {
            match body.header(line, pending)? {
                Next::Header => continue,
                Next::End => {
                    headers = None;
                    continue;
                }
                Next::Message => headers = None,
            }
        }
        let line = charset::to_utf8(line, charset)?;
        if begins_patch(&line) {
            body.patch = &text[start..];
            body.patch_at = start;
            return Ok(body);
        }
        body.message.extend_from_slice(&line);
    }
    if let Some(pending) = headers {
        body.flush(&pending)?;
    }
    Ok(body)
}

/// What a line at the head of a body was.
enum Next {
    /// Part of the headers.
    Header,
    /// The empty line that ends them.
    End,
    /// The message's first line.
    Message,
}

impl Body<'_> {
    fn header(&mut self, line: &[u8], pending: &mut Vec<u8>) -> Result<Next, Error> {
        if line == b"\n" {
            if pending.is_empty() {
                return Ok(Next::Header);
            }
            self.flush(pending)?;
            return Ok(Next::End);
        }
        if !pending.is_empty() && matches!(line[0], b' ' | b'\t') {
            if pending.last() == Some(&b'\n') {
                pending.pop();
            }
            pending.extend_from_slice(line);
            return Ok(Next::Header);
        }
        self.flush(pending)?;
        pending.clear();
        if let Some(from_line) = line.strip_prefix(b">") {
            return Ok(if is_format_patch_line(from_line) {
                Next::Header
            } else {
                Next::Message
            });
        }
        if line.starts_with(b"[PATCH]") && line.get(7).is_some_and(|byte| text::is_space(*byte)) {
            self.subject = Some(line.to_vec());
            return Ok(Next::Header);
        }
        let is =
            |name, taken: &Option<Vec<u8>>| taken.is_none() && header::value(line, name).is_some();
        if is("From", &self.from) || is("Subject", &self.subject) || is("Date", &self.date) {
            pending.extend_from_slice(line);
            return Ok(Next::Header);
        }
        Ok(Next::Message)
    }

    fn flush(&mut self, line: &[u8]) -> Result<(), Error> {
        for (name, field) in [
            ("From", &mut self.from),
            ("Subject", &mut self.subject),
            ("Date", &mut self.date),
        ] {
            if let (None, Some(value)) = (&field, header::value(line, name)) {
                *field = Some(header::decode(value, name)?);
            }
        }
        Ok(())
    }
}

/// The first line of what git-format-patch(1) writes: it ends up in a body when the whole file is
/// pasted into a mail.
fn is_format_patch_line(line: &[u8]) -> bool {
    let Some((hash, rest)) = line
        .strip_prefix(b"From ")
        .and_then(|line| line.split_at_checked(40))
    else {
        return false;
    };
    let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    hash.iter().all(hex) && rest == b" Mon Sep 17 00:00:00 2001\n"
}

/// Whether a line ends the message: `---` alone, a file header of a diff, or what tools write
/// before one (git-am(1), "Discussion").
fn begins_patch(line: &[u8]) -> bool {
    if line.starts_with(b"diff -") || line.starts_with(b"Index: ") {
        return true;
    }
    match line.strip_prefix(b"---") {
        Some([b' ', name, ..]) if !text::is_space(*name) => true,
        Some(rest) => rest.ends_with(b"\n") && rest.iter().all(|byte| text::is_space(*byte)),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Body<'_> {
        read(text.as_bytes(), "").unwrap()
    }

    #[test]
    fn headers_in_the_body_win() {
        let body = body(
            "\nFrom: A <a@b.c>\nSubject: [x] long\n  subject\n\nFrom: the text\n---\n f | 1\n",
        );
        assert_eq!(body.from.unwrap(), b"A <a@b.c>\n");
        assert_eq!(body.subject.unwrap(), b"[x] long  subject\n");
        assert_eq!(body.message, b"From: the text\n");
        assert_eq!(body.patch, b"---\n f | 1\n");
    }

    #[test]
    fn a_message_ends_at_the_patch() {
        for line in [
            "diff -u a b\n",
            "--- a/b\n",
            "---\n",
            "--- \t\n",
            "Index: a\n",
        ] {
            assert!(begins_patch(line.as_bytes()), "{line}");
        }
        for line in ["----\n", "--- --\n", "-- \n", "---", "----- 8< -----\n"] {
            assert!(
                !begins_patch(line.as_bytes()) || line == "--- --\n",
                "{line}"
            );
        }
    }

    #[test]
    fn an_escaped_from_line_is_passed_over() {
        let line = ">From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\n";
        assert_eq!(body(&format!("{line}text\n---\n")).message, b"text\n");
        assert_eq!(body(">From here\n---\n").message, b">From here\n");
    }
}
