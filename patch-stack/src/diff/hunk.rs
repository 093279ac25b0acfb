// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hunks: lines before and lines after, with the context on both sides.

use super::Error;
use super::parse::Lines;

/// One hunk. Context is part of both sides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hunk {
    /// First line before, from 1; 0 when there are no lines before.
    pub old_start: usize,
    /// First line after, from 1; 0 when there are no lines after.
    pub new_start: usize,
    /// The lines before. The last has no newline where the file has none at its end.
    pub old: Vec<u8>,
    /// The lines after.
    pub new: Vec<u8>,
    /// Lines of context before the first change.
    pub leading: usize,
    /// Lines of context after the last change.
    pub trailing: usize,
}

impl Hunk {
    pub(super) fn reversed(&self) -> Self {
        Self {
            old_start: self.new_start,
            new_start: self.old_start,
            old: self.new.clone(),
            new: self.old.clone(),
            ..*self
        }
    }
}

/// All hunks of a file.
pub(super) fn read_all(lines: &mut Lines<'_>) -> Result<Vec<Hunk>, Error> {
    let mut hunks = Vec::new();
    while let Some(line) = lines.next_if(b"@@ -") {
        let ranges = Ranges::read(line)
            .ok_or_else(|| lines.error_before("a hunk header that can't be read"))?;
        hunks.push(read(lines, &ranges)?);
    }
    Ok(hunks)
}

/// `@@ -1,2 +3,4 @@`
struct Ranges {
    old_start: usize,
    old_lines: usize,
    new_start: usize,
    new_lines: usize,
}

impl Ranges {
    fn read(line: &[u8]) -> Option<Self> {
        let text = line.strip_prefix(b"@@ -")?;
        let end = text.windows(3).position(|window| window == b" @@")?;
        let (old, new) = std::str::from_utf8(&text[..end]).ok()?.split_once(" +")?;
        let (old_start, old_lines) = range(old)?;
        let (new_start, new_lines) = range(new)?;
        Some(Self {
            old_start,
            old_lines,
            new_start,
            new_lines,
        })
    }
}

/// `1,2`, or `1` for one line.
fn range(text: &str) -> Option<(usize, usize)> {
    let (start, lines) = text.split_once(',').unwrap_or((text, "1"));
    Some((number(start)?, number(lines)?))
}

fn number(text: &str) -> Option<usize> {
    // A digit first: `parse` would take a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse::<u32>()
        .ok()
        .filter(|_| digits)
        .map(|number| number as usize)
}

fn read(lines: &mut Lines<'_>, ranges: &Ranges) -> Result<Hunk, Error> {
    let mut hunk = Hunk {
        old_start: ranges.old_start,
        new_start: ranges.new_start,
        ..Hunk::default()
    };
    let (mut old_left, mut new_left) = (ranges.old_lines, ranges.new_lines);
    let mut changes = 0;
    let mut context = 0;
    // Where a newline is taken off again by a `\ No newline` line.
    let mut ended = (false, false);
    while old_left > 0 || new_left > 0 {
        let Some(line) = lines.next() else {
            return Err(lines.error("the diff ends within a hunk"));
        };
        let (kind, text) = match line {
            // A mailer may have cut the blank off an empty line of context.
            b"\n" => (b' ', line),
            [kind @ (b' ' | b'-' | b'+'), text @ ..] => (*kind, text),
            [b'\\', ..] => return Err(lines.error_before("`\\ No newline` where no line can end")),
            _ => {
                return Err(lines.error_before(
                    "a line within a hunk that begins with none of ` `, `-`, `+`; its header counts more lines (edited by hand?)",
                ));
            }
        };
        if !text.ends_with(b"\n") {
            return Err(lines.error_before("the diff ends within a line"));
        }
        let (old, new) = (kind != b'+', kind != b'-');
        if old && (old_left == 0 || ended.0) || new && (new_left == 0 || ended.1) {
            return Err(
                lines.error_before("more lines than the hunk's header counts (edited by hand?)")
            );
        }
        if old {
            old_left -= 1;
            hunk.old.extend_from_slice(text);
        }
        if new {
            new_left -= 1;
            hunk.new.extend_from_slice(text);
        }
        if old && new {
            context += 1;
        } else {
            if changes == 0 {
                hunk.leading = context;
            }
            changes += 1;
            context = 0;
        }
        if lines.next_if(b"\\ ").is_some() {
            if old {
                hunk.old.pop();
                ended.0 = true;
            }
            if new {
                hunk.new.pop();
                ended.1 = true;
            }
        }
    }
    hunk.trailing = context;
    if changes == 0 {
        return Err(lines.error_before("a hunk that changes nothing"));
    }
    Ok(hunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Hunk>, Error> {
        read_all(&mut Lines::new(text.as_bytes(), 1))
    }

    #[test]
    fn both_sides_are_put_together() {
        let hunks =
            read_text("@@ -1,3 +1,3 @@ f()\n a\n-b\n+c\n d\n\\ No newline at end of file\n")
                .unwrap();
        assert_eq!(hunks[0].old, b"a\nb\nd");
        assert_eq!(hunks[0].new, b"a\nc\nd");
        assert_eq!((hunks[0].leading, hunks[0].trailing), (1, 1));
    }

    #[test]
    fn only_one_side_may_lack_its_newline() {
        let hunks = read_text("@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n").unwrap();
        assert_eq!(
            (&hunks[0].old[..], &hunks[0].new[..]),
            (&b"a"[..], &b"a\n"[..])
        );
    }

    #[test]
    fn counts_have_to_hold() {
        for text in [
            "@@ -1,2 +1 @@\n-a\n+b\n",
            "@@ -1 +1,2 @@\n-a\n+b\n-c\n",
            "@@ -1,2 +1,2 @@\n-a\n\\ No newline\n-b\n+c\n+d\n",
            "@@ -1 +1 @@\n a\n",
            "@@ -1 +1 @@\n-a\n+b",
            "@@ -99999999999 +1 @@\n-a\n+b\n",
            "@@ -+1 +1 @@\n-a\n+b\n",
            "@@ -1 1 @@\n-a\n+b\n",
        ] {
            assert!(read_text(text).is_err(), "{text}");
        }
    }
}
