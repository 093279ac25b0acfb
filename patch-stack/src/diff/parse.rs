// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lines of a diff, in order: free text, then one header and its content for each file, then
//! the mail's signature.

use super::header::Header;
use super::{Content, Error, File, binary, hunk};

/// Lines with their numbers, one looked at ahead.
pub(super) struct Lines<'t> {
    rest: &'t [u8],
    number: usize,
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t [u8], number: usize) -> Self {
        Self { rest: text, number }
    }

    /// The next line with its newline, or nothing at the end.
    pub(super) fn peek(&self) -> Option<&'t [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', self.rest).map_or(self.rest.len(), |end| end + 1);
        Some(&self.rest[..end])
    }

    pub(super) fn next(&mut self) -> Option<&'t [u8]> {
        let line = self.peek()?;
        self.rest = &self.rest[line.len()..];
        self.number += 1;
        Some(line)
    }

    /// The next line, if it begins so.
    pub(super) fn next_if(&mut self, prefix: &[u8]) -> Option<&'t [u8]> {
        self.peek().filter(|line| line.starts_with(prefix))?;
        self.next()
    }

    /// An error at the line that comes next.
    pub(super) fn error(&self, what: impl Into<String>) -> Error {
        Error {
            line: self.number,
            what: what.into(),
        }
    }

    /// An error at the line that came last.
    pub(super) fn error_before(&self, what: impl Into<String>) -> Error {
        Error {
            line: self.number - 1,
            what: what.into(),
        }
    }

    pub(super) fn number(&self) -> usize {
        self.number
    }
}

/// The files of a diff.
pub(super) fn files(text: &[u8], line: usize) -> Result<Vec<File>, Error> {
    let mut lines = Lines::new(text, line);
    // The diffstat and remarks.
    while let Some(line) = lines.peek() {
        if line.starts_with(b"diff --git ") {
            break;
        }
        let traditional = line.starts_with(b"--- a/") || line.starts_with(b"--- /dev/null");
        if traditional
            || line.starts_with(b"@@ -")
            || line.starts_with(b"Index: ")
            || line.starts_with(b"diff -")
        {
            return Err(lines.error(
                "a diff that git did not write; make the patch again with `git format-patch`",
            ));
        }
        lines.next();
    }
    let mut files = Vec::new();
    while lines
        .peek()
        .is_some_and(|line| line.starts_with(b"diff --git "))
    {
        files.push(file(&mut lines)?);
        while lines.next_if(b"\n").is_some() {}
    }
    if files.is_empty() {
        return Err(lines.error("there is no `diff --git`: the patch is empty"));
    }
    signature(&mut lines)?;
    Ok(files)
}

/// What follows the last file: nothing, or a line `-- ` and any text.
fn signature(lines: &mut Lines<'_>) -> Result<(), Error> {
    match lines.peek() {
        None => return Ok(()),
        Some(b"-- \n" | b"-- " | b"--\n" | b"--") => {}
        Some([b'+' | b'-' | b' ' | b'\\', ..]) => {
            return Err(lines.error(
                "a line of a diff behind the end of its hunk; the hunk's header counts fewer lines (edited by hand?)",
            ));
        }
        Some(_) => {
            return Err(lines.error(
                "text that is no part of a diff; only a signature behind `-- ` may follow",
            ));
        }
    }
    while let Some(line) = lines.peek() {
        if line.starts_with(b"diff --git ") {
            return Err(lines.error("a second diff behind the mail's signature"));
        }
        lines.next();
    }
    Ok(())
}

fn file(lines: &mut Lines<'_>) -> Result<File, Error> {
    let line = lines.number();
    let header = Header::read(lines)?;
    let content = if let Some(first) = lines.peek() {
        if first.starts_with(b"@@ -") {
            Content::Hunks(hunk::read_all(lines)?)
        } else if first == b"GIT binary patch\n" {
            Content::Binary(binary::read(lines)?)
        } else if first.starts_with(b"Binary files ") || first.starts_with(b"Files ") {
            return Err(lines
                .error("a binary file without its content; make the patch again with `--binary`"));
        } else {
            Content::Same
        }
    } else {
        Content::Same
    };
    header.finish(content, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        files(text.as_bytes(), 1).unwrap_err().to_string()
    }

    const HEADER: &str = "diff --git a/f b/f\nindex 1234567..89abcde 100644\n--- a/f\n+++ b/f\n";

    #[test]
    fn what_git_would_pass_over_is_refused() {
        let edited = format!("{HEADER}@@ -1 +1 @@\n-a\n+b\n+c\n-- \n2.39\n");
        assert!(
            error(&edited).starts_with("line 8: a line of a diff behind"),
            "{}",
            error(&edited)
        );
        let text = format!("{HEADER}@@ -1 +1 @@\n-a\n+b\nhello\n");
        assert!(error(&text).starts_with("line 8: text"), "{}", error(&text));
        let second = format!("{HEADER}@@ -1 +1 @@\n-a\n+b\n-- \n{HEADER}");
        assert!(error(&second).contains("second diff"));
        assert!(error("--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n").contains("git did not write"));
        assert!(error("---\n f | 2 +-\n").contains("empty"));
    }

    #[test]
    fn a_mail_may_have_a_signature() {
        let text =
            format!("---\n f | 2 +-\n\n{HEADER}@@ -1 +1 @@\n-a\n+b\n-- \n2.39.2\n\nfooter\n");
        assert_eq!(files(text.as_bytes(), 1).unwrap().len(), 1);
    }
}
