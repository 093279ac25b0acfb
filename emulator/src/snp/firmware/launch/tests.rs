// SPDX-License-Identifier: MIT OR Apache-2.0
//! The launch digest against that of the `sev` crate, which this project did not write, and the
//! rules of a launch.

extern crate std;

use std::io::Write as _;
use std::vec::Vec;

use sev::measurement::snp::{SnpMeasurementArgs, snp_calc_launch_digest};
use sev::measurement::vcpu_types::CpuType;
use sev::measurement::vmsa::{GuestFeatures, VMMType, VMSA};

use super::*;

const POLICY: u64 = policy::ONE | policy::SMT;

/// An entry of the table at the end of OVMF: contents, length, GUID (as Windows has it).
fn table_entry(contents: &[u8], guid: u128) -> Vec<u8> {
    let mut entry = contents.to_vec();
    entry.extend((contents.len() as u16 + 18).to_le_bytes());
    let bytes = guid.to_be_bytes();
    entry.extend([3, 2, 1, 0, 5, 4, 7, 6].map(|index| bytes[index]));
    entry.extend(&bytes[8..]);
    entry
}

const RESET_EIP: u32 = 0x0080_B004;
const ZERO_GPA: u32 = 0x0080_0000;
const SECRETS_GPA: u32 = 0x0080_D000;
const CPUID_GPA: u32 = 0x0080_E000;

/// A firmware image as the `sev` crate wants it: the only way to have it measure pages.
fn firmware() -> Vec<u8> {
    let mut image: Vec<u8> = (0..4 * 4096_u32).map(|byte| (byte / 7) as u8).collect();
    // Zeros, secrets, CPUID; each: address, size, type.
    let mut metadata = b"ASEV".to_vec();
    for word in [16 + 3 * 12, 1, 3]
        .into_iter()
        .chain([ZERO_GPA, 0x3000, 1])
        .chain([SECRETS_GPA, 0x1000, 2])
        .chain([CPUID_GPA, 0x1000, 3])
    {
        metadata.extend(word.to_le_bytes());
    }
    let from_end = 0x1000_u32;
    let start = image.len() - from_end as usize;
    image[start..start + metadata.len()].copy_from_slice(&metadata);

    let mut table = table_entry(
        &RESET_EIP.to_le_bytes(),
        0x00f771de_1a7e_4fcb_890e_68c77e2fb44e,
    );
    table.extend(table_entry(
        &from_end.to_le_bytes(),
        0xdc886566_984a_4798_a75e_5585a7bf67cc,
    ));
    let footer = table_entry(&[], 0x96b582de_1fb2_45f7_baea_a366c55a082d);
    table.extend(footer);
    // The footer's length is that of the whole table.
    let length_at = table.len() - 18;
    let length = (table.len() as u16).to_le_bytes();
    table[length_at..length_at + 2].copy_from_slice(&length);
    let end = image.len() - 32;
    image[end - table.len()..end].copy_from_slice(&table);
    image
}

fn whole_page(bytes: &[u8]) -> [u8; PAGE_SIZE] {
    let mut page = [0; PAGE_SIZE];
    page[..bytes.len()].copy_from_slice(bytes);
    page
}

#[test]
fn digest_is_that_of_the_sev_crate() {
    for vcpus in [1, 4] {
        let image = firmware();
        let folder = std::env::temp_dir().join(std::format!(
            "parapet-launch-{}-{vcpus}",
            std::process::id()
        ));
        let mut file = std::fs::File::create(&folder).unwrap();
        file.write_all(&image).unwrap();
        let features = GuestFeatures(1);
        let expected = snp_calc_launch_digest(SnpMeasurementArgs {
            vcpus,
            vcpu_type: CpuType::EpycMilan,
            ovmf_file: folder.clone(),
            guest_features: features,
            kernel_file: None,
            initrd_file: None,
            append: None,
            ovmf_hash_str: None,
            vmm_type: Some(VMMType::QEMU),
        });
        std::fs::remove_file(&folder).unwrap();

        let mut launch = Launch::start(POLICY, 0).unwrap();
        let none = [Permissions::empty(); 3];
        let base = (1 << 32) - image.len() as u64;
        for (index, page) in image.chunks_exact(PAGE_SIZE).enumerate() {
            let digest = contents_digest(page.try_into().unwrap());
            let gpa = base + (index * PAGE_SIZE) as u64;
            launch.update(Measured::Normal(digest), gpa, none).unwrap();
        }
        for page in 0..3 {
            let gpa = u64::from(ZERO_GPA) + page * 4096;
            launch.update(Measured::Zero, gpa, none).unwrap();
        }
        let secrets = Measured::Secrets;
        launch.update(secrets, SECRETS_GPA.into(), none).unwrap();
        launch
            .update(Measured::Cpuid, CPUID_GPA.into(), none)
            .unwrap();
        let vmsa = VMSA::new(
            RESET_EIP.into(),
            CpuType::EpycMilan,
            VMMType::QEMU,
            Some(vcpus.into()),
            features,
        );
        let pages = vmsa.pages(vcpus as usize).unwrap();
        assert_eq!(pages.len(), vcpus as usize);
        for page in pages {
            launch.update_vmsa(contents_digest(&whole_page(&page)));
        }
        let expected: Vec<u8> = expected.unwrap().try_into().unwrap();
        assert_eq!(launch.digest()[..], expected);
    }
}

