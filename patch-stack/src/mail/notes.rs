// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stands below `---`: what changed since the version before, and other words to reviewers.
//! No commit has them (git-am(1)), so a patch file is the only place where they last.

use std::ops::Range;

use super::text;

/// The notes of a mail that [`with_notes`] may write: git-format-patch(1)'s, or one like it. `patch`
/// begins with the line that ends the message. Statistics, and where the patch belongs, are none.
pub(super) fn of(patch: &[u8]) -> Vec<u8> {
    let Some(start) = behind_rule(patch) else {
        return Vec::new();
    };
    let region = &patch[start..start + diff_at(&patch[start..])];
    let statistics = statistics(region);
    let mut notes = Vec::new();
    for part in [&region[..statistics.start], &region[statistics.end..]] {
        let kept: Vec<&[u8]> = part
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|line| !is_rule(line) && !is_place(line))
            .collect();
        push(&mut notes, &kept.concat());
    }
    notes
}

/// The notes of two versions of a patch: those that the newer one has said again are there once.
#[must_use]
pub fn joined(older: &[u8], newer: &[u8]) -> Vec<u8> {
    if memchr::memmem::find(newer, older).is_some() {
        return newer.to_vec();
    }
    let mut notes = older.to_vec();
    if memchr::memmem::find(older, newer).is_none() {
        push(&mut notes, newer);
    }
    notes
}

/// The mail, as git-format-patch(1) wrote it, with these notes between its message and its
/// statistics.
#[must_use]
pub fn with_notes(mail: &[u8], notes: &[u8]) -> Vec<u8> {
    let body = memchr::memmem::find(mail, b"\n\n").map_or(0, |at| at + 2);
    let Some(start) = behind_rule(&mail[body..]).map(|at| body + at) else {
        return mail.to_vec();
    };
    let diff = start + diff_at(&mail[start..]);
    let statistics = statistics(&mail[start..diff]);
    let mut all = mail[..start].to_vec();
    if !notes.is_empty() {
        all.extend_from_slice(notes);
        all.push(b'\n');
    }
    all.extend_from_slice(&mail[start + statistics.start..]);
    all
}

/// Adds a paragraph.
fn push(notes: &mut Vec<u8>, more: &[u8]) {
    let start = more.iter().position(|byte| *byte != b'\n');
    let more = text::trim_end(&more[start.unwrap_or(more.len())..]);
    if more.is_empty() {
        return;
    }
    if !notes.is_empty() {
        notes.push(b'\n');
    }
    notes.extend_from_slice(more);
    notes.push(b'\n');
}

/// Behind the first line `---`.
fn behind_rule(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        if is_rule(line) {
            return Some(at);
        }
        if line.starts_with(b"diff --git ") {
            return None;
        }
    }
    None
}

fn is_rule(line: &[u8]) -> bool {
    text::trim_end(line) == b"---"
}

/// Where a series belongs: what is mailed says so anew.
fn is_place(line: &[u8]) -> bool {
    ["base-commit: ", "base: ", "prerequisite-"]
        .iter()
        .any(|word| line.starts_with(word.as_bytes()))
}

/// The byte at which the diff begins.
fn diff_at(region: &[u8]) -> usize {
    let mut at = 0;
    for line in region.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"diff -") || line.starts_with(b"--- ") {
            return at;
        }
        at += line.len();
    }
    region.len()
}

/// The statistics (git-diff(1), `--stat --summary`) in what stands above a diff; empty, and at its
/// end, if there are none.
fn statistics(region: &[u8]) -> Range<usize> {
    let mut lines = Vec::new();
    let mut at = 0;
    for line in region.split_inclusive(|byte| *byte == b'\n') {
        lines.push((at, text::trim_end(line)));
        at += line.len();
    }
    let Some(total) = lines.iter().rposition(|(_, line)| is_total(line)) else {
        return region.len()..region.len();
    };
    let files = lines[..total]
        .iter()
        .rev()
        .take_while(|(_, line)| line.starts_with(b" ") && line.contains(&b'|'))
        .count();
    let summary = lines[total + 1..]
        .iter()
        .take_while(|(_, line)| is_summary(line))
        .count();
    let start = lines[total - files].0;
    let end = lines
        .get(total + 1 + summary)
        .map_or(region.len(), |(at, _)| *at);
    start..end
}

/// ` 2 files changed, 3 insertions(+)`
fn is_total(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b" ") else {
        return false;
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = &rest[digits..];
    digits > 0 && (rest.starts_with(b" file changed") || rest.starts_with(b" files changed"))
}

fn is_summary(line: &[u8]) -> bool {
    [
        " create mode ",
        " delete mode ",
        " mode change ",
        " rename ",
        " copy ",
        " rewrite ",
    ]
    .iter()
    .any(|word| line.starts_with(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "From: A <a@b>\nSubject: a\n\nWhy.\n";
    const STATISTICS: &str = " a/b | 2 +-\n a/{c => d} | 0\n 2 files changed, 1 insertion(+), 1 deletion(-)\n \
        rename a/{c => d} (100%)\n\n";
    const DIFF: &str = "diff --git a/a/b b/a/b\n--- a/a/b\n+++ b/a/b\n@@ -1 +1 @@\n-1\n+2\n";

    fn found(below: &str) -> String {
        let patch = format!("---\n{below}{DIFF}");
        String::from_utf8(of(patch.as_bytes())).unwrap()
    }

    #[test]
    fn statistics_are_no_notes() {
        assert_eq!(found(STATISTICS), "");
        assert_eq!(found("\n"), "");
        assert_eq!(found(&format!("\nv2: more\n\n{STATISTICS}")), "v2: more\n");
        assert_eq!(
            found(&format!(
                "v2: a | b\n - 1 file changed\n\nv3:\n  less\n---\n{STATISTICS}late\nbase-commit: 1234\n"
            )),
            "v2: a | b\n - 1 file changed\n\nv3:\n  less\n\nlate\n"
        );
        assert_eq!(found("v2: no statistics\n"), "v2: no statistics\n");
        assert_eq!(of(DIFF.as_bytes()), b"");
    }

    #[test]
    fn notes_are_written_where_they_are_read() {
        let plain = format!("{HEAD}---\n{STATISTICS}{DIFF}");
        let noted = with_notes(plain.as_bytes(), b"v2: more\n");
        let text = String::from_utf8(noted.clone()).unwrap();
        assert_eq!(text, format!("{HEAD}---\nv2: more\n\n{STATISTICS}{DIFF}"));
        assert_eq!(with_notes(&noted, b""), plain.as_bytes());
        assert_eq!(with_notes(&noted, b"v2: more\n"), noted);
        // A commit whose message has notes of its own: git writes a second rule below them.
        let twice = format!("{HEAD}---\nv3: less\n---\n{STATISTICS}{DIFF}");
        let text = String::from_utf8(with_notes(twice.as_bytes(), b"v3: less\n")).unwrap();
        assert_eq!(text, format!("{HEAD}---\nv3: less\n\n{STATISTICS}{DIFF}"));
    }

    #[test]
    fn the_newer_notes_come_last_and_once() {
        assert_eq!(joined(b"", b"v2: a\n"), b"v2: a\n");
        assert_eq!(joined(b"v2: a\n", b""), b"v2: a\n");
        assert_eq!(joined(b"v2: a\n", b"v3: b\n"), b"v2: a\n\nv3: b\n");
        assert_eq!(joined(b"v2: a\n", b"v2: a\nv3: b\n"), b"v2: a\nv3: b\n");
    }
}
