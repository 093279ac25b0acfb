// SPDX-License-Identifier: MIT OR Apache-2.0
//! The launch digest that the firmware computes while an image is loaded: a chain of SHA-384 over what
//! each page is and where it lies (56860, 8.17.2), from the image's file alone.

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use sha2::{Digest as _, Sha384};
use snp_defs::launch::{self, DIGEST_SIZE, PageInfo};
use snp_defs::vmsa::{Vmsa, sev_features};
use zerocopy::{FromBytes, IntoBytes};

use super::contents::{Kind, PAGE};
use super::igvm::{self, Directive};

/// Which VMSAs are part of the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Vmsas {
    /// The first vCPU's, which the image holds, where the image puts it: the emulator.
    #[default]
    First,
    /// Those of all vCPUs, at the address that KVM gives them: Linux hosts with KVM.
    Kvm,
}

/// Family, model and stepping of QEMU's `EPYC-v4`, as CPUID leaf 1 has them in EAX. KVM starts vCPUs
/// with this value in RDX, and so it is measured where the image does not say otherwise.
pub(crate) const EPYC_V4: u32 = 0x0080_0F12;

/// What a digest was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Measurement {
    /// The launch digest.
    pub(crate) digest: [u8; DIGEST_SIZE],
    /// Pages that were measured with their contents.
    pub(crate) pages: u64,
    /// Pages of which only place and kind were measured.
    pub(crate) places: u64,
    /// The VMSAs that were measured: vCPU and guest-physical address.
    pub(crate) vmsas: Vec<(u32, u64)>,
}

/// The chain.
struct Chain {
    measurement: Measurement,
}

impl Chain {
    fn update(&mut self, page_type: u8, gpa: u64, contents: Option<&[u8]>) {
        let measured = &mut self.measurement;
        match contents {
            Some(_) => measured.pages += 1,
            None => measured.places += 1,
        }
        let contents = contents.map_or([0; DIGEST_SIZE], |bytes| Sha384::digest(bytes).into());
        let info = PageInfo {
            digest_cur: measured.digest,
            contents,
            length: size_of::<PageInfo>() as u16,
            page_type,
            imi_page: 0,
            vmpl3_perms: 0,
            vmpl2_perms: 0,
            vmpl1_perms: 0,
            reserved: 0,
            gpa,
        };
        measured.digest = Sha384::digest(info.as_bytes()).into();
    }
}

/// Computes the digest of the image `file` for a machine with `vcpus` vCPUs whose processors
/// have `signature`.
pub(crate) fn measure(
    file: &[u8],
    vmsas: Vmsas,
    vcpus: u32,
    signature: u32,
) -> Result<Measurement> {
    let directives = igvm::read(file).context("the image can't be measured")?;
    let mut chain = Chain {
        measurement: Measurement {
            digest: [0; DIGEST_SIZE],
            pages: 0,
            places: 0,
            vmsas: vec![],
        },
    };
    let zeros = [0; PAGE as usize];
    let mut kvm_vmsas = vec![None; vcpus as usize];
    for directive in directives {
        match directive {
            Directive::Page {
                gpa,
                kind,
                unmeasured,
                bytes,
            } => {
                let contents = Some(bytes.unwrap_or(&zeros));
                match kind {
                    Kind::Secrets => chain.update(launch::PAGE_TYPE_SECRETS, gpa, None),
                    Kind::Cpuid => chain.update(launch::PAGE_TYPE_CPUID, gpa, None),
                    Kind::Normal if unmeasured => {
                        chain.update(launch::PAGE_TYPE_UNMEASURED, gpa, None);
                    }
                    Kind::Normal => chain.update(launch::PAGE_TYPE_NORMAL, gpa, contents),
                }
            }
            Directive::Parameters { gpa, size } => {
                for page in (gpa..gpa + size).step_by(PAGE as usize) {
                    chain.update(launch::PAGE_TYPE_UNMEASURED, page, None);
                }
            }
            Directive::Vcpu { gpa, index, vmsa } => match vmsas {
                Vmsas::First => {
                    chain.update(launch::PAGE_TYPE_VMSA, gpa, Some(vmsa));
                    chain.measurement.vmsas.push((index.into(), gpa));
                }
                Vmsas::Kvm => {
                    if let Some(slot) = kvm_vmsas.get_mut(usize::from(index)) {
                        *slot = Some(vmsa.to_vec());
                    }
                }
            },
        }
    }
    if vmsas == Vmsas::Kvm {
        let first = kvm_vmsas.first().and_then(Option::as_deref);
        let first = first.and_then(|bytes| Vmsa::read_from_bytes(bytes).ok());
        let features = first.map_or(sev_features::SNP_ACTIVE, |vmsa| vmsa.sev_features);
        let reset = super::vmsa::reset(signature, features);
        for (index, given) in kvm_vmsas.into_iter().enumerate() {
            let vmsa = given.unwrap_or_else(|| reset.as_bytes().to_vec());
            chain.update(launch::PAGE_TYPE_VMSA, launch::KVM_VMSA_GPA, Some(&vmsa));
            chain
                .measurement
                .vmsas
                .push((index as u32, launch::KVM_VMSA_GPA));
        }
    }
    Ok(chain.measurement)
}

#[cfg(test)]
mod tests;
