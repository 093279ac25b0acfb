// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a hunk goes.
//!
//! The rule is that of git-apply(1) without `-C`: every line of context has to match. The hunk is
//! tried at the line that it names, counted in the file as the hunks before it have left it;
//! then at the lines around, one below, one above, two below, and so on, and the first that
//! matches is it. A hunk that begins at the file's first line has to match there, and one
//! without context behind it has to match at the file's end. Lines that an earlier hunk has
//! touched match nothing.
//!
//! One thing is stricter. git lets a last line without a newline match a line that has one, when
//! context is all it is, and then joins it with the next line. Here that does not match.

use super::store::Piece;
use crate::diff::Hunk;

/// A file taken apart into lines, and changed.
pub(super) struct Image<'t> {
    lines: Vec<Line<'t>>,
}

#[derive(Clone, Copy)]
struct Line<'t> {
    text: &'t [u8],
    /// Where it is in the file as it was; `None` for a line of a hunk.
    origin: Option<usize>,
}

impl<'t> Image<'t> {
    pub(super) fn new(content: &'t [u8]) -> Self {
        let mut at = 0;
        let lines = lines(content).map(|text| {
            let origin = Some(at);
            at += text.len();
            Line { text, origin }
        });
        Self {
            lines: lines.collect(),
        }
    }

    /// Puts a hunk where it matches. Returns how many lines from where it says, or `None` when
    /// it matches nowhere, or with `offsets` off not there.
    pub(super) fn put(&mut self, hunk: &'t Hunk, offsets: bool) -> Option<u64> {
        let old: Vec<&[u8]> = lines(&hunk.old).collect();
        let named = hunk.new_start.saturating_sub(1);
        let found = self.find(hunk, &old, named)?;
        let distance = found.abs_diff(named) as u64;
        if distance > 0 && !offsets {
            return None;
        }
        let new = lines(&hunk.new).map(|text| Line { text, origin: None });
        self.lines.splice(found..found + old.len(), new);
        Some(distance)
    }

    fn find(&self, hunk: &Hunk, old: &[&[u8]], named: usize) -> Option<usize> {
        let last = self.lines.len().checked_sub(old.len())?;
        let at_start = hunk.old_start <= 1;
        let at_end = hunk.trailing == 0;
        if at_start || at_end {
            let only = if at_start { 0 } else { last };
            return ((!at_end || only == last) && self.matches(old, only)).then_some(only);
        }
        // Lines behind `last` can't match; counting from there finds the same ones in the same
        // order.
        if self.matches(old, named) {
            return Some(named);
        }
        for distance in 1..=self.lines.len().max(named) {
            if self.matches(old, named + distance) {
                return Some(named + distance);
            }
            if distance <= named && self.matches(old, named - distance) {
                return Some(named - distance);
            }
        }
        None
    }

    fn matches(&self, old: &[&[u8]], at: usize) -> bool {
        let Some(lines) = self.lines.get(at..at.saturating_add(old.len())) else {
            return false;
        };
        lines
            .iter()
            .zip(old)
            .all(|(line, old)| line.origin.is_some() && line.text == *old)
    }

    /// The content, as pieces of what it was.
    pub(super) fn pieces(&self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        for line in &self.lines {
            match (line.origin, pieces.last_mut()) {
                (Some(origin), Some(Piece::Copy { start, length }))
                    if *start + *length == origin =>
                {
                    *length += line.text.len();
                }
                (Some(start), _) => pieces.push(Piece::Copy {
                    start,
                    length: line.text.len(),
                }),
                (None, Some(Piece::Insert(bytes))) => bytes.extend_from_slice(line.text),
                (None, _) => pieces.push(Piece::Insert(line.text.to_vec())),
            }
        }
        pieces
    }
}

/// The lines of a text, each with its newline.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &text[at..];
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        at += end;
        Some(&rest[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hunk(start: usize, old: &str, new: &str, trailing: usize) -> Hunk {
        let (old, new) = (old.as_bytes().to_vec(), new.as_bytes().to_vec());
        Hunk {
            old_start: start,
            new_start: start,
            old,
            new,
            leading: 1,
            trailing,
        }
    }

    #[test]
    fn the_nearest_match_is_taken_and_the_one_below_first() {
        let hunk = hunk(4, "x\n", "y\n", 1);
        let put = |content: &str| Image::new(content.as_bytes()).put(&hunk, true);
        assert_eq!(put("a\na\na\nx\na\n"), Some(0));
        assert_eq!(put("a\na\nx\na\nx\na\n"), Some(1));
        let mut image = Image::new(b"a\na\nx\na\nx\na\n");
        image.put(&hunk, true);
        assert_eq!(image.lines[4].text, b"y\n");
        assert_eq!(put("a\na\na\n"), None);
        assert_eq!(Image::new(b"a\na\nx\na\n").put(&hunk, false), None);
    }

    #[test]
    fn hunks_at_the_ends_stay_there() {
        let first = hunk(1, "a\nb\n", "a\nc\n", 1);
        assert_eq!(Image::new(b"x\na\nb\n").put(&first, true), None);
        let last = hunk(2, "b\n", "b\nc\n", 0);
        assert_eq!(Image::new(b"a\nb\na\n").put(&last, true), None);
        assert_eq!(Image::new(b"a\na\nb\n").put(&last, true), Some(1));
    }

    #[test]
    fn touched_lines_match_nothing() {
        let content = b"a\nx\nb\n";
        let hunk = hunk(2, "x\n", "x\nx\n", 1);
        let mut image = Image::new(content);
        assert_eq!(image.put(&hunk, true), Some(0));
        assert_eq!(image.put(&hunk, true), None);
    }

    #[test]
    fn a_missing_newline_is_not_looked_over() {
        let hunk = hunk(2, "b\nc", "B\nc", 1);
        assert_eq!(Image::new(b"a\nb\nc\n").put(&hunk, true), None);
        assert_eq!(Image::new(b"a\nb\nc").put(&hunk, true), Some(0));
    }
}
