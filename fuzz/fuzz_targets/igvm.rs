// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parser of images, on files whose checksum is right, so that it reads on.
//!
//! `cargo +nightly fuzz run igvm`
#![no_main]

use emulator::igvm::{Directive, Image};
use libfuzzer_sys::fuzz_target;

/// Bytes of the fixed header.
const FIXED: usize = 24;

fuzz_target!(|data: &[u8]| {
    if let Some(file) = sealed(data)
        && let Ok(image) = Image::parse(&file)
    {
        for directive in image.directives() {
            match directive {
                Directive::Page(page) => assert_eq!(page.gpa % 4096, 0),
                Directive::ParameterArea { size, contents, .. } => {
                    assert!(contents.is_none_or(|contents| contents.len() == size));
                }
                _ => {}
            }
        }
    }
    let _ = Image::parse(data);
});

/// A file of `data` with a fixed header that is right: two bytes say how long the variable headers
/// are, then they come, then file data.
fn sealed(data: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = data.split_first_chunk::<2>()?;
    let headers = rest.get(..usize::from(u16::from_le_bytes(*length)).min(rest.len()))?;
    let mut file = b"IGVM".to_vec();
    for word in [1, FIXED, headers.len(), FIXED + rest.len(), 0] {
        file.extend(u32::try_from(word).ok()?.to_le_bytes());
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(&file);
    crc.update(headers);
    file[20..FIXED].copy_from_slice(&crc.finalize().to_le_bytes());
    file.extend(rest);
    Some(file)
}
