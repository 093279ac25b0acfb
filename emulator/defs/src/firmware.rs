// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the emulated security firmware says about itself: in attestation reports, and in the
//! certificate of the key that signs them. Plainly not AMD's.

/// Id of the chip: text.
pub const CHIP_ID: [u8; 64] = *b"EMULATED by Parapet: there is no such chip; this proves nothing.";

/// Security version numbers of the parts that are trusted (57230, table "TCB version").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcb {
    /// Of the boot loader.
    pub boot_loader: u8,
    /// Of the trusted execution environment.
    pub tee: u8,
    /// Of the SNP firmware.
    pub snp: u8,
    /// Of the microcode.
    pub microcode: u8,
}

impl Tcb {
    /// As reports and derived key requests hold it.
    pub const fn to_u64(self) -> u64 {
        u64::from_le_bytes([
            self.boot_loader,
            self.tee,
            0,
            0,
            0,
            0,
            self.snp,
            self.microcode,
        ])
    }

    /// Whether no part of `version` (same format) is newer.
    pub const fn covers(self, version: u64) -> bool {
        let [boot_loader, tee, .., snp, microcode] = version.to_le_bytes();
        boot_loader <= self.boot_loader
            && tee <= self.tee
            && snp <= self.snp
            && microcode <= self.microcode
            && version & 0x0000_FFFF_FFFF_0000 == 0
    }
}

/// The one TCB that this firmware ever has.
pub const TCB: Tcb = Tcb {
    boot_loader: 1,
    tee: 1,
    snp: 1,
    microcode: 1,
};

/// Version of the firmware, major and minor: that of the ABI which it follows.
pub const VERSION: (u8, u8) = (1, 55);
/// Build of the firmware.
pub const BUILD: u8 = 0;
