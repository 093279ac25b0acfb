// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a person wrote, as a mail has it: a header folded (RFC 5322 section 2.2.3) and in encoded
//! words (RFC 2047), a text whose character set is named.

/// Lines of a header are no longer than this if they can be broken (RFC 5322 section 2.1.1).
const LINE: usize = 78;
/// A line with an encoded word, and an encoded word, are no longer than this (RFC 2047 section 2).
const ENCODED_LINE: usize = 76;
const ENCODED_WORD: usize = 75;

/// The header that begins with `start`, which is plain, and goes on with `text`, which need not
/// be. Each run of white space is one blank. No newline at the end.
pub(crate) fn header(start: &str, text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let is_plain = |word: &&str| word.bytes().all(|byte| byte.is_ascii_graphic());
    let (pieces, longest) = if words.iter().all(is_plain) && !text.contains("=?") {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        (words, LINE)
    } else {
        let first = ENCODED_LINE.saturating_sub(start.len() + 1);
        (encoded_words(&words.join(" "), first), ENCODED_LINE)
    };
    let mut header = start.to_owned();
    let mut length = start.len();
    for piece in pieces {
        if length + 1 + piece.len() > longest {
            header.push('\n');
            length = 0;
        }
        header.push(' ');
        header.push_str(&piece);
        length += 1 + piece.len();
    }
    header
}

/// `text` in encoded words, the first no longer than `first` if that is long enough for one. No
/// character is split (RFC 2047 section 5).
fn encoded_words(text: &str, first: usize) -> Vec<String> {
    const START: &str = "=?UTF-8?q?";
    const END: &str = "?=";
    // The longest character takes twelve.
    let room = if first < START.len() + 12 + END.len() {
        ENCODED_WORD
    } else {
        first.min(ENCODED_WORD)
    };
    let mut words = Vec::new();
    let mut word = START.to_owned();
    let mut room = room;
    for character in text.chars() {
        let encoded = quoted(character);
        if word.len() + encoded.len() + END.len() > room {
            words.push(word + END);
            word = START.to_owned();
            room = ENCODED_WORD;
        }
        word.push_str(&encoded);
    }
    words.push(word + END);
    words
}

fn quoted(character: char) -> String {
    if character.is_ascii_alphanumeric() || "!*+-/:.,()".contains(character) {
        return character.to_string();
    }
    let mut bytes = [0; 4];
    let bytes = character.encode_utf8(&mut bytes).bytes();
    bytes.map(|byte| format!("={byte:02X}")).collect()
}

/// The mail with headers that say its text is UTF-8, if it is more than ASCII, is UTF-8, and has no
/// such headers yet.
pub(crate) fn with_charset(mail: Vec<u8>) -> Vec<u8> {
    let says_it = super::header(&mail, "Content-Type").is_some();
    if mail.is_ascii() || says_it || std::str::from_utf8(&mail).is_err() {
        return mail;
    }
    let Some(end) = memchr::memmem::find(&mail, b"\n\n") else {
        return mail;
    };
    let (head, text) = mail.split_at(end + 1);
    let says = b"MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n\
        Content-Transfer-Encoding: 8bit\n";
    [head, says, text].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> String {
        super::super::header(format!("{header}\n\n").as_bytes(), "Subject").unwrap()
    }

    #[test]
    fn long_headers_are_folded() {
        assert_eq!(
            header("Subject: [PATCH 0/1]", "a  b"),
            "Subject: [PATCH 0/1] a b"
        );
        let text = "KVM: x86: a word and another one, ".repeat(6);
        let folded = header("Subject: [PATCH v2 0/3]", &text);
        assert!(folded.lines().count() > 2, "{folded}");
        assert!(folded.lines().all(|line| line.len() <= 78), "{folded}");
        assert_eq!(read(&folded), format!("[PATCH v2 0/3] {}", text.trim()));
    }

    #[test]
    fn what_is_not_ascii_is_encoded() {
        let start = "Subject: [PATCH v2 0/3]";
        let short = header(start, "zwölf Dinge");
        assert_eq!(
            short,
            "Subject: [PATCH v2 0/3] =?UTF-8?q?zw=C3=B6lf=20Dinge?="
        );
        for text in [
            &"größer 日本語 😀 ".repeat(9)[..],
            "a =?b? ü",
            "=?utf-8?q?x?=",
            "a\u{7}",
        ] {
            let folded = header(start, text);
            assert!(folded.is_ascii(), "{folded}");
            assert!(folded.lines().all(|line| line.len() <= 76), "{folded}");
            assert_eq!(read(&folded), format!("[PATCH v2 0/3] {}", text.trim()));
        }
    }

    #[test]
    fn the_character_set_is_named_once() {
        let mail = "Subject: a\n\nzwölf\n".as_bytes().to_vec();
        let said = with_charset(mail);
        let text = String::from_utf8(said.clone()).unwrap();
        assert!(
            text.starts_with("Subject: a\nMIME-Version: 1.0\n"),
            "{text}"
        );
        assert!(text.ends_with(": 8bit\n\nzwölf\n"), "{text}");
        assert_eq!(with_charset(said.clone()), said);
        assert_eq!(with_charset(b"A: b\n\nc\n".to_vec()), b"A: b\n\nc\n");
        assert_eq!(with_charset(b"A: b\n\n\xe9\n".to_vec()), b"A: b\n\n\xe9\n");
    }
}
