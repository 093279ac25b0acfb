// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian packages that a build needs, asked of dpkg. A machine without dpkg is not asked: there
//! the build itself says what is missing.

use std::process::{Command, Stdio};

use crate::failure::{Failure, Kind, Result};

/// Fails if a package of `wanted` is not installed; the hint is the line that installs them.
///
/// # Errors
/// [`Kind::Unavailable`] with the names.
pub fn require(wanted: &[String]) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    // dpkg-query fails if it does not know one of them, and still lists the others.
    let asked = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${db:Status-Status} ${Package}\n"])
        .args(wanted)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let Ok(output) = asked else {
        return Ok(());
    };
    let missing = missing(wanted, &String::from_utf8_lossy(&output.stdout));
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    let message = match missing.len() {
        1 => format!("the package {names} is not installed, and the build needs it"),
        _ => format!("these packages are not installed, and the build needs them: {names}"),
    };
    Err(Failure::new(Kind::Unavailable, message).hint(format!("apt-get install {names}")))
}

fn missing<'w>(wanted: &'w [String], answer: &str) -> Vec<&'w str> {
    wanted
        .iter()
        .map(String::as_str)
        .filter(|name| {
            !answer
                .lines()
                .any(|line| line == format!("installed {name}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dpkg_does_not_call_installed_is_missing() {
        let wanted = ["bc", "flex", "libelf-dev", "bison"].map(str::to_owned);
        let answer = "installed bc\nconfig-files flex\ninstalled libelf-dev\n";
        assert_eq!(missing(&wanted, answer), ["flex", "bison"]);
    }
}
