// SPDX-License-Identifier: MIT OR Apache-2.0
//! Launch: the pages that the host adds, and the digest over them.
//!
//! The digest is a chain: each page adds a [`PageInfo`] that has the digest so far, the digest of
//! the page's contents, its address, its type and what VMPLs may do with it. Only the chain has to
//! be in order. [`contents_digest`], where the time goes, is a function of its own, so that several
//! vCPUs can compute it for the pages to come.
//!
//! Source: 56860, 8.17 (SNP_LAUNCH_UPDATE) and 8.18 (SNP_LAUNCH_FINISH).

use sha2::{Digest, Sha384};
use snp_defs::PAGE_SIZE;
use snp_defs::launch::{
    DIGEST_SIZE, KVM_VMSA_GPA, PAGE_TYPE_CPUID, PAGE_TYPE_NORMAL, PAGE_TYPE_SECRETS,
    PAGE_TYPE_UNMEASURED, PAGE_TYPE_VMSA, PAGE_TYPE_ZERO, PageInfo,
};
use snp_defs::rmp::Permissions;
use zerocopy::IntoBytes;

use super::Status;
use super::messages::Guest;

/// SHA-384, as everywhere in the launch digest.
pub type LaunchDigest = [u8; DIGEST_SIZE];

/// Policy bit 17: has to be one (56860, table "Guest Policy").
pub const POLICY_RESERVED_ONE: u64 = 1 << 17;
/// Policy bit 19: the host may debug the guest.
pub const POLICY_DEBUG: u64 = 1 << 19;
/// Policy bits that this firmware knows: versions, SMT, one, migration, debug, single socket.
const POLICY_KNOWN: u64 = (1 << 21) - 1;
/// The firmware's ABI version, as a policy asks for it: 1.55.
pub const ABI_VERSION: (u8, u8) = (1, 55);

/// A guest between SNP_LAUNCH_START and SNP_LAUNCH_FINISH.
#[derive(Debug, Clone)]
pub struct Launch {
    policy: u64,
    digest: LaunchDigest,
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

/// What a guest's owner signed about it (56860, tables "ID Block" and "ID Authentication"), in the
/// layout of the IGVM file.
pub type IdBlock = crate::igvm::IdBlock;

/// The digest of a page's contents.
pub fn contents_digest(page: &[u8; PAGE_SIZE]) -> LaunchDigest {
    Sha384::digest(page).into()
}

impl Launch {
    /// SNP_LAUNCH_START.
    ///
    /// # Errors
    /// [`Status::InvalidParameter`] for reserved bits, [`Status::PolicyFailure`] for a policy that
    /// asks for a newer firmware or for a migration agent.
    pub fn start(policy: u64) -> Result<Self, Status> {
        if policy & POLICY_RESERVED_ONE == 0 || policy & !POLICY_KNOWN != 0 {
            return Err(Status::InvalidParameter);
        }
        const MIGRATE_MA: u64 = 1 << 18;
        let asked = ((policy >> 8) as u8, policy as u8);
        if asked > ABI_VERSION || policy & MIGRATE_MA != 0 {
            return Err(Status::PolicyFailure);
        }
        Ok(Self {
            policy,
            digest: [0; DIGEST_SIZE],
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
        Ok(())
    }

    /// Adds a vCPU's VMSA as KVM does: after all other pages, under an address of KVM's own.
    pub fn update_vmsa(&mut self, contents: LaunchDigest) {
        // The address is a multiple of a page.
        let _ = self.update(Measured::Vmsa(contents), KVM_VMSA_GPA, Default::default());
    }

    /// The digest so far.
    pub const fn digest(&self) -> &LaunchDigest {
        &self.digest
    }

    /// SNP_LAUNCH_FINISH: from here on the guest can talk to the firmware. `seed` is where its keys
    /// and its identity come from; `host_data` goes into its reports.
    ///
    /// # Errors
    /// With an ID block: [`Status::BadMeasurement`] when it expects another digest,
    /// [`Status::BadSignature`], [`Status::InvalidParameter`] for an unknown algorithm.
    pub fn finish(
        self,
        id_block: Option<&IdBlock>,
        host_data: [u8; 32],
        seed: u64,
    ) -> Result<Guest, Status> {
        let _ = (id_block, host_data, seed);
        Err(Status::Unsupported)
    }

    /// The guest's policy.
    pub const fn policy(&self) -> u64 {
        self.policy
    }
}
