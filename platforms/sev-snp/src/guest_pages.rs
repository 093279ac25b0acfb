// SPDX-License-Identifier: MIT OR Apache-2.0
//! The secrets page as the guest gets it.

use snp_defs::secrets::SecretsPage;
use svsm_abi::core_protocol;
use svsm_launch::LaunchInfo;

/// Makes the SVSM's secrets page into the guest's: the keys of VMPLs above the guest's are wiped,
/// and what an SVSM tells its guest is filled in (58019, 4).
///
/// The guest's own key stays, and those of VMPLs below it: it may speak for them.
pub fn make_guest_secrets(page: &mut SecretsPage, launch: &LaunchInfo) {
    let keys_above = page.vmpck.iter_mut().take(launch.guest.vmpl as usize);
    keys_above.for_each(|key| *key = [0; _]);
    page.svsm_base = launch.region.base;
    page.svsm_size = launch.region.size;
    page.svsm_caa = launch.guest.calling_areas.base;
    page.svsm_max_version = core_protocol::VERSION;
    page.svsm_guest_vmpl = launch.guest.vmpl as u8;
    page.reserved1 = [0; _];
}

#[cfg(test)]
mod tests {
    use super::*;
    use svsm_launch::Range;
    use zerocopy::FromZeros;

    #[test]
    fn the_guest_gets_no_key_that_is_above_it() {
        let mut page = Box::new(SecretsPage::new_zeroed());
        page.vmpck = [[1; 32], [2; 32], [3; 32], [4; 32]];
        page.version = 3;
        let mut launch = Box::new(LaunchInfo::new_zeroed());
        launch.region = Range {
            base: 0x80_0000_0000,
            size: 0x20_0000,
        };
        launch.guest.vmpl = 2;
        launch.guest.calling_areas = Range {
            base: 0x5000,
            size: 0x1000,
        };
        make_guest_secrets(&mut page, &launch);
        assert_eq!(page.vmpck, [[0; 32], [0; 32], [3; 32], [4; 32]]);
        assert_eq!(page.version, 3);
        assert_eq!(page.svsm_base, 0x80_0000_0000);
        assert_eq!(page.svsm_size, 0x20_0000);
        assert_eq!(page.svsm_caa, 0x5000);
        assert_eq!(page.svsm_max_version, 1);
        assert_eq!(page.svsm_guest_vmpl, 2);
    }
}
