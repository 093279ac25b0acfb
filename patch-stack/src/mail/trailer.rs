// SPDX-License-Identifier: MIT OR Apache-2.0
//! The trailers of a message: `Signed-off-by:` and its kin.

/// One trailer line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer<'m> {
    /// The token, as written: `Signed-off-by`.
    pub key: &'m str,
    /// What follows the colon, trimmed.
    pub value: &'m str,
}

/// The trailers of the last paragraph of `message`, in order. The paragraph counts when it is
/// not the subject, each of its lines is a trailer, continues one, or is a remark in brackets,
/// and at least one is a trailer. (git-interpret-trailers(1) has a looser rule for paragraphs
/// with a `Signed-off-by` line; a stack wants to know about those that are not in order.)
#[must_use]
pub fn trailers(message: &str) -> Vec<Trailer<'_>> {
    let message = message.trim_end();
    let Some((_, paragraph)) = message.rsplit_once("\n\n") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for line in paragraph.lines() {
        if line.starts_with([' ', '\t', '[']) {
            continue;
        }
        match line.split_once(':') {
            Some((key, value)) if is_token(key) => found.push(Trailer {
                key,
                value: value.trim(),
            }),
            _ => return Vec::new(),
        }
    }
    found
}

fn is_token(key: &str) -> bool {
    key.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && key.starts_with(|first: char| first.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_are_the_last_paragraph() {
        let message =
            "a: b\n\nText: no\n\nFixes: 1234 (\"x\")\n[me: changed]\nSigned-off-by: A <a@b>\n";
        let found: Vec<_> = trailers(message)
            .into_iter()
            .map(|trailer| (trailer.key, trailer.value))
            .collect();
        assert_eq!(
            found,
            [("Fixes", "1234 (\"x\")"), ("Signed-off-by", "A <a@b>")]
        );
    }

    #[test]
    fn prose_is_none() {
        assert!(trailers("a: b\n").is_empty());
        assert!(trailers("a\n\nSigned-off-by: A <a@b>\nand more.\n").is_empty());
    }
}
