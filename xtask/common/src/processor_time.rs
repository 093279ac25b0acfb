// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a measurement counts: processor time, which another load on the machine does not add to.

use anyhow::{Context as _, Result};

/// Processor seconds of the children that were waited for, theirs included (proc(5), `stat`: cutime
/// and cstime).
///
/// # Errors
/// There is no /proc.
pub fn of_children() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").context("reading /proc/self/stat")?;
    let after = text.rsplit_once(')').context("/proc/self/stat")?.1;
    let fields: Vec<_> = after.split_whitespace().collect();
    let ticks = |index: usize| -> Result<f64> { Ok(fields.get(index).context("stat")?.parse()?) };
    // In ticks of 10 ms on every Linux that this runs on.
    Ok((ticks(13)? + ticks(14)?) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_worked_is_counted() {
        let before = of_children().unwrap();
        let status = std::process::Command::new("sh")
            .args(["-c", "i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done"])
            .status();
        assert!(status.unwrap().success());
        assert!(of_children().unwrap() > before);
    }
}
