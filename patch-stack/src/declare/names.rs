// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of branches, series and bases: they become folders and parts of refs.

use super::fields::nearest;

/// Checks that a name is good for a folder and a ref.
///
/// # Errors
/// A sentence that says what a name may have.
pub fn check_name(name: &str) -> Result<(), String> {
    let good = !name.is_empty()
        && name.len() <= 64
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+'))
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && !name.contains("..")
        && !name.ends_with(".lock")
        && !name.ends_with('.');
    if good {
        Ok(())
    } else {
        Err(format!(
            "`{name}` is no good name: letters, digits, `-`, `_`, `.` and `+`, a letter or digit first"
        ))
    }
}

/// The sentence for a name that is not declared.
#[must_use]
pub fn nearest_name<'n>(
    kind: &str,
    found: &str,
    known: impl Iterator<Item = &'n str> + Clone,
) -> String {
    let what = format!("there is no {kind} called `{found}`");
    match nearest(found, known.clone()) {
        Some(near) => format!("{what}; did you mean `{near}`?"),
        None => {
            let all: Vec<_> = known.map(|name| format!("`{name}`")).collect();
            if all.is_empty() {
                format!("{what}; none is declared")
            } else {
                format!("{what}; there is {}", all.join(", "))
            }
        }
    }
}
