// SPDX-License-Identifier: MIT OR Apache-2.0
//! Launch: the pages that the host adds, and the digest over them.
//!
//! The digest is a chain: each page adds a [`PageInfo`] that has the digest so far, the digest of
//! the page's contents, its address, its type and what VMPLs may do with it. Only the chain has to
//! be in order. [`contents_digest`], where the time goes, is a function of its own, so that several
//! vCPUs can compute it for the pages to come.
//!
//! Source: 56860, 8.17 (SNP_LAUNCH_UPDATE) and 8.18 (SNP_LAUNCH_FINISH).

use emulator_defs::firmware::VERSION;
use sha2::{Digest, Sha384};
use snp_defs::PAGE_SIZE;
use snp_defs::launch::{
    DIGEST_SIZE, KVM_VMSA_GPA, PAGE_TYPE_CPUID, PAGE_TYPE_NORMAL, PAGE_TYPE_SECRETS,
    PAGE_TYPE_UNMEASURED, PAGE_TYPE_VMSA, PAGE_TYPE_ZERO, PageInfo,
};
use snp_defs::rmp::Permissions;
use snp_defs::secrets::SecretsPage;
use zerocopy::IntoBytes;

use super::Status;
use super::id_block::{self, IdBlock};
use super::identity::{LaunchDigest, Owner};
use super::keys::GuestKeys;
use super::messages::Guest;
use super::secrets;

/// Bits of a guest's policy (56860, table "Guest Policy"). Bits 15:0 are the least version of the
/// firmware's ABI, major above minor.
pub mod policy {
    /// The guest may run where SMT is on.
    pub const SMT: u64 = 1 << 16;
    /// Reserved, but one.
    pub const ONE: u64 = 1 << 17;
    /// A migration agent may be associated with the guest.
    pub const MIGRATE_MA: u64 = 1 << 18;
    /// The host may debug the guest.
    pub const DEBUG: u64 = 1 << 19;
    /// The guest runs on one socket only.
    pub const SINGLE_SOCKET: u64 = 1 << 20;
    /// All bits that this version of the ABI gives a meaning to.
    pub const KNOWN: u64 = 0xFFFF | SMT | ONE | MIGRATE_MA | DEBUG | SINGLE_SOCKET;
}

/// A guest between SNP_LAUNCH_START and SNP_LAUNCH_FINISH.
#[derive(Clone)]
pub struct Launch {
    policy: u64,
    digest: LaunchDigest,
    keys: GuestKeys,
}

/// What of a page enters the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measured {
    /// A normal page, with the digest of its contents.
    Normal(LaunchDigest),
    /// A VMSA, with the digest of its contents.
    Vmsa(LaunchDigest),
    /// A page of zeros.
    Zero,
    /// A page whose contents are not measured.
    Unmeasured,
    /// The secrets page.
    Secrets,
    /// The CPUID page.
    Cpuid,
}

/// The digest of a page's contents.
pub fn contents_digest(page: &[u8; PAGE_SIZE]) -> LaunchDigest {
    Sha384::digest(page).into()
}

impl Launch {
    /// SNP_LAUNCH_START. All that is random in the guest (its keys, its identity in reports) comes
    /// from `seed`.
    ///
    /// # Errors
    /// [`Status::InvalidParameter`] for reserved bits, [`Status::PolicyFailure`] for a policy that
    /// asks for a newer firmware or for a migration agent.
    pub fn start(policy: u64, seed: u64) -> Result<Self, Status> {
        if policy & policy::ONE == 0 || policy & !policy::KNOWN != 0 {
            return Err(Status::InvalidParameter);
        }
        let asked = ((policy >> 8) as u8, policy as u8);
        if asked > VERSION || policy & policy::MIGRATE_MA != 0 {
            return Err(Status::PolicyFailure);
        }
        Ok(Self {
            policy,
            digest: [0; DIGEST_SIZE],
            keys: GuestKeys::new(seed),
        })
    }

    /// SNP_LAUNCH_UPDATE of one 4K page: continues the digest. `permissions` are those of VMPL1, 2
    /// and 3; KVM gives none.
    ///
    /// # Errors
    /// [`Status::InvalidAddress`] when `gpa` is not page-aligned.
    pub fn update(
        &mut self,
        measured: Measured,
        gpa: u64,
        permissions: [Permissions; 3],
    ) -> Result<(), Status> {
        if !gpa.is_multiple_of(PAGE_SIZE as u64) {
            return Err(Status::InvalidAddress);
        }
        self.extend(measured, gpa, permissions);
        Ok(())
    }

    /// Adds a vCPU's VMSA as KVM does: after all other pages, under an address of KVM's own.
    pub fn update_vmsa(&mut self, contents: LaunchDigest) {
        self.extend(Measured::Vmsa(contents), KVM_VMSA_GPA, Default::default());
    }

    fn extend(&mut self, measured: Measured, gpa: u64, permissions: [Permissions; 3]) {
        let none = [0; DIGEST_SIZE];
        let (page_type, contents) = match measured {
            Measured::Normal(digest) => (PAGE_TYPE_NORMAL, digest),
            Measured::Vmsa(digest) => (PAGE_TYPE_VMSA, digest),
            Measured::Zero => (PAGE_TYPE_ZERO, none),
            Measured::Unmeasured => (PAGE_TYPE_UNMEASURED, none),
            Measured::Secrets => (PAGE_TYPE_SECRETS, none),
            Measured::Cpuid => (PAGE_TYPE_CPUID, none),
        };
        let [vmpl1_perms, vmpl2_perms, vmpl3_perms] = permissions.map(|each| each.bits());
        let info = PageInfo {
            digest_cur: self.digest,
            contents,
            length: size_of::<PageInfo>() as u16,
            page_type,
            imi_page: 0,
            vmpl3_perms,
            vmpl2_perms,
            vmpl1_perms,
            reserved: 0,
            gpa,
        };
        self.digest = Sha384::digest(info.as_bytes()).into();
    }

    /// What the firmware writes when the secrets page is added. `fms` is EAX of CPUID leaf 1.
    pub fn secrets_page(&self, fms: u32) -> SecretsPage {
        secrets::page(&self.keys, fms)
    }

    /// The guest's policy.
    pub const fn policy(&self) -> u64 {
        self.policy
    }

    /// The digest so far.
    pub const fn digest(&self) -> &LaunchDigest {
        &self.digest
    }

    /// SNP_LAUNCH_FINISH: from here on the guest can talk to the firmware. `host_data` goes into
    /// its reports.
    ///
    /// # Errors
    /// With an ID block: [`Status::InvalidParameter`] for an unknown version, algorithm or curve,
    /// [`Status::BadMeasurement`] when the owner expects another digest,
    /// [`Status::BadSignature`] when a key or a signature is wrong. Without: none.
    pub fn finish(self, id_block: Option<&IdBlock>, host_data: [u8; 32]) -> Result<Guest, Status> {
        let owner = match id_block {
            Some(block) => id_block::check(block, &self.digest, self.policy)?,
            None => Owner::default(),
        };
        Ok(Guest::new(
            self.policy,
            self.digest,
            owner,
            host_data,
            self.keys,
        ))
    }
}

#[cfg(test)]
mod tests;
