// SPDX-License-Identifier: MIT OR Apache-2.0
//! Content-Transfer-Encoding (RFC 2045 section 6), as lenient as git-mailinfo(1): the commit
//! has to be the same.

use std::borrow::Cow;

/// How a body is encoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Transfer {
    /// 7bit, 8bit, or anything unknown.
    #[default]
    Plain,
    QuotedPrintable,
    Base64,
}

/// The body as it was before it was encoded.
pub(super) fn decode(body: &[u8], transfer: Transfer) -> Cow<'_, [u8]> {
    if transfer == Transfer::Plain {
        return Cow::Borrowed(body);
    }
    let mut out = Vec::with_capacity(body.len());
    // A line at a time: an encoded line that is cut short does not shift those after it.
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        match transfer {
            Transfer::QuotedPrintable => quoted_printable(line, false, &mut out),
            _ => base64(line, &mut out),
        }
    }
    Cow::Owned(out)
}

/// Appends what `text` encodes. In a header `_` stands for a blank (RFC 2047 section 4.2).
/// An `=` without two digits stands for itself; one at the end of the line takes the line's end
/// with it.
pub(super) fn quoted_printable(text: &[u8], header: bool, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'=', [] | [b'\n', ..]) => return,
            (b'=', [high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                out.push(hex(*high) << 4 | hex(*low));
                rest = after;
            }
            (b'_', _) if header => out.push(b' '),
            _ => out.push(byte),
        }
    }
}

/// Appends what `text` encodes; what is not of the alphabet is passed over.
pub(super) fn base64(text: &[u8], out: &mut Vec<u8>) {
    let mut bits = 0_u32;
    let mut count = 0;
    for &byte in text {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count & 0xff) as u8);
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings_are_read() {
        assert_eq!(
            &*decode(b"a=3D=\nb=20\n=zz\n", Transfer::QuotedPrintable),
            b"a=b \n=zz\n"
        );
        assert_eq!(&*decode(b"aGFs\nbG8=\n", Transfer::Base64), b"hallo");
        let mut word = Vec::new();
        quoted_printable(b"a_b=5F", true, &mut word);
        assert_eq!(word, b"a b_");
    }
}
