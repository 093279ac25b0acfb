// SPDX-License-Identifier: MIT OR Apache-2.0
//! A mailbox to mails, as git-mailsplit(1) does it with `-b`.

use std::borrow::Cow;

/// The mails of a mailbox, in order. A mail begins at a line that looks like
/// `From someone Mon Sep 17 00:00:00 2001`. A file that does not begin with one is a single mail;
/// a file of nothing but white space has none.
///
/// `>From ` lines stay as they are: `git am` takes off no `>` unless the mailbox is declared to
/// be an mboxrd.
#[must_use]
pub fn split(mailbox: &[u8]) -> Vec<&[u8]> {
    let Some(start) = mailbox
        .iter()
        .position(|byte| !super::text::is_space(*byte))
    else {
        return Vec::new();
    };
    let mailbox = &mailbox[start..];
    let mut mails = Vec::new();
    let mut begin = 0;
    let mut at = 0;
    let mut bare = true;
    for line in mailbox.split_inclusive(|byte| *byte == b'\n') {
        if is_from_line(line) {
            if at == 0 {
                bare = false;
            } else if !bare {
                mails.push(&mailbox[begin..at]);
                begin = at;
            }
        }
        at += line.len();
    }
    mails.push(&mailbox[begin..]);
    mails
}

/// The text with `\r\n` made to `\n`, unless carriage returns are kept.
pub(super) fn line_ends(text: &[u8], keep_cr: bool) -> Cow<'_, [u8]> {
    if keep_cr || !text.windows(2).any(|pair| pair == b"\r\n") {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(line) => {
                out.extend_from_slice(line);
                out.push(b'\n');
            }
            None => out.extend_from_slice(line),
        }
    }
    Cow::Owned(out)
}

/// Does a mail lose carriage returns that belong to its diff? A mail that has them at each line got
/// them on its way; one that has them at some lines is about a file that has them.
#[must_use]
pub fn loses_line_ends(mail: &[u8], options: &super::Options) -> bool {
    let mut lines = mail.split_inclusive(|byte| *byte == b'\n').peekable();
    // The line of the mailbox was not part of the mail on its way.
    lines.next_if(|line| line.starts_with(b"From "));
    let (mut with, mut without) = (false, false);
    for line in lines {
        with |= line.ends_with(b"\r\n");
        without |= line.ends_with(b"\n") && !line.ends_with(b"\r\n");
    }
    !options.keep_cr && with && without
}

/// Whether a line has the `From ` and the time and year that mailboxes separate mails with.
/// The year has to be after 90: that much git-mailsplit asks for.
fn is_from_line(line: &[u8]) -> bool {
    if line.len() < 20 || !line.starts_with(b"From ") {
        return false;
    }
    // The last colon, the very end of the line aside.
    let Some(colon) = line[5..line.len() - 2]
        .iter()
        .rposition(|byte| *byte == b':')
    else {
        return false;
    };
    let colon = colon + 5;
    let digit = |at: Option<usize>| {
        at.and_then(|at| line.get(at))
            .is_some_and(u8::is_ascii_digit)
    };
    // `h:mm:ss`: the hour's last digit, the minutes, the seconds.
    if ![
        colon.checked_sub(4),
        colon.checked_sub(2),
        colon.checked_sub(1),
        Some(colon + 1),
        Some(colon + 2),
    ]
    .into_iter()
    .all(digit)
    {
        return false;
    }
    let year = line.get(colon + 3..).unwrap_or_default().trim_ascii_start();
    let digits = year.iter().take_while(|byte| byte.is_ascii_digit()).take(9);
    digits.fold(0_u32, |year, digit| year * 10 + u32::from(digit - b'0')) > 90
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mails_begin_at_from_lines() {
        let mailbox = b"\n\nFrom 0123 Mon Sep 17 00:00:00 2001\nSubject: a\n\nFrom here to there\n\
            From 4567 Mon Sep 17 00:00:00 2001\nSubject: b\n";
        let mails = split(mailbox);
        assert_eq!(mails.len(), 2);
        assert!(mails[0].ends_with(b"From here to there\n"));
        assert!(mails[1].starts_with(b"From 4567"));
    }

    #[test]
    fn a_bare_mail_is_one() {
        let mail = b"Subject: a\n\nFrom 4567 Mon Sep 17 00:00:00 2001\n";
        assert_eq!(split(mail), [&mail[..]]);
        assert!(split(b" \n").is_empty());
    }

    #[test]
    fn carriage_returns_go_only_before_line_feeds() {
        assert_eq!(&*line_ends(b"a\r\nb\rc\r", false), b"a\nb\rc\r");
        assert_eq!(&*line_ends(b"a\r\n", true), b"a\r\n");
    }
}
