// SPDX-License-Identifier: MIT OR Apache-2.0
//! Text of a mail to UTF-8.
//!
//! The decoders are the web's, whose labels are wider than what a mail says: there `ISO-8859-1`
//! means Windows-1252. Where the two differ, the mail's meaning is kept or the text refused.

use std::borrow::Cow;

use encoding_rs::Encoding;

use super::Error;

/// Reads `text` in the character set `name`. An empty name, and UTF-8, leave it as it is:
/// nothing is known about it, or nothing is to be done, and git checks neither.
pub(super) fn to_utf8<'t>(text: &'t [u8], name: &str) -> Result<Cow<'t, [u8]>, Error> {
    if text.is_ascii() && !is_escaped(name) {
        return Ok(Cow::Borrowed(text));
    }
    let refuse = || Error::Charset(name.to_owned());
    match name.to_ascii_lowercase().as_str() {
        "" | "utf-8" | "utf8" => Ok(Cow::Borrowed(text)),
        "us-ascii" | "ascii" => Err(refuse()),
        "iso-8859-1" | "iso8859-1" | "latin1" => Ok(Cow::Owned(
            text.iter()
                .map(|byte| char::from(*byte))
                .collect::<String>()
                .into_bytes(),
        )),
        lower => {
            let encoding = Encoding::for_label(lower.as_bytes()).ok_or_else(refuse)?;
            // Here the web's sets put letters where the ISO sets have control characters.
            let widened = lower.starts_with("iso") && encoding.name().starts_with("windows");
            if widened && text.iter().any(|byte| (0x80..0xa0).contains(byte)) {
                return Err(refuse());
            }
            encoding
                .decode_without_bom_handling_and_without_replacement(text)
                .map(|text| Cow::Owned(text.into_owned().into_bytes()))
                .ok_or_else(refuse)
        }
    }
}

/// Whether bytes below 128 may mean something else than ASCII.
fn is_escaped(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("iso-2022")
        || name.starts_with("utf-16")
        || name.starts_with("utf-7")
        || name.starts_with("hz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_or_refused() {
        let read = |text, name| to_utf8(text, name).map(Cow::into_owned);
        assert_eq!(read(b"\xe9", "ISO-8859-1").unwrap(), "\u{e9}".as_bytes());
        assert_eq!(read(b"\x80", "iso-8859-1").unwrap(), "\u{80}".as_bytes());
        assert_eq!(
            read(b"\x80", "windows-1252").unwrap(),
            "\u{20ac}".as_bytes()
        );
        assert_eq!(read(b"\xc1", "koi8-r").unwrap(), "\u{430}".as_bytes());
        assert_eq!(
            read(b"\x1b$B$\"\x1b(B", "iso-2022-jp").unwrap(),
            "\u{3042}".as_bytes()
        );
        assert!(read(b"\xe9", "us-ascii").is_err());
        assert!(read(b"\x80", "iso-8859-9").is_err());
        assert!(read(b"\xff\xff", "gb18030").is_err());
        assert!(read(b"\xe9", "klingon").is_err());
    }
}