/// The `sev` crate's registers lie where our definition of the page has them.
#[test]
fn vmsa_is_laid_out_as_in_the_sev_crate() {
    let page = VMSA::new(
        RESET_EIP.into(),
        CpuType::EpycMilan,
        VMMType::QEMU,
        Some(1),
        GuestFeatures(0x21),
    )
    .pages(2)
    .unwrap()
    .pop()
    .unwrap();
    let page = whole_page(&page);
    let vmsa: snp_defs::vmsa::Vmsa = zerocopy::transmute!(page);
    assert_eq!((vmsa.rip, vmsa.cs.base), (0xB004, 0x80_0000));
    assert_eq!((vmsa.efer, vmsa.cr0, vmsa.cr4), (0x1000, 0x10, 0x40));
    assert_eq!((vmsa.dr6, vmsa.dr7, vmsa.rflags), (0xFFFF_0FF0, 0x400, 2));
    assert_eq!((vmsa.g_pat, vmsa.xcr0), (0x0007_0406_0007_0406, 1));
    assert_eq!((vmsa.sev_features, vmsa.rdx), (0x21, 0x00A0_0F11));
    assert_eq!((vmsa.mxcsr, vmsa.x87_fcw), (0x1F80, 0x37F));
    assert_eq!((vmsa.tr.attributes, vmsa.ldtr.attributes), (0x8B, 0x82));
}

#[test]
fn everything_about_a_page_counts() {
    let none = [Permissions::empty(); 3];
    let read = [
        Permissions::READ,
        Permissions::empty(),
        Permissions::empty(),
    ];
    let last = [
        Permissions::empty(),
        Permissions::empty(),
        Permissions::READ,
    ];
    let (a, b) = ([1; DIGEST_SIZE], [2; DIGEST_SIZE]);
    let cases = [
        (Measured::Normal(a), 0x1000, none),
        (Measured::Normal(b), 0x1000, none),
        (Measured::Normal(a), 0x2000, none),
        (Measured::Normal(a), 0x1000, read),
        (Measured::Normal(a), 0x1000, last),
        (Measured::Vmsa(a), 0x1000, none),
        (Measured::Zero, 0x1000, none),
        (Measured::Unmeasured, 0x1000, none),
        (Measured::Secrets, 0x1000, none),
        (Measured::Cpuid, 0x1000, none),
    ];
    let digests: Vec<_> = cases
        .into_iter()
        .map(|(measured, gpa, permissions)| {
            let mut launch = Launch::start(POLICY, 0).unwrap();
            launch.update(measured, gpa, permissions).unwrap();
            *launch.digest()
        })
        .collect();
    for (index, digest) in digests.iter().enumerate() {
        assert!(!digests[index + 1..].contains(digest), "case {index}");
    }
}

#[test]
fn order_counts_and_keys_do_not() {
    let chain = |seed, gpas: &[u64]| {
        let mut launch = Launch::start(POLICY, seed).unwrap();
        for gpa in gpas {
            launch
                .update(Measured::Zero, *gpa, Default::default())
                .unwrap();
        }
        *launch.digest()
    };
    assert_eq!(chain(1, &[0x1000, 0x2000]), chain(2, &[0x1000, 0x2000]));
    assert_ne!(chain(1, &[0x1000, 0x2000]), chain(1, &[0x2000, 0x1000]));
}

#[test]
fn a_launch_has_rules() {
    let start = |policy| Launch::start(policy, 0).map(|_| ());
    assert_eq!(start(POLICY), Ok(()));
    assert_eq!(
        start(POLICY | policy::DEBUG | policy::SINGLE_SOCKET),
        Ok(())
    );
    assert_eq!(start(policy::SMT), Err(Status::InvalidParameter));
    assert_eq!(start(POLICY | 1 << 40), Err(Status::InvalidParameter));
    assert_eq!(
        start(POLICY | policy::MIGRATE_MA),
        Err(Status::PolicyFailure)
    );
    assert_eq!(start(POLICY | 0x0137), Ok(()));
    assert_eq!(start(POLICY | 0x0138), Err(Status::PolicyFailure));
    assert_eq!(start(POLICY | 0x0200), Err(Status::PolicyFailure));
    let mut launch = Launch::start(POLICY, 0).unwrap();
    let unaligned = launch.update(Measured::Zero, 0x1001, Default::default());
    assert_eq!(unaligned, Err(Status::InvalidAddress));
    assert_eq!(*launch.digest(), [0; DIGEST_SIZE]);
    assert_eq!(launch.policy(), POLICY);
}

#[test]
fn keys_come_from_the_seed() {
    let key = |seed| Launch::start(POLICY, seed).unwrap().secrets_page(0).vmpck;
    assert_eq!(key(1), key(1));
    let all: Vec<_> = [key(1), key(2)].concat();
    for (index, key) in all.iter().enumerate() {
        assert!(!all[index + 1..].contains(key));
    }
}
