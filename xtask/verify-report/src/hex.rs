// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as hexadecimal digits.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};

/// The bytes that `text` stands for.
pub(crate) fn bytes(text: &str) -> Result<Vec<u8>> {
    ensure!(text.len().is_multiple_of(2), "half a byte is missing");
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let value = (digit(pair[0]).context("not hexadecimal")?, digit(pair[1]));
            Ok((value.0 << 4 | value.1.context("not hexadecimal")?) as u8)
        })
        .collect()
}

/// Exactly `N` bytes.
pub(crate) fn array<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let bytes = bytes(text).map_err(|error| error.to_string())?;
    let length = bytes.len();
    bytes
        .try_into()
        .map_err(|_| format!("{length} bytes instead of {N}"))
}

/// A nonce of at most 64 bytes, filled up with zeros.
pub(crate) fn nonce(text: &str) -> Result<[u8; 64], String> {
    let bytes = bytes(text).map_err(|error| error.to_string())?;
    let mut nonce = [0; 64];
    let Some(start) = nonce.get_mut(..bytes.len()) else {
        return Err(format!("{} bytes are more than 64", bytes.len()));
    };
    start.copy_from_slice(&bytes);
    Ok(nonce)
}

/// The digits of `bytes`.
pub(crate) fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        assert_eq!(bytes("00fF10").unwrap(), [0, 255, 16]);
        assert_eq!(digits(&[0, 255, 16]), "00ff10");
        assert!(bytes("0").is_err() && bytes("0g").is_err() && bytes("+1").is_err());
        assert!(bytes("é").is_err());
    }

    #[test]
    fn lengths_are_held() {
        assert_eq!(array::<2>("0102"), Ok([1, 2]));
        assert!(array::<2>("01").is_err());
        assert_eq!(nonce("0102").unwrap()[..3], [1, 2, 0]);
        assert!(nonce(&"00".repeat(65)).is_err());
    }
}
