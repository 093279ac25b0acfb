// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host's memory map, a parameter of the IGVM file. It is not measured: nothing is taken from it, the
//! launch page is only held against it, so that a machine with less memory than the image was made for is
//! refused in words and not by a fault.
#![forbid(unsafe_code)]

use super::StartError;
use crate::memory::PageSize;
use igvm_defs::{IGVM_VHS_MEMORY_MAP_ENTRY, MemoryMapEntryType};
use svsm_launch::Range;
use zerocopy::FromBytes;

/// Bytes of the pages that the map counts in.
const PAGE: u64 = PageSize::Size4K.bytes();

/// The entries that say "memory". The map ends with an entry of no pages, or where its room ends.
fn memory(map: &[u8]) -> impl Iterator<Item = Range> {
    map.chunks_exact(size_of::<IGVM_VHS_MEMORY_MAP_ENTRY>())
        .map_while(|bytes| IGVM_VHS_MEMORY_MAP_ENTRY::read_from_bytes(bytes).ok())
        .take_while(|entry| entry.number_of_pages != 0)
        .filter(|entry| entry.entry_type == MemoryMapEntryType::MEMORY)
        .filter_map(|entry| {
            let base = entry.starting_gpa_page_number.checked_mul(PAGE)?;
            let size = entry.number_of_pages.checked_mul(PAGE)?;
            base.checked_add(size)?;
            Some(Range { base, size })
        })
}

/// [`check`], where the image asks the host for a map.
pub(crate) fn check_if_any(map: &[u8], guest_memory: &[Range]) -> Result<(), StartError> {
    if map.is_empty() {
        Ok(())
    } else {
        check(map, guest_memory)
    }
}

/// Checks that the host has memory wherever the guest is to have some. Entries may come in any order, so
/// the map is gone through as often as it has pieces of the guest's memory; its room bounds that.
fn check(map: &[u8], guest_memory: &[Range]) -> Result<(), StartError> {
    for wanted in guest_memory {
        let end = wanted.base + wanted.size;
        let mut at = wanted.base;
        while at < end {
            let next = memory(map)
                .filter(|range| range.base <= at)
                .map(|range| range.base + range.size)
                .max()
                .filter(|&next| next > at);
            at = next.ok_or(StartError::NotInHostMap(at))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn entry(first: u64, pages: u64, kind: u16) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&first.to_le_bytes());
        bytes[8..16].copy_from_slice(&pages.to_le_bytes());
        bytes[16..18].copy_from_slice(&kind.to_le_bytes());
        bytes
    }

    const WANTED: [Range; 2] = [
        Range {
            base: 0,
            size: 0x4000,
        },
        Range {
            base: 0x10_0000,
            size: 0x10_0000,
        },
    ];

    #[test]
    fn memory_in_any_order_and_pieces() {
        let map = [
            entry(0x180, 0x80, 0),
            entry(0, 2, 0),
            entry(0x100, 0x90, 0),
            entry(1, 8, 0),
            entry(0, 0, 0),
            // Behind the end.
            entry(0, 0x1000, 0),
        ];
        assert_eq!(check(map.as_flattened(), &WANTED), Ok(()));
    }

    #[test]
    fn what_is_missing_is_named() {
        let gap = [
            entry(0, 4, 0),
            entry(0x100, 0x80, 0),
            entry(0x181, 0x100, 0),
        ];
        let missing = |map: &[[u8; 24]]| check(map.as_flattened(), &WANTED);
        assert_eq!(missing(&gap), Err(StartError::NotInHostMap(0x18_0000)));
        assert_eq!(missing(&[]), Err(StartError::NotInHostMap(0)));
        // Reserved, and an end beyond all addresses.
        assert_eq!(
            missing(&[entry(0, 0x1000, 1)]),
            Err(StartError::NotInHostMap(0))
        );
        assert_eq!(
            missing(&[entry(0, u64::MAX, 0)]),
            Err(StartError::NotInHostMap(0))
        );
        assert_eq!(
            missing(&[entry(1 << 52, 1, 0)]),
            Err(StartError::NotInHostMap(0))
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// Whatever the host writes, the check ends, and success means that each page is covered.
        #[test]
        fn any_map(entries in prop::collection::vec((0u64..0x300, 0u64..0x200, 0u16..3), 0..12)) {
            let map: Vec<[u8; 24]> =
                entries.iter().map(|&(first, pages, kind)| entry(first, pages, kind)).collect();
            let listed: Vec<_> = entries.iter().take_while(|entry| entry.1 != 0).collect();
            let covered = |page: u64| listed.iter().any(|&&(first, pages, kind)| {
                kind == 0 && (first..first + pages).contains(&page)
            });
            let all = (0..4).chain(0x100..0x200).all(covered);
            prop_assert_eq!(check(map.as_flattened(), &WANTED).is_ok(), all);
        }
    }
}
