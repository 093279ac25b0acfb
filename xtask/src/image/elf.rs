// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loadable parts of a static ELF file: the SVSM, the shim, a bare-metal guest.

use std::ops::Range;
use std::path::Path;

use ::elf::ElfBytes;
use ::elf::abi::{EM_X86_64, ET_EXEC, PF_W, PF_X, PT_LOAD};
use ::elf::endian::LittleEndian;
use anyhow::{Context as _, Result};

use super::contents::PAGE;
use crate::failure::Failure;

/// A PT_LOAD segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    /// First virtual address; page-aligned.
    pub(crate) address: u64,
    /// Where it is to be loaded.
    pub(crate) load_address: u64,
    /// Its bytes in the file; what it has beyond them is zero.
    pub(crate) bytes: Vec<u8>,
    /// Bytes in memory.
    pub(crate) size: u64,
    /// It may be written.
    pub(crate) write: bool,
    /// It may be executed.
    pub(crate) execute: bool,
}

/// A file that can be put into an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Elf {
    /// Entry point.
    pub(crate) entry: u64,
    /// Segments, ascending by address and apart.
    pub(crate) segments: Vec<Segment>,
}

impl Elf {
    /// Reads and checks a file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path)
            .map_err(|error| Failure::usage(format!("can't read {}: {error}", path.display())))?;
        Self::parse(&bytes).with_context(|| format!("{} can't be loaded", path.display()))
    }

    fn parse(file: &[u8]) -> Result<Self> {
        let fail = |why: &str| Failure::usage(format!("it is {why}")).hint(HINT);
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file)
            .map_err(|_| fail("no 64-bit little-endian ELF file"))?;
        if elf.ehdr.e_machine != EM_X86_64 || elf.ehdr.e_type != ET_EXEC {
            return Err(fail("no static x86-64 executable").into());
        }
        let headers = elf
            .segments()
            .ok_or_else(|| fail("without program headers"))?;
        let mut segments = Vec::new();
        for header in headers
            .iter()
            .filter(|header| header.p_type == PT_LOAD && header.p_memsz > 0)
        {
            let bytes = elf.segment_data(&header).map_err(|_| fail("cut short"))?;
            let end = header.p_vaddr.checked_add(header.p_memsz);
            if end.is_none() || header.p_memsz > MAX_SIZE || header.p_filesz > header.p_memsz {
                return Err(fail("too large in memory").into());
            }
            // A linker may let a segment start inside of a page.
            let lead = header.p_vaddr % PAGE;
            if header.p_paddr % PAGE != lead || header.p_paddr > u64::MAX / 2 {
                return Err(fail("loaded at an address that does not fit its pages").into());
            }
            let mut padded = vec![0; lead as usize];
            padded.extend_from_slice(bytes);
            segments.push(Segment {
                address: header.p_vaddr - lead,
                load_address: header.p_paddr - lead,
                bytes: padded,
                size: lead + header.p_memsz,
                write: header.p_flags & PF_W != 0,
                execute: header.p_flags & PF_X != 0,
            });
        }
        segments.sort_by_key(|segment| segment.address);
        let apart = |pair: &[Segment]| pair[0].pages().end <= pair[1].address;
        if segments.is_empty() || !segments.windows(2).all(apart) {
            return Err(fail("without segments, or two of them share a page").into());
        }
        Ok(Self {
            entry: elf.ehdr.e_entry,
            segments,
        })
    }

    /// Bytes that are loaded from the file.
    pub(crate) fn loaded_bytes(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| segment.bytes.len() as u64)
            .sum()
    }
}

impl Segment {
    /// Virtual addresses of its pages.
    pub(crate) fn pages(&self) -> Range<u64> {
        self.address..self.address + self.size.next_multiple_of(PAGE)
    }
}

/// No image of ours comes near it.
const MAX_SIZE: u64 = 1 << 30;
const HINT: &str = "build it for x86_64-unknown-none, as `cargo xtask build` does";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_refused() {
        let error = Elf::parse(b"#!/bin/sh").unwrap_err();
        assert_eq!(error.to_string(), "it is no 64-bit little-endian ELF file");
        // The tests themselves are position-independent: an ELF file, but not a static one.
        let error = Elf::read(&std::env::current_exe().unwrap()).unwrap_err();
        assert!(
            format!("{error:#}").contains("no static x86-64 executable"),
            "{error:#}"
        );
    }
}
