// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the firmware does to the table: pages that it adds at launch, and those that it holds.

use snp_defs::rmp::{Permissions, RmpSize};

use super::entry::Entry;
use super::{HostError, Rmp};

impl Rmp<'_> {
    /// The firmware takes or releases a page (immutable bit).
    ///
    /// # Errors
    /// No memory, or the sizes do not fit.
    pub fn set_immutable(&self, gpa: u64, size: RmpSize, on: bool) -> Result<(), HostError> {
        self.edit(gpa, size, |entry| entry.with_immutable(on))
    }

    /// The firmware adds a page at launch: assigned, validated, with these permissions for VMPL1 to
    /// VMPL3 and this VMSA bit (56860, 8.17).
    ///
    /// # Errors
    /// As [`Rmp::assign`].
    pub fn launch(
        &self,
        gpa: u64,
        size: RmpSize,
        permissions: [Permissions; 3],
        vmsa: bool,
    ) -> Result<(), HostError> {
        let _ = self.assign(gpa, size)?;
        self.edit(gpa, size, |entry| {
            (1..=3u8)
                .zip(permissions)
                .fold(entry, |entry, (vmpl, permissions)| {
                    entry.with_permissions(vmpl, permissions)
                })
                .with_validated(true)
                .with_vmsa(vmsa)
        })
    }

    /// Changes the entry of a page that has exactly this size.
    fn edit(
        &self,
        gpa: u64,
        size: RmpSize,
        change: impl Fn(Entry) -> Entry,
    ) -> Result<(), HostError> {
        let mut block = self.locked(gpa, size)?;
        let (entry, old_size) = block.get(gpa);
        if old_size != size {
            return Err(HostError::Overlap);
        }
        match size {
            RmpSize::Size4K => block.set_page(gpa, change(entry)),
            RmpSize::Size2M => block.set_block(change(entry)),
        }
        Ok(())
    }
}
