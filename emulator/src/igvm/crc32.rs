// SPDX-License-Identifier: MIT OR Apache-2.0
//! The checksum of an IGVM file: CRC-32 as in IEEE 802.3, reflected, over several pieces.

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 != 0 { 0xEDB8_8320 } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// The checksum of all bytes of `pieces`, one after the other.
pub(super) fn checksum(pieces: &[&[u8]]) -> u32 {
    let crc = pieces
        .iter()
        .copied()
        .flatten()
        .fold(u32::MAX, |crc, byte| {
            TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8)
        });
    !crc
}

#[cfg(test)]
mod tests {
    #[test]
    fn check_value_of_the_published_parameters() {
        assert_eq!(super::checksum(&[b"12345", b"6789"]), 0xCBF4_3926);
    }
}
