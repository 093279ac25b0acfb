// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one program that small guests are made of.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::apt::{self, Apt};
use crate::cache::Cache;
use crate::failure::{Failure, Kind};

/// A static busybox: the machine's own, else Debian's or Ubuntu's `busybox-static`, unpacked into
/// the cache. `otherwise` ends the sentence on what to do if there is none.
///
/// # Errors
/// There is none, and none can be had.
pub fn find(cache: &Cache, otherwise: &str) -> Result<PathBuf> {
    if let Some(installed) = installed() {
        return Ok(installed);
    }
    let cached = cache.file("busybox", "busybox")?;
    if cached.exists() {
        return Ok(cached);
    }
    if !apt::exists() {
        return Err(
            Failure::new(Kind::Missing, "there is no static busybox on this machine")
                .hint(format!(
                    "install it (it is called busybox or busybox-static){otherwise}"
                ))
                .into(),
        );
    }
    let _lock = cache.lock()?;
    for refresh in [false, true] {
        let apt = if refresh {
            Apt::machine_refreshed(cache)?
        } else {
            Apt::machine()
        };
        let Some(package) = apt.show("busybox-static")? else {
            continue;
        };
        let downloads = cache.folder("downloads")?;
        let deb = match apt.download(&package, &downloads) {
            Ok(deb) => deb,
            Err(_) if !refresh => continue,
            Err(error) => return Err(error),
        };
        let folder = downloads.join("busybox");
        apt::unpack(&deb, &folder)?;
        for place in ["bin/busybox", "usr/bin/busybox"] {
            let file = folder.join(place);
            if is_static(&file) {
                fs::copy(&file, &cached)?;
                fs::remove_dir_all(&folder)?;
                fs::remove_file(&deb)?;
                return Ok(cached);
            }
        }
    }
    Err(
        Failure::new(Kind::Missing, "the package busybox-static cannot be had")
            .hint(format!("apt-get install busybox-static{otherwise}"))
            .into(),
    )
}

/// The static busybox that is installed, if one is.
#[must_use]
pub fn installed() -> Option<PathBuf> {
    [
        "/bin/busybox",
        "/usr/bin/busybox",
        "/sbin/busybox",
        "/usr/sbin/busybox",
    ]
    .map(PathBuf::from)
    .into_iter()
    .find(|path| is_static(path))
}

/// Is this an x86-64 program that needs no dynamic loader (ELF-64, no PT_INTERP)?
fn is_static(path: &Path) -> bool {
    const PT_INTERP: u32 = 3;
    let Ok(elf) = fs::read(path) else {
        return false;
    };
    let half = |at: usize| {
        elf.get(at..at + 2)
            .map(|b| u16::from_le_bytes([b[0], b[1]]))
    };
    if !elf.starts_with(b"\x7FELF\x02\x01") || half(0x12) != Some(62) {
        return false;
    }
    let Some(table) = elf.get(0x20..0x28) else {
        return false;
    };
    let table = u64::from_le_bytes(table.try_into().expect("eight bytes")) as usize;
    let (Some(size), Some(count)) = (half(0x36), half(0x38)) else {
        return false;
    };
    (0..usize::from(count)).all(|index| {
        let at = table.saturating_add(index * usize::from(size));
        elf.get(at..at.saturating_add(4))
            .is_some_and(|kind| kind != PT_INTERP.to_le_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_no_static_program() {
        assert!(!is_static(&std::env::current_exe().unwrap()));
        assert!(!is_static(Path::new("/etc/passwd")));
    }
}
