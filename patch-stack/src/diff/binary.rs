// SPDX-License-Identifier: MIT OR Apache-2.0
//! `GIT binary patch`: the whole content, or what turns one content into the other, deflated and
//! written in base 85. The alphabet is that of git's base85.c; the delta is that of its packs
//! (gitformat-pack(5), "Deltified representation").

use std::io::Read as _;

use flate2::read::ZlibDecoder;

use super::Error;
use super::parse::Lines;

/// The largest content that is read, in bytes: a few bytes of a mail can claim any size.
const SIZE_MAX: u64 = 256 << 20;

/// A binary change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// What makes the content after.
    pub forward: Encoded,
    /// What makes the content before, where the patch has it.
    pub backward: Option<Encoded>,
}

/// One side of it, inflated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoded {
    /// The content.
    Literal(Vec<u8>),
    /// Copies from the other content, and insertions.
    Delta(Vec<u8>),
}

impl Binary {
    /// What undoes this one. Without its backward side nothing does: then it fits no content.
    pub(super) fn reversed(&self) -> Self {
        Self {
            forward: self.backward.clone().unwrap_or(Encoded::Delta(Vec::new())),
            backward: Some(self.forward.clone()),
        }
    }
}

impl Encoded {
    /// The content that it makes of `from`, or `None` when it does not fit.
    #[must_use]
    pub fn apply(&self, from: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Literal(content) => Some(content.clone()),
            Self::Delta(delta) => apply_delta(delta, from),
        }
    }
}

/// Reads a binary change with its first line.
pub(super) fn read(lines: &mut Lines<'_>) -> Result<Binary, Error> {
    lines.next();
    let forward = side(lines)?.ok_or_else(|| lines.error("`literal` or `delta` has to follow"))?;
    let backward = side(lines)?;
    Ok(Binary { forward, backward })
}

fn side(lines: &mut Lines<'_>) -> Result<Option<Encoded>, Error> {
    let Some(line) = lines.peek() else {
        return Ok(None);
    };
    let (literal, size) = match (line.strip_prefix(b"literal "), line.strip_prefix(b"delta ")) {
        (Some(size), _) => (true, size),
        (_, Some(size)) => (false, size),
        _ => return Ok(None),
    };
    let size = std::str::from_utf8(size.trim_ascii_end())
        .ok()
        .and_then(|size| size.parse::<u64>().ok());
    let size = size
        .filter(|size| *size <= SIZE_MAX)
        .ok_or_else(|| lines.error("a size that can't be read, or is over 256 MiB"))?;
    lines.next();
    let mut deflated = Vec::new();
    loop {
        match lines.next() {
            None => return Err(lines.error("the diff ends within binary data")),
            Some(b"\n") => break,
            Some(line) => {
                base85(line, &mut deflated)
                    .ok_or_else(|| lines.error_before("a damaged line of binary data"))?;
            }
        }
    }
    let mut content = Vec::new();
    // One byte more, so that too long a content shows.
    let inflated = ZlibDecoder::new(&deflated[..])
        .take(size + 1)
        .read_to_end(&mut content);
    if inflated.is_err() || content.len() as u64 != size {
        return Err(lines.error_before("damaged binary data"));
    }
    Ok(Some(if literal {
        Encoded::Literal(content)
    } else {
        Encoded::Delta(content)
    }))
}

const ALPHABET: &[u8; 85] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

/// One line: its length in bytes as a letter (`A` is 1, `a` is 27), then five digits for each
/// four bytes.
fn base85(line: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (length, digits) = line.strip_suffix(b"\n")?.split_first()?;
    let length = match length {
        b'A'..=b'Z' => length - b'A' + 1,
        b'a'..=b'z' => length - b'a' + 27,
        _ => return None,
    };
    let length = usize::from(length);
    if digits.len() != length.div_ceil(4) * 5 {
        return None;
    }
    let end = out.len() + length;
    for group in digits.chunks_exact(5) {
        let mut value = 0_u32;
        for digit in group {
            let digit = ALPHABET.iter().position(|letter| letter == digit)?;
            value = value.checked_mul(85)?.checked_add(digit as u32)?;
        }
        out.extend_from_slice(&value.to_be_bytes());
    }
    out.truncate(end);
    Some(())
}

fn apply_delta(delta: &[u8], from: &[u8]) -> Option<Vec<u8>> {
    let mut rest = delta;
    let from_size = size(&mut rest)?;
    let to_size = size(&mut rest)?;
    if from_size != from.len() as u64 || to_size > SIZE_MAX {
        return None;
    }
    let to_size = to_size as usize;
    let mut out = Vec::new();
    while let Some((&command, after)) = rest.split_first() {
        rest = after;
        if command & 0x80 != 0 {
            let mut field = |bits: std::ops::Range<u32>| -> Option<usize> {
                let mut value = 0;
                for (at, bit) in bits.enumerate() {
                    if command >> bit & 1 != 0 {
                        let (&byte, after) = rest.split_first()?;
                        rest = after;
                        value |= usize::from(byte) << (8 * at);
                    }
                }
                Some(value)
            };
            let start = field(0..4)?;
            let length = match field(4..7)? {
                0 => 0x10000,
                length => length,
            };
            out.extend_from_slice(from.get(start..start.checked_add(length)?)?);
        } else {
            let (inserted, after) = rest
                .split_at_checked(usize::from(command))
                .filter(|_| command != 0)?;
            out.extend_from_slice(inserted);
            rest = after;
        }
        if out.len() > to_size {
            return None;
        }
    }
    (out.len() == to_size).then_some(out)
}

/// A number in groups of seven bits, the lowest first.
fn size(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..63).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_copy_and_insert() {
        let delta = [5, 6, 0x90, 3, 2, b'x', b'y', 0x91, 4, 1];
        assert_eq!(apply_delta(&delta, b"abcde").unwrap(), b"abcxye");
        assert!(apply_delta(&delta, b"abcd").is_none());
        assert!(apply_delta(&[5, 6, 0x91, 4, 2], b"abcde").is_none());
        assert!(apply_delta(&[0xff; 20], b"").is_none());
        assert!(apply_delta(&[0, 0, 0], b"").is_none());
    }

    #[test]
    fn lines_of_base85_are_checked() {
        let mut out = Vec::new();
        base85(b"B00000\n", &mut out).unwrap();
        assert_eq!(out, [0, 0]);
        for line in [
            &b"B0000\n"[..],
            b"B00000",
            b"?00000\n",
            b"B~~~~~\n",
            b"B0000\"\n",
        ] {
            assert!(base85(line, &mut out).is_none(), "{line:?}");
        }
    }
}
