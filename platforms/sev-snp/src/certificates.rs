// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host's table of certificates (56421, 4.1.8.1): unsigned as a whole, and taken by nobody's
//! word. The guest's verifier checks what it holds; here only its length matters.

/// An entry: a GUID, then offset and length in bytes, 32 bits each. An entry of zeros ends the
/// table.
const ENTRY_SIZE: usize = 24;

/// Bytes that the certificates take, table included, of `total` bytes that begin with `first`. 0
/// where there are none, or the table is not well formed, or does not end in `first`.
pub fn length(first: &[u8], total: usize) -> usize {
    let mut length = 0;
    for entry in first.chunks_exact(ENTRY_SIZE) {
        let Some((guid, [o0, o1, o2, o3, l0, l1, l2, l3])) = entry.split_first_chunk::<16>() else {
            return 0;
        };
        if *guid == [0; 16] {
            return length;
        }
        let offset = u32::from_le_bytes([*o0, *o1, *o2, *o3]) as usize;
        let size = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
        match offset.checked_add(size) {
            Some(end) if end <= total => length = length.max(end),
            _ => return 0,
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(entries: &[(u8, u32, u32)]) -> Vec<u8> {
        let mut pages = vec![0; 4096];
        for (index, &(guid, offset, size)) in entries.iter().enumerate() {
            let at = index * ENTRY_SIZE;
            pages[at..at + 16].fill(guid);
            pages[at + 16..at + 20].copy_from_slice(&offset.to_le_bytes());
            pages[at + 20..at + 24].copy_from_slice(&size.to_le_bytes());
        }
        pages
    }

    fn of(pages: &[u8]) -> usize {
        length(pages, pages.len())
    }

    #[test]
    fn the_last_certificate_ends_it() {
        assert_eq!(of(&pages(&[(1, 1000, 500), (2, 96, 904)])), 1500);
        assert_eq!(of(&pages(&[])), 0);
        assert_eq!(of(&[]), 0);
        assert_eq!(of(&pages(&[(1, 3000, 1096)])), 4096);
        assert_eq!(length(&pages(&[(1, 3000, 4096)]), 8192), 7096);
    }

    #[test]
    fn a_table_that_points_out_of_the_pages_is_none() {
        assert_eq!(of(&pages(&[(1, 3000, 1097)])), 0);
        assert_eq!(of(&pages(&[(1, u32::MAX, u32::MAX)])), 0);
        assert_eq!(of(&pages(&[(1, 96, 100), (2, 5000, 0)])), 0);
        assert_eq!(of(&[1; 4096]), 0, "without an end");
    }
}
