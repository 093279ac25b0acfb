// SPDX-License-Identifier: MIT OR Apache-2.0
//! A person, as a `From:` header or a commit names one.

use super::text;

/// A name and an address, as bytes: an author's name need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The name.
    pub name: Vec<u8>,
    /// The address, without angle brackets.
    pub email: Vec<u8>,
}

impl Person {
    /// A person, unless the name or the address has nothing that a commit could keep.
    #[must_use]
    pub fn new(name: &[u8], email: &[u8]) -> Option<Self> {
        let person = Self {
            name: name.to_vec(),
            email: email.to_vec(),
        };
        (!clean(name).is_empty() && !clean(email).is_empty()).then_some(person)
    }

    /// The person of a `From:` header whose white space is single blanks. Not all that RFC 5322
    /// allows, but what git-mailinfo(1) makes of it.
    pub(super) fn from_header(value: &[u8]) -> Option<Self> {
        let mut rest = unquoted(value);
        let Some(at) = rest.iter().position(|byte| *byte == b'@') else {
            // `John Doe <johndoe>`
            let open = value.iter().position(|byte| *byte == b'<')?;
            let close = open + value[open..].iter().position(|byte| *byte == b'>')?;
            let email = &value[open + 1..close];
            return Self::new(name_or(text::trim(&value[..open]), email), email);
        };
        // The address is the word around the `@`, in angle brackets or not.
        let ends = |byte: &u8| text::is_space(*byte) || *byte == b'<';
        let start = rest[..at].iter().rposition(ends).map_or(0, |end| end + 1);
        if start > 0 && rest[start - 1] == b'<' {
            rest[start - 1] = b' ';
        }
        let stops = |byte: &u8| text::is_space(*byte) || matches!(byte, b'>' | 0x0b | 0x0c);
        let end = rest[at..]
            .iter()
            .position(stops)
            .map_or(rest.len(), |length| at + length);
        let email = rest[start..end].to_vec();
        rest.drain(start..(end + 1).min(rest.len()));

        // The remainder is the name, which may be a comment: `john@example.org (John Doe)`.
        let name = text::single_spaced(&rest);
        let mut name = text::trim(&name);
        if let Some(inner) = name
            .strip_prefix(b"(")
            .and_then(|name| name.strip_suffix(b")"))
        {
            name = inner;
        }
        Self::new(name_or(name, &email), &email)
    }

    pub(super) fn has_nul(&self) -> bool {
        self.name.contains(&0) || self.email.contains(&0)
    }

    /// `Name <address>` as a commit has it.
    pub(crate) fn ident(&self) -> Vec<u8> {
        [&clean(&self.name)[..], b" <", &clean(&self.email), b">"].concat()
    }
}

/// Names that are hardly names give way to the address.
fn name_or<'n>(name: &'n [u8], email: &'n [u8]) -> &'n [u8] {
    let odd = name.iter().any(|byte| matches!(byte, b'@' | b'<' | b'>'));
    if (1..=60).contains(&name.len()) && !odd {
        name
    } else {
        email
    }
}

/// A header without its quotes and without backslashes in quotes and in comments.
fn unquoted(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut quoted = false;
    let mut comments = 0_usize;
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if quoted || comments > 0 => out.extend(bytes.next()),
            b'"' if comments == 0 => quoted = !quoted,
            b'(' if !quoted => {
                comments += 1;
                out.push(byte);
            }
            b')' if comments > 0 => {
                comments -= 1;
                out.push(byte);
            }
            _ => out.push(byte),
        }
    }
    out
}

/// What git keeps of a name or an address: no control characters and punctuation around it, no
/// angle brackets and newlines inside. (git 2.39 takes dots off as well, git 2.47 does not.)
fn clean(text: &[u8]) -> Vec<u8> {
    let crud = |byte: &u8| *byte <= 32 || br#",:;<>"\'"#.contains(byte);
    let start = text
        .iter()
        .position(|byte| !crud(byte))
        .unwrap_or(text.len());
    let end = text
        .iter()
        .rposition(|byte| !crud(byte))
        .map_or(start, |last| last + 1);
    text[start..end]
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'\n' | b'<' | b'>'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(header: &str) -> String {
        let person = Person::from_header(header.as_bytes()).unwrap();
        String::from_utf8(person.ident()).unwrap()
    }

    #[test]
    fn headers_name_people_in_many_ways() {
        assert_eq!(
            person("John Doe <john@example.org>"),
            "John Doe <john@example.org>"
        );
        assert_eq!(
            person("\"Doe, J. (x)\" <john@example.org>"),
            "Doe, J. (x) <john@example.org>"
        );
        assert_eq!(
            person("john@example.org (John \\(a\\) Doe)"),
            "John (a) Doe <john@example.org>"
        );
        assert_eq!(
            person("John (zzz) Doe <john@example.org> (Comment)"),
            "John (zzz) Doe (Comment) <john@example.org>"
        );
        assert_eq!(person("J <john@example.org>"), "J <john@example.org>");
        assert_eq!(
            person("<john@example.org>"),
            "john@example.org <john@example.org>"
        );
        assert_eq!(person("John Doe <johndoe>"), "John Doe <johndoe>");
        assert_eq!(
            person("John Doe jr. <john@example.org>"),
            "John Doe jr. <john@example.org>"
        );
    }

    #[test]
    fn nobody_is_no_person() {
        assert!(Person::from_header(b"John Doe").is_none());
        assert!(Person::from_header(b",,, <a@b>").is_none());
        assert!(Person::new(b";;;", b"a@b").is_none());
    }
}
