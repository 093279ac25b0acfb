// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an image puts into guest-physical memory, page by page, before it becomes a file.
//!
//! A page can be given once only: two parts of an image that overlap are a fault of the builder, and
//! it is found here, where every part passes through.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Result, bail, ensure};

/// Bytes of a page.
pub(crate) const PAGE: u64 = 4096;
const ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];

/// How the loader gives a page to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Measured contents.
    Normal,
    /// The firmware's secrets page.
    Secrets,
    /// The CPUID page, which the host fills and the firmware checks.
    Cpuid,
}

/// One page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    /// How it is given.
    pub(crate) kind: Kind,
    /// Where its bytes start in [`Contents::data`]; `None` for zeros.
    pub(crate) data: Option<usize>,
}

/// All pages, ascending, and a name for each part of them.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pages: BTreeMap<u64, Page>,
    data: Vec<u8>,
    parts: Vec<Part>,
}

/// A named run of pages, for the map file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// What it is.
    pub(crate) name: String,
    /// Where it lies.
    pub(crate) range: Range<u64>,
}

impl Contents {
    /// Puts `bytes` at `gpa`, which must be page-aligned; the last page is filled up with zeros.
    pub(crate) fn load(&mut self, name: &str, gpa: u64, bytes: &[u8]) -> Result<()> {
        for (index, chunk) in bytes.chunks(PAGE as usize).enumerate() {
            let data = if *chunk == ZEROS[..chunk.len()] {
                None
            } else {
                let start = self.data.len();
                self.data.extend_from_slice(chunk);
                self.data.resize(start + PAGE as usize, 0);
                Some(start)
            };
            let kind = Kind::Normal;
            self.insert(name, gpa + index as u64 * PAGE, Page { kind, data })?;
        }
        self.name(name, gpa, bytes.len() as u64);
        Ok(())
    }

    /// Puts zeros at `[gpa, gpa + size)`.
    pub(crate) fn zeros(&mut self, name: &str, gpa: u64, size: u64) -> Result<()> {
        let (kind, data) = (Kind::Normal, None);
        for page in (gpa..gpa + size).step_by(PAGE as usize) {
            self.insert(name, page, Page { kind, data })?;
        }
        self.name(name, gpa, size);
        Ok(())
    }

    /// Has the loader fill the page at `gpa`.
    pub(crate) fn filled_by_loader(&mut self, name: &str, gpa: u64, kind: Kind) -> Result<()> {
        self.insert(name, gpa, Page { kind, data: None })?;
        self.name(name, gpa, PAGE);
        Ok(())
    }

    /// Names a range that the file does not load as pages, for the map.
    pub(crate) fn name(&mut self, name: &str, gpa: u64, size: u64) {
        let range = gpa..gpa + size.next_multiple_of(PAGE);
        self.parts.push(Part {
            name: name.into(),
            range,
        });
    }

    fn insert(&mut self, name: &str, gpa: u64, page: Page) -> Result<()> {
        ensure!(
            gpa.is_multiple_of(PAGE),
            "{name} starts inside of a page, at {gpa:#x}"
        );
        if self.pages.insert(gpa, page).is_some() {
            let other = self.part_at(gpa).map_or("another part", |part| &part.name);
            bail!("{name} and {other} of the image both lie at {gpa:#x}");
        }
        Ok(())
    }

    fn part_at(&self, gpa: u64) -> Option<&Part> {
        self.parts.iter().find(|part| part.range.contains(&gpa))
    }

    /// The pages with their addresses, ascending.
    pub(crate) fn pages(&self) -> impl Iterator<Item = (u64, Page)> + '_ {
        self.pages.iter().map(|(gpa, page)| (*gpa, *page))
    }

    /// The bytes of all pages that are not zero.
    pub(crate) fn data(&self) -> &[u8] {
        &self.data
    }

    /// The named parts, ascending.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let mut parts = self.parts.clone();
        parts.sort_by_key(|part| part.range.start);
        parts
    }

    /// The runs of pages that lie in `within`, ascending and apart.
    pub(crate) fn runs(&self, within: Range<u64>) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for (gpa, _) in self.pages.range(within) {
            match runs.last_mut() {
                Some(run) if run.end == *gpa => run.end += PAGE,
                _ => runs.push(*gpa..*gpa + PAGE),
            }
        }
        runs
    }
}

/// What is left of `whole` without `holes`, both ascending and apart.
pub(crate) fn without(whole: &[Range<u64>], holes: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut left = Vec::new();
    for range in whole {
        let mut start = range.start;
        for hole in holes {
            if hole.end <= start || hole.start >= range.end {
                continue;
            }
            if hole.start > start {
                left.push(start..hole.start);
            }
            start = hole.end;
        }
        if start < range.end {
            left.push(start..range.end);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn overlapping_parts_are_refused_by_name() {
        let mut contents = Contents::default();
        contents.load("first", 0x1000, &[1; 5000]).unwrap();
        let error = contents.zeros("second", 0x2000, PAGE).unwrap_err();
        assert_eq!(
            error.to_string(),
            "second and first of the image both lie at 0x2000"
        );
    }

    #[test]
    fn zeros_take_no_room() {
        let mut contents = Contents::default();
        contents.load("kernel", 0x1000, &[0; 8192]).unwrap();
        contents.zeros("more", 0x5000, PAGE).unwrap();
        assert!(contents.data().is_empty());
        assert_eq!(contents.runs(0..u64::MAX), [0x1000..0x3000, 0x5000..0x6000]);
    }

    proptest! {
        #[test]
        fn what_is_left_and_the_holes_make_the_whole(
            cuts in proptest::collection::btree_set(0u64..1000, 2..40),
        ) {
            let cuts: Vec<u64> = cuts.into_iter().collect();
            let holes: Vec<Range<u64>> = cuts.chunks_exact(2).map(|cut| cut[0]..cut[1]).collect();
            let whole = [10..300, 400..900];
            let left = without(&whole, &holes);
            for address in 0..1000 {
                let among = |ranges: &[Range<u64>]| {
                    ranges.iter().filter(|range| range.contains(&address)).count()
                };
                let expected = among(&whole) == 1 && among(&holes) == 0;
                prop_assert_eq!(among(&left), usize::from(expected));
            }
        }
    }
}
