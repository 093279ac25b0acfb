// SPDX-License-Identifier: MIT OR Apache-2.0
//! SHA-256 of files and of lists of byte strings, in hexadecimal.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::failure::{At as _, Result};

/// The SHA-256 of a file.
///
/// # Errors
/// It can't be read.
pub fn of_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).at("reading", path)?;
    let mut sink = Sink(Sha256::new());
    io::copy(&mut file, &mut sink).at("reading", path)?;
    Ok(hex(&sink.0.finalize()))
}

/// The SHA-256 of several byte strings, each with its length, so that they don't run together.
pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Sink(Sha256);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
