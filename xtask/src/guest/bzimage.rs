// SPDX-License-Identifier: MIT OR Apache-2.0
//! Is this file a Linux kernel that can be entered in 64-bit mode? The setup header answers
//! (Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header").
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::failure::Failure;

/// Offset of the 16-bit boot flag 0xAA55.
const BOOT_FLAG: usize = 0x1FE;
/// Offset of the magic "HdrS".
const MAGIC: usize = 0x202;
/// Offset of the 16-bit version of the boot protocol.
const VERSION: usize = 0x206;
/// Offset of the 16-bit pointer to the version string, less 0x200.
const KERNEL_VERSION: usize = 0x20E;
/// Offset of the 16-bit load flags of protocol 2.12.
const XLOADFLAGS: usize = 0x236;
/// XLF_KERNEL_64: there is a 64-bit entry at load address + 0x200.
const XLF_KERNEL_64: u16 = 1;
/// The first version of the protocol that has [`XLOADFLAGS`].
const MIN_VERSION: u16 = 0x020C;

const HINT: &str = "--kernel takes a bzImage for x86-64, as distributions install it: /boot/vmlinuz-VERSION, \
or arch/x86/boot/bzImage of a kernel tree";

/// What the header of a bootable kernel says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KernelHeader {
    /// The release, as `uname -r` prints it, if the header names it.
    pub(crate) release: Option<String>,
}

/// Reads the header of the kernel at `path`.
pub(crate) fn inspect(path: &Path) -> Result<KernelHeader, Failure> {
    let shown = path.display();
    let cannot = |error: std::io::Error| {
        let failure = Failure::usage(format!("the kernel {shown} cannot be read: {error}"));
        if error.kind() == std::io::ErrorKind::NotFound {
            failure
                .hint("check the path; without --kernel, Debian's newest 6.12 cloud kernel is used")
        } else {
            failure.hint(
                "some distributions let only root read /boot: copy the file, or change its mode",
            )
        }
    };
    let mut file = File::open(path).map_err(cannot)?;
    if file.metadata().map_err(cannot)?.is_dir() {
        return Err(Failure::usage(format!("the kernel {shown} is a directory")).hint(HINT));
    }
    // The setup code, which holds the version string, is at most 64 sectors long.
    let mut head = Vec::new();
    file.by_ref()
        .take(0x8200)
        .read_to_end(&mut head)
        .map_err(cannot)?;
    parse(&head).map_err(|why| {
        Failure::usage(format!("{shown} is not a bootable kernel: {why}")).hint(HINT)
    })
}

fn parse(head: &[u8]) -> Result<KernelHeader, String> {
    let half = |offset: usize| u16::from_le_bytes([head[offset], head[offset + 1]]);
    if head.len() < 0x264 || half(BOOT_FLAG) != 0xAA55 || &head[MAGIC..MAGIC + 4] != b"HdrS" {
        return Err(format!("it has no Linux setup header{}", guess(head)));
    }
    let version = half(VERSION);
    if version < MIN_VERSION {
        return Err(format!(
            "it speaks boot protocol {}.{:02}, and 2.12 (Linux 3.8) is the oldest with a 64-bit entry",
            version >> 8,
            version & 0xFF
        ));
    }
    if half(XLOADFLAGS) & XLF_KERNEL_64 == 0 {
        return Err("it has no 64-bit entry: it is a 32-bit kernel".to_owned());
    }
    let start = usize::from(half(KERNEL_VERSION)) + 0x200;
    let release = head
        .get(start..)
        .filter(|_| start > 0x200)
        .and_then(|text| text.split(|&byte| byte == 0 || byte == b' ').next())
        .and_then(|text| std::str::from_utf8(text).ok())
        .filter(|text| !text.is_empty() && !text.contains('/'))
        .map(str::to_owned);
    Ok(KernelHeader { release })
}

/// What the file seems to be instead.
fn guess(head: &[u8]) -> &'static str {
    match head {
        [] => "; it is empty",
        [0x7F, b'E', b'L', b'F', ..] => "; it is an ELF file (vmlinux?)",
        [0x1F, 0x8B, ..] | [0xFD, b'7', b'z', ..] | [0x28, 0xB5, 0x2F, 0xFD, ..] => {
            "; it is a compressed file"
        }
        [b'!', b'<', b'a', b'r', ..] => "; it is a package or an archive",
        _ if head.get(0x38..0x3C) == Some(b"ARMd") => "; it is a kernel for arm64",
        [b'M', b'Z', ..] => "; it is an EFI program",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Vec<u8> {
        let mut head = vec![0; 0x1000];
        head[BOOT_FLAG..BOOT_FLAG + 2].copy_from_slice(&0xAA55_u16.to_le_bytes());
        head[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        head[VERSION..VERSION + 2].copy_from_slice(&0x020F_u16.to_le_bytes());
        head[XLOADFLAGS..XLOADFLAGS + 2].copy_from_slice(&0x7F_u16.to_le_bytes());
        head[KERNEL_VERSION..KERNEL_VERSION + 2].copy_from_slice(&0x300_u16.to_le_bytes());
        head[0x500..0x510].copy_from_slice(b"6.12.1-cloud x y");
        head
    }

    #[test]
    fn reads_the_release() {
        let release = parse(&header()).unwrap().release;
        assert_eq!(release.as_deref(), Some("6.12.1-cloud"));
    }

    #[test]
    fn does_without_a_release() {
        let mut head = header();
        head[KERNEL_VERSION..KERNEL_VERSION + 2].fill(0);
        assert_eq!(parse(&head).unwrap().release, None);
        head[KERNEL_VERSION..KERNEL_VERSION + 2].fill(0xFF);
        assert_eq!(parse(&head).unwrap().release, None);
    }

    #[test]
    fn says_what_is_wrong() {
        assert!(parse(b"").unwrap_err().ends_with("it is empty"));
        assert!(parse(b"\x7FELF").unwrap_err().contains("ELF"));
        let mut old = header();
        old[VERSION] = 0x0B;
        assert!(parse(&old).unwrap_err().contains("protocol 2.11"));
        let mut narrow = header();
        narrow[XLOADFLAGS] = 0;
        assert!(parse(&narrow).unwrap_err().contains("32-bit"));
    }
}
