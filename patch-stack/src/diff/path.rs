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

/// Bytes that a path may have; Linux takes no longer one.
const LONGEST_PATH: usize = 4095;

/// Bytes that a name in it may have; few file systems take a longer one.
const LONGEST_NAME: usize = 255;

/// Names that a path may have, far above what any project has. A tree is changed folder by folder,
/// each within the one above, and the stack has an end.
const DEEPEST: usize = 256;

/// Whether a path is one that a tree may have.
pub(crate) fn is_safe(path: &[u8]) -> bool {
    fault(path).is_none()
}

/// What is wrong with a path, if anything is.
pub(super) fn fault(path: &[u8]) -> Option<&'static str> {
    let mut names = path.split(|byte| *byte == b'/');
    let long = path.len() > LONGEST_PATH
        || names.clone().nth(DEEPEST).is_some()
        || names.clone().any(|name| name.len() > LONGEST_NAME);
    if long {
        return Some("is longer or deeper than a file system takes");
    }
    names
        .any(|name| matches!(name, b"" | b"." | b"..") || name.contains(&0) || is_dot_git(name))
        .then_some("leads out of the tree or into `.git`")
}

/// Whether some file system takes `name` for `.git`, by the rules of git's own `verify_path` with
/// `core.protectNTFS` and `core.protectHFS`: case, what may follow the name, its short form, a
/// backslash that parts names, characters that are passed over.
fn is_dot_git(name: &[u8]) -> bool {
    let parts = name.split(|byte| *byte == b'\\');
    parts
        .map(without_tail)
        .any(|part| part.eq_ignore_ascii_case(b".git") || part.eq_ignore_ascii_case(b"git~1"))
        || without_ignored(name).eq_ignore_ascii_case(".git")
}

/// Whether some file system takes the end of `path` for `.gitmodules`, which git takes no symbolic
/// link for.
pub(super) fn is_module_list(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| matches!(byte, b'/' | b'\\')).next();
    let name = name.unwrap_or_default();
    let short = without_tail(name).to_ascii_lowercase();
    short == b".gitmodules"
        || short.starts_with(b"gitmod~")
        || short.starts_with(b"gi7e") && short.contains(&b'~')
        || without_ignored(name).eq_ignore_ascii_case(".gitmodules")
}

/// A name without what NTFS passes over at its end: a stream's name, then dots and blanks.
fn without_tail(name: &[u8]) -> &[u8] {
    let end = name.iter().position(|byte| *byte == b':');
    let name = &name[..end.unwrap_or(name.len())];
    let end = name.iter().rposition(|byte| !matches!(byte, b'.' | b' '));
    &name[..end.map_or(0, |last| last + 1)]
}

/// A name without the characters that HFS+ passes over.
fn without_ignored(name: &[u8]) -> String {
    String::from_utf8_lossy(name)
        .chars()
        .filter(|letter| {
            !matches!(letter, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
        })
        .collect()
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

    #[test]
    fn paths_have_an_end() {
        let deep = |names: usize| vec!["a"; names].join("/");
        assert!(is_safe(deep(DEEPEST).as_bytes()));
        let name = "a".repeat(LONGEST_NAME);
        assert!(is_safe(name.as_bytes()));
        let long = vec![name.as_str(); 16].join("/");
        assert_eq!(long.len(), LONGEST_PATH);
        assert!(is_safe(long.as_bytes()));
        for path in [deep(DEEPEST + 1), deep(50_000), name + "a", long + "a"] {
            assert_eq!(
                fault(path.as_bytes()),
                Some("is longer or deeper than a file system takes")
            );
        }
    }
}
