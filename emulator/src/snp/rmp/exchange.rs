// SPDX-License-Identifier: MIT OR Apache-2.0
//! Host pages that take turns at one address.
//!
//! Hardware's table has an entry for each page of the host, and the entry names the guest's address; here there is an
//! entry for each address of the guest's. An honest host has one page for each address, so that comes to the
//! same. A hostile one may have two that both name the same address, and lead there now to this, now to that
//! (APM vol. 2, 15.36.5: the guest's defence is to validate an address once). [`Rmp::exchange`] is that: the entry
//! goes with the page.

use snp_defs::rmp::RmpSize;

use super::host::{HostError, may_change};
use super::{Entry, Rmp};

impl Rmp<'_> {
    /// Puts a 4K page with the entry `new` at `gpa`; returns the entry of the page that was there. A 2M page
    /// around it is split first. Translations are the caller's to clear and to flush.
    ///
    /// # Errors
    /// The firmware holds the page, or a vCPU runs it as a VMSA; no guest memory there.
    pub fn exchange(&self, gpa: u64, new: Entry) -> Result<Entry, HostError> {
        let mut block = self.locked(gpa, RmpSize::Size4K)?;
        let (old, _) = block.get(gpa);
        may_change(old)?;
        block.set_page(gpa, new.with_in_use(false));
        Ok(old)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Region;
    use super::*;
    use core::sync::atomic::AtomicU64;
    use snp_defs::rmp::Permissions;

    #[test]
    fn the_entry_goes_with_the_page() {
        let words = [const { AtomicU64::new(0) }; 512];
        let regions = [Region {
            base: 0,
            words: &words,
        }];
        let rmp = Rmp::new(&regions, RmpSize::Size2M);
        rmp.make_private(0, RmpSize::Size2M, &mut |_| ()).unwrap();
        let granted = Entry::ASSIGNED
            .with_validated(true)
            .with_permissions(2, Permissions::FULL);
        assert_eq!(rmp.exchange(0x5000, granted), Ok(Entry::ASSIGNED));
        assert_eq!(rmp.entry(0x5000), Some((granted, RmpSize::Size4K)));
        assert_eq!(rmp.entry(0x6000), Some((Entry::ASSIGNED, RmpSize::Size4K)));
        assert_eq!(rmp.exchange(0x5000, Entry::ASSIGNED), Ok(granted));

        let vmsa = Entry::ASSIGNED.with_validated(true).with_vmsa(true);
        rmp.exchange(0x7000, vmsa).unwrap();
        rmp.claim_vmsa(0x7000).unwrap();
        assert_eq!(rmp.exchange(0x7000, Entry::ASSIGNED), Err(HostError::InUse));
        rmp.release_vmsa(0x7000);
        rmp.set_immutable(0x7000, RmpSize::Size4K, true).unwrap();
        assert_eq!(
            rmp.exchange(0x7000, Entry::ASSIGNED),
            Err(HostError::Immutable)
        );
        assert_eq!(rmp.exchange(1, granted), Err(HostError::Unaligned));
        assert_eq!(rmp.exchange(0x20_0000, granted), Err(HostError::NotMemory));
    }
}
