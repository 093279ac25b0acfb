// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the boot parameters tell (Linux `Documentation/arch/x86/boot.rst` and `zero-page.rst`).

use snp_defs::cc_blob::{self, CcBlob};
use snp_defs::secrets::SecretsPage;

use super::access;

/// Offset of `cmd_line_ptr`.
const COMMAND_LINE: u64 = 0x228;
/// Offset of `setup_data`.
const SETUP_DATA: u64 = 0x250;

/// The boot parameters' page.
pub(crate) struct BootParams {
    address: u64,
}

impl BootParams {
    /// At the address that RSI had.
    pub(crate) fn at(address: u64) -> Self {
        Self { address }
    }

    /// The command line, as far as it fits and is text.
    pub(crate) fn command_line<'a>(&self, buffer: &'a mut [u8]) -> &'a str {
        let pointer = u64::from(access::load::<u32>(self.address + COMMAND_LINE));
        let mut length = 0;
        while length < buffer.len() {
            let byte = access::load::<u8>(pointer + length as u64);
            if byte == 0 {
                break;
            }
            buffer[length] = byte;
            length += 1;
        }
        core::str::from_utf8(&buffer[..length]).unwrap_or("")
    }

    /// The number behind `key` (like `vcpus=`) on the command line.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        let mut line = [0; 256];
        self.command_line(&mut line)
            .split(' ')
            .find_map(|word| word.strip_prefix(key)?.parse().ok())
    }

    /// The confidential-computing blob behind `setup_data`.
    pub(crate) fn cc_blob(&self) -> Option<CcBlob> {
        let mut node = access::load::<u64>(self.address + SETUP_DATA);
        for _ in 0..16 {
            if node == 0 {
                return None;
            }
            if access::load::<u32>(node + 8) == cc_blob::SETUP_CC_BLOB {
                let blob = u64::from(access::load::<u32>(node + 16));
                return Some(access::load::<CcBlob>(blob));
            }
            node = access::load::<u64>(node);
        }
        None
    }

    /// Guest-physical address of the secrets page.
    pub(crate) fn secrets_gpa(&self) -> Option<u64> {
        self.cc_blob().map(|blob| blob.secrets_gpa)
    }

    /// A field of the secrets page: the 32 bytes of a key.
    pub(crate) fn vmpck(&self, index: usize) -> Option<[u8; 32]> {
        let offset = core::mem::offset_of!(SecretsPage, vmpck) + index * 32;
        self.secrets_gpa()
            .map(|gpa| access::load::<[u8; 32]>(gpa + offset as u64))
    }
}
