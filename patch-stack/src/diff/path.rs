// SPDX-License-Identifier: MIT OR Apache-2.0
//! Paths in a diff: quoted as in C where they are odd, and never out of the tree.

/// A path at the beginning of `text`, and what follows it. Without quotes it goes up to a tab or
/// the end of the line; git puts a tab behind a path with blanks.
pub(super) fn read(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    match text.strip_prefix(b"\"") {
        Some(quoted) => unquote(quoted),
        None => {
            let end = text
                .iter()
                .position(|byte| matches!(byte, b'\t' | b'\n'))
                .unwrap_or(text.len());
            (end > 0).then(|| (text[..end].to_vec(), &text[end..]))
        }
    }
}

/// Reads up to the closing quote.
fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            b'"' => return Some((out, rest)),
            b'\\' => {
                let (&escape, after) = rest.split_first()?;
                rest = after;
                out.push(match escape {
                    b'a' => 7,
                    b'b' => 8,
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'v' => 11,
                    b'f' => 12,
                    b'r' => b'\r',
                    b'"' | b'\\' => escape,
                    b'0'..=b'3' => {
                        let [high @ b'0'..=b'7', low @ b'0'..=b'7', after @ ..] = rest else {
                            return None;
                        };
                        rest = after;
                        (escape - b'0') << 6 | (high - b'0') << 3 | (low - b'0')
                    }
                    _ => return None,
                });
            }
            b'\n' => return None,
            _ => out.push(byte),
        }
    }
}

/// The path without its first component: `a/` or `b/`.
pub(super) fn stripped(path: &[u8]) -> Option<&[u8]> {
    let slash = path.iter().position(|byte| *byte == b'/')?;
    (slash > 0).then(|| &path[slash + 1..])
}

/// The one path that a line `a/x b/x` names, when it does so without a doubt. The two paths may
/// have blanks: they are equal, so the line's middle is where the second begins.
pub(super) fn of_git_line(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    if text.first() == Some(&b'"') {
        let (first, rest) = unquote(&text[1..])?;
        let second = rest.strip_prefix(b" ")?;
        let second = match second.strip_prefix(b"\"") {
            Some(quoted) => {
                let (path, rest) = unquote(quoted)?;
                rest.is_empty().then_some(path)?
            }
            None => second.to_vec(),
        };
        return same(&first, &second);
    }
    if let Some(quote) = text.windows(2).position(|pair| pair == b" \"") {
        let (second, rest) = unquote(&text[quote + 2..])?;
        return if rest.is_empty() {
            same(&text[..quote], &second)
        } else {
            None
        };
    }
    let middle = text.len() / 2;
    (text.get(middle) == Some(&b' ')).then(|| same(&text[..middle], &text[middle + 1..]))?
}

fn same(first: &[u8], second: &[u8]) -> Option<Vec<u8>> {
    let (first, second) = (stripped(first)?, stripped(second)?);
    (first == second).then(|| first.to_vec())
}

/// Whether a path stays in the tree, and out of the repository's own files on file systems that
/// take `.GIT` and `.git ` for the same.
pub(crate) fn is_safe(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').all(|name| {
        let trimmed = name
            .trim_ascii_end()
            .strip_suffix(b".")
            .unwrap_or(name.trim_ascii_end());
        !matches!(name, b"" | b"." | b"..")
            && !trimmed.eq_ignore_ascii_case(b".git")
            && !name.eq_ignore_ascii_case(b"git~1")
            && !name.contains(&0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_those_of_c() {
        assert_eq!(
            read(b"\"a/\\303\\251\\t\\\"\" x").unwrap(),
            ("a/\u{e9}\t\"".as_bytes().to_vec(), &b" x"[..])
        );
        assert_eq!(
            read(b"a/b c\t\n").unwrap(),
            (b"a/b c".to_vec(), &b"\t\n"[..])
        );
        assert!(read(b"\"a").is_none());
        assert!(read(b"\"a\\9\"").is_none());
        assert!(read(b"\n").is_none());
    }

    #[test]
    fn a_git_line_names_one_path() {
        assert_eq!(of_git_line(b"a/x y b/x y\n").unwrap(), b"x y");
        assert_eq!(of_git_line(b"\"a/\\tx\" \"b/\\tx\"\n").unwrap(), b"\tx");
        assert!(of_git_line(b"a/x b/y\n").is_none());
        assert!(of_git_line(b"x x\n").is_none());
    }

    #[test]
    fn paths_stay_in_the_tree() {
        for path in ["a", ".gitignore", "a/.github/b", "a/..b"] {
            assert!(is_safe(path.as_bytes()), "{path}");
        }
        for path in [
            "",
            "/a",
            "a//b",
            "../a",
            "a/..",
            "./a",
            ".git",
            "a/.GIT/hooks",
            ".git /x",
            ".git./x",
            "GIT~1/x",
            "a\0b",
        ] {
            assert!(!is_safe(path.as_bytes()), "{path}");
        }
    }
}
