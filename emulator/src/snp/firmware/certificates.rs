// SPDX-License-Identifier: MIT OR Apache-2.0
//! The certificate table that an extended guest request brings (56421, 4.1.8.1): who vouches for
//! the key that signs reports.
//!
//! Entries of a GUID, an offset and a length, closed by an empty one, then the certificates in DER.

/// A certificate's place in the table.
struct Entry {
    guid: [u8; 16],
    certificate: &'static [u8],
}

/// Bytes of an entry.
const ENTRY_SIZE: usize = 24;

/// The certificates, from the chip's key up to the root; GUIDs as text would have them.
const ENTRIES: [Entry; 3] = [
    Entry {
        guid: 0x63da758d_e664_4564_adc5_f4b93be8accd_u128.to_be_bytes(),
        certificate: include_bytes!("../../../keys/vcek.der"),
    },
    Entry {
        guid: 0x4ab7b379_bbac_4fe4_a02f_05aef327c782_u128.to_be_bytes(),
        certificate: include_bytes!("../../../keys/ask.der"),
    },
    Entry {
        guid: 0xc0b406a4_a803_4952_9743_3fb6014cd0ae_u128.to_be_bytes(),
        certificate: include_bytes!("../../../keys/ark.der"),
    },
];

const SIZE: usize = {
    let mut size = ENTRY_SIZE;
    let mut index = 0;
    while index < ENTRIES.len() {
        size += ENTRY_SIZE + ENTRIES[index].certificate.len();
        index += 1;
    }
    size
};

static TABLE: [u8; SIZE] = {
    let mut table = [0; SIZE];
    let mut offset = ENTRY_SIZE * (ENTRIES.len() + 1);
    let mut index = 0;
    while index < ENTRIES.len() {
        let Entry { guid, certificate } = &ENTRIES[index];
        let start = index * ENTRY_SIZE;
        copy(&mut table, start, guid);
        copy(&mut table, start + 16, &(offset as u32).to_le_bytes());
        copy(
            &mut table,
            start + 20,
            &(certificate.len() as u32).to_le_bytes(),
        );
        copy(&mut table, offset, certificate);
        offset += certificate.len();
        index += 1;
    }
    table
};

const fn copy(to: &mut [u8; SIZE], at: usize, from: &[u8]) {
    let mut index = 0;
    while index < from.len() {
        to[at + index] = from[index];
        index += 1;
    }
}

/// The table, as long as it is; the caller pads it to whole pages.
pub fn table() -> &'static [u8] {
    &TABLE
}
