// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cleaning of subjects and messages, to the byte as git does it.

/// White space as git's own ctype table has it: no vertical tab, no form feed.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

pub(super) fn trim(text: &[u8]) -> &[u8] {
    let text = trim_end(text);
    let start = text
        .iter()
        .position(|byte| !is_space(*byte))
        .unwrap_or(text.len());
    &text[start..]
}

pub(super) fn trim_end(text: &[u8]) -> &[u8] {
    let end = text
        .iter()
        .rposition(|byte| !is_space(*byte))
        .map_or(0, |last| last + 1);
    &text[..end]
}

/// Each run of white space as one blank.
pub(super) fn single_spaced(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        if !is_space(byte) {
            out.push(byte);
        } else if out.last() != Some(&b' ') {
            out.push(b' ');
        }
    }
    out
}

/// The subject as the commit gets it: `Re:` and every leading bracket that says `PATCH` taken
/// off, other leading brackets kept (git-mailinfo(1), `-b`).
pub(super) fn clean_subject(subject: &[u8]) -> Vec<u8> {
    let mut text = subject.to_vec();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b' ' | b'\t' | b':' => {
                text.remove(at);
            }
            b'r' | b'R' if is_reply(&text[at..]) => {
                text.drain(at..at + 3);
            }
            b'[' => {
                let Some(close) = text[at..].iter().position(|byte| *byte == b']') else {
                    break;
                };
                let end = at + close + 1;
                if is_patch_tag(&text[at..end]) {
                    text.drain(at..end);
                } else {
                    // A blank behind a kept bracket stays.
                    at = end + usize::from(text.get(end).is_some_and(|byte| is_space(*byte)));
                }
            }
            _ => break,
        }
    }
    single_spaced(trim(&text))
}

fn is_reply(text: &[u8]) -> bool {
    text.len() > 3 && matches!(text[1], b'e' | b'E') && text[2] == b':'
}

fn is_patch_tag(tag: &[u8]) -> bool {
    tag.windows(5).any(|word| word == b"PATCH")
}

/// Every leading `[...]` of a subject, without brackets.
pub(super) fn tags(subject: &[u8]) -> Vec<String> {
    let mut rest = trim(subject);
    let mut tags = Vec::new();
    loop {
        if is_reply(rest) && matches!(rest[0], b'r' | b'R') {
            rest = trim(&rest[3..]);
        }
        let Some(inner) = rest.strip_prefix(b"[") else {
            return tags;
        };
        let Some(close) = inner.iter().position(|byte| *byte == b']') else {
            return tags;
        };
        tags.push(String::from_utf8_lossy(&single_spaced(trim(&inner[..close]))).into_owned());
        rest = trim(&inner[close + 1..]);
    }
}

/// A message without blanks at line ends, without empty lines around it, with no two of them in
/// a row, and with a newline at its end (git-stripspace(1)).
pub(super) fn stripped(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len());
    let mut empty_lines = false;
    for line in message.split(|byte| *byte == b'\n') {
        let line = trim_end(line);
        if line.is_empty() {
            empty_lines = true;
            continue;
        }
        if empty_lines && !out.is_empty() {
            out.push(b'\n');
        }
        empty_lines = false;
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out
}

/// Text as UTF-8. A byte that does not belong to a character git accepts is taken for Latin-1:
/// `git commit-tree` does so, for the author's name and for the message.
pub(crate) fn latin1_where_invalid(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let valid = match std::str::from_utf8(rest) {
            Ok(valid) => valid,
            Err(error) => std::str::from_utf8(&rest[..error.valid_up_to()]).unwrap_or_default(),
        };
        let good = valid.find(is_noncharacter).unwrap_or(valid.len());
        out.push_str(&valid[..good]);
        rest = &rest[good..];
        if let Some((&byte, after)) = rest.split_first() {
            out.push(char::from(byte));
            rest = after;
        }
    }
    out
}

/// Code points that Unicode sets aside for ever; git takes them for malformed.
fn is_noncharacter(character: char) -> bool {
    let code = u32::from(character);
    code & 0xfffe == 0xfffe || (0xfdd0..=0xfdef).contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_patch_tags_leave_the_subject() {
        let clean = |subject: &str| String::from_utf8(clean_subject(subject.as_bytes())).unwrap();
        assert_eq!(clean("[PATCH 1/5] [REVERTME]  x86: a"), "[REVERTME] x86: a");
        assert_eq!(clean("Re: [RFC PATCH v2 01/10] a: b"), "a: b");
        assert_eq!(clean("[REVERTME][PATCH] a"), "[REVERTME]a");
        assert_eq!(clean("[PATCH"), "[PATCH");
        assert_eq!(clean("re: re: rest"), "rest");
        assert_eq!(clean("[a] [PATCH] [b] c"), "[a] [b] c");
        assert_eq!(tags(b"Re: [PATCH  v2] [x86] a [b]"), ["PATCH v2", "x86"]);
    }

    #[test]
    fn messages_lose_what_is_blank() {
        assert_eq!(stripped(b"\n \na \t\n\n\n\nb\r\n\n"), b"a\n\nb\n");
        assert!(stripped(b" \n\n").is_empty());
    }

    #[test]
    fn bytes_that_are_no_utf8_are_latin1() {
        assert_eq!(
            latin1_where_invalid(b"Andr\xe9 \xc3\xa9"),
            "Andr\u{e9} \u{e9}"
        );
        assert_eq!(latin1_where_invalid(b"\xe2\x82"), "\u{e2}\u{82}");
        assert_eq!(
            latin1_where_invalid("\u{ffff}a".as_bytes()),
            "\u{ef}\u{bf}\u{bf}a"
        );
    }
}
