// SPDX-License-Identifier: MIT OR Apache-2.0
//! The secrets page (56860, table "Secrets Page"): how a guest gets the keys with which it talks to
//! the firmware.

use snp_defs::secrets::SecretsPage;
use zerocopy::FromZeros;

use super::keys::GuestKeys;

/// Version of the layout: the one without secure TSC's factor, which this machine does not have.
const VERSION: u32 = 3;

/// The page as the firmware writes it. What an SVSM tells its guest in it starts out as zero; so do
/// the guest's own part and the tweak bitmap (no register protection).
pub(super) fn page(keys: &GuestKeys, fms: u32) -> SecretsPage {
    let mut page = SecretsPage::new_zeroed();
    page.version = VERSION;
    page.fms = fms;
    page.vmpck = keys.vmpck;
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    #[test]
    fn lies_where_a_guest_looks_for_it() {
        let keys = GuestKeys::new(1);
        let page = page(&keys, 0x00A0_0F11);
        let bytes = page.as_bytes();
        assert_eq!(bytes[..12], [3, 0, 0, 0, 0, 0, 0, 0, 0x11, 0x0F, 0xA0, 0]);
        for (vmpl, key) in keys.vmpck.iter().enumerate() {
            let start = 0x20 + vmpl * 0x20;
            assert_eq!(bytes[start..start + 0x20], *key);
        }
        assert!(bytes[0xA0..].iter().all(|byte| *byte == 0));
    }
}
