// SPDX-License-Identifier: MIT OR Apache-2.0
//! The date of a mail.
//!
//! git reads nearly anything as a date. Only forms that can be read in one way are taken here:
//! RFC 5322 section 3.3, and ISO 8601 as `git log --date=iso` writes it.

use git2::Time;

use super::Error;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// Reads a date. Seconds since 1970 are never negative: git can't write those.
pub(super) fn parse(value: &[u8]) -> Result<Time, Error> {
    let text = String::from_utf8_lossy(value);
    let text = text.trim();
    // A comment behind the zone: `+0100 (CET)`.
    let bare = text
        .split_once('(')
        .map_or(text, |(bare, _)| bare.trim_end());
    read(bare).ok_or_else(|| Error::Date(text.chars().take(80).collect()))
}

fn read(text: &str) -> Option<Time> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let words = match words.as_slice() {
        [weekday, rest @ ..] if weekday.ends_with(',') => rest,
        // Without a comma too, as in `Tue 3 Mar 2026`.
        [weekday, rest @ ..]
            if rest.len() == 5 && weekday.bytes().all(|byte| byte.is_ascii_alphabetic()) =>
        {
            rest
        }
        words => words,
    };
    match words {
        [day, month, year, time, zone] => {
            let month = month.get(..3)?.to_ascii_lowercase();
            let month = MONTHS.iter().position(|name| *name == month)?;
            assemble(
                number(year, 4..=4)?,
                month as i64 + 1,
                number(day, 1..=2)?,
                time,
                zone,
            )
        }
        [date, time, zone] => iso(date, time, zone),
        [both] => {
            let (date, time) = both.split_once('T')?;
            let zone = time.find(['Z', '+', '-'])?;
            iso(date, &time[..zone], &time[zone..])
        }
        _ => None,
    }
}

fn iso(date: &str, time: &str, zone: &str) -> Option<Time> {
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    assemble(
        number(year, 4..=4)?,
        number(month, 2..=2)?,
        number(day, 2..=2)?,
        time,
        zone,
    )
}

fn assemble(year: i64, month: i64, day: i64, time: &str, zone: &str) -> Option<Time> {
    let mut parts = time.split(':');
    let hour = number(parts.next()?, 1..=2)?;
    let minute = number(parts.next()?, 2..=2)?;
    let second = parts
        .next()
        .map_or(Some(0), |second| number(second, 2..=2))?;
    let offset = offset(zone)?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    let valid = (1..=days).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if parts.next().is_some() || !valid || !(1970..2100).contains(&year) {
        return None;
    }
    let seconds = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    let seconds = seconds - i64::from(offset) * 60;
    (seconds >= 0).then(|| Time::new(seconds, offset))
}

/// Days of the Gregorian calendar; years begin in March, so that a leap day is a year's last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days_before_month = (153 * month + 2) / 5;
    year * 365 + year / 4 - year / 100 + year / 400 + days_before_month + day - 1 - 719_468
}

/// Minutes east of UTC.
fn offset(zone: &str) -> Option<i32> {
    let (sign, digits) = match zone.as_bytes().first()? {
        b'+' => (1, &zone[1..]),
        b'-' => (-1, &zone[1..]),
        _ => return matches!(zone, "GMT" | "UTC" | "UT" | "Z").then_some(0),
    };
    let digits = digits.replacen(':', "", 1);
    let value = i32::try_from(number(&digits, 4..=4)?).ok()?;
    let (hours, minutes) = (value / 100, value % 100);
    (hours < 15 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<i64> {
    if !digits.contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_mails_are_read() {
        let read =
            |text: &str| parse(text.as_bytes()).map(|time| (time.seconds(), time.offset_minutes()));
        assert_eq!(read("Thu, 1 Jan 1970 00:00:01 +0000"), Ok((1, 0)));
        assert_eq!(
            read("Tue, 3 Mar 2026 12:00:00 +0100 (CET)"),
            Ok((1_772_535_600, 60))
        );
        assert_eq!(read("3 March 2026 12:00 -0730"), Ok((1_772_566_200, -450)));
        assert_eq!(read("29 Feb 2024 00:00:00 GMT"), Ok((1_709_164_800, 0)));
        assert_eq!(read("2026-03-03 12:00:00 +0100"), Ok((1_772_535_600, 60)));
        assert_eq!(read("2026-03-03T12:00:00+01:00"), Ok((1_772_535_600, 60)));
    }

    #[test]
    fn guesses_are_refused() {
        for text in [
            "",
            "yesterday",
            "29 Feb 2025 00:00:00 GMT",
            "1 Jan 1970 00:00:00 +0100",
            "3/3/2026 12:00:00 +0100",
            "3 Mar 26 12:00:00 +0100",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
