// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the machine that carries all this has to offer.
#![forbid(unsafe_code)]

use std::fs;
use std::io;

/// Bytes of memory that can be had without swapping, if the kernel says so.
pub(crate) fn free_memory() -> Option<u64> {
    parse_free(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_free(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find(|line| line.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Opens KVM's device: the error says why this user can't have it.
pub(crate) fn open_kvm() -> io::Result<()> {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .map(drop)
}

/// Whether KVM is AMD's and lets its guests run guests.
pub(crate) fn has_nested_svm() -> bool {
    fs::read_to_string("/sys/module/kvm_amd/parameters/nested")
        .is_ok_and(|text| matches!(text.trim(), "1" | "Y"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_in_kib() {
        let text = "MemTotal:  16 kB\nMemFree: 4 kB\nMemAvailable:     8 kB\n";
        assert_eq!(parse_free(text), Some(8192));
        assert_eq!(parse_free("MemTotal: 16 kB\n"), None);
        assert_eq!(parse_free("MemAvailable:\n"), None);
    }
}
