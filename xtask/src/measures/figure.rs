// SPDX-License-Identifier: MIT OR Apache-2.0
//! A figure, its limit, and how it is shown.
#![forbid(unsafe_code)]

use serde_json::{Value, json};

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    /// What is measured.
    what: String,
    /// How much it is.
    value: f64,
    /// Its unit.
    unit: &'static str,
    /// The most that it may be.
    limit: Option<f64>,
}

impl Figure {
    /// So much of `what`, in `unit`.
    pub(super) fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            what: what.into(),
            value,
            unit,
            limit: None,
        }
    }

    /// It may be so much, and no more.
    pub(super) fn at_most(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Is it within its limit?
    pub(crate) fn holds(&self) -> bool {
        self.limit.is_none_or(|limit| self.value <= limit)
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        json!({
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "limit": self.limit,
            "holds": self.holds(),
        })
    }

    /// For people.
    pub(crate) fn line(&self) -> String {
        let value = plain(self.value);
        let limit = self
            .limit
            .map_or(String::new(), |limit| format!("at most {}", plain(limit)));
        let verdict = match (self.limit, self.holds()) {
            (None, _) => "",
            (Some(_), true) => "ok",
            (Some(_), false) => "TOO MUCH",
        };
        format!(
            "{:<62} {value:>12} {:<13} {limit:<18} {verdict}",
            self.what, self.unit
        )
        .trim_end()
        .to_owned()
    }
}

/// A number with its thousands apart, and decimals only if it is small.
fn plain(value: f64) -> String {
    if value.fract() != 0.0 && value < 1000.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds_up_to_its_value() {
        let figure = |value| Figure::new("x", value, "bytes").at_most(10.0);
        assert!(figure(10.0).holds());
        assert!(!figure(10.5).holds());
        assert!(Figure::new("x", 1e9, "bytes").holds());
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(plain(1_234_567.0), "1,234,567");
        assert_eq!(plain(123.0), "123");
        assert_eq!(plain(12.345), "12.3");
        assert_eq!(plain(999.0), "999");
    }

    #[test]
    fn a_broken_limit_is_told() {
        let line = Figure::new("x", 11.0, "bytes").at_most(10.0).line();
        assert!(line.ends_with("at most 10         TOO MUCH"), "{line}");
    }
}
