// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sizes of memory as people write them: `2G`, `512M`, `1.5G`, `268435456`.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MemorySize(pub(crate) u64);

const UNITS: [(char, u32); 4] = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];

impl FromStr for MemorySize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no size of memory: write it like 512M, 2G or 1.5G");
        let upper = text.trim().to_ascii_uppercase();
        let upper = upper.strip_suffix('B').unwrap_or(&upper);
        let upper = upper.strip_suffix('I').unwrap_or(upper);
        let (number, shift) = match UNITS
            .into_iter()
            .find_map(|(unit, shift)| Some((upper.strip_suffix(unit)?, shift)))
        {
            Some(found) => found,
            None => (upper, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || (number.contains('.') && !digits(fraction)) || fraction.len() > 6 {
            return Err(wrong());
        }
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        let bytes = whole
            .checked_mul(1 << shift)
            .ok_or_else(|| format!("`{text}` is more memory than any machine has"))?;
        let part = match fraction {
            "" => 0,
            digits => {
                let scaled = digits.parse::<u64>().map_err(|_| wrong())? << shift;
                let scale = 10_u64.pow(digits.len() as u32);
                if !scaled.is_multiple_of(scale) {
                    return Err(format!("`{text}` is not a whole number of bytes"));
                }
                scaled / scale
            }
        };
        Ok(Self(bytes + part))
    }
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in UNITS.into_iter().rev() {
            if self.0 >= 1 << shift && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> Result<u64, String> {
        text.parse().map(|MemorySize(bytes)| bytes)
    }

    #[test]
    fn reads_what_people_write() {
        assert_eq!(size("2G"), Ok(2 << 30));
        assert_eq!(size("2GiB"), Ok(2 << 30));
        assert_eq!(size("512m"), Ok(512 << 20));
        assert_eq!(size("1.5G"), Ok(3 << 29));
        assert_eq!(size("268435456"), Ok(256 << 20));
        assert_eq!(size("0"), Ok(0));
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "G",
            "-1G",
            "2X",
            "1.G",
            "1.5",
            "0x10",
            "1 G",
            "99999999999T",
            "2GG",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn prints_the_largest_unit_that_fits() {
        assert_eq!(MemorySize(2 << 30).to_string(), "2G");
        assert_eq!(MemorySize(3 << 29).to_string(), "1536M");
        assert_eq!(MemorySize(4097).to_string(), "4097");
    }
}
