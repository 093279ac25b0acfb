// SPDX-License-Identifier: MIT OR Apache-2.0
//! The digest against the `sev` crate, which measures firmware images for hosts with KVM, and against
//! values of earlier builds.

use ::igvm::{
    IgvmDirectiveHeader, IgvmFile, IgvmInitializationHeader, IgvmPlatformHeader, IgvmRevision,
};
use igvm_defs::{
    IGVM_VHS_SUPPORTED_PLATFORM, IgvmPageDataFlags, IgvmPageDataType, IgvmPlatformType,
};
use sev::measurement::snp::{SnpMeasurementArgs, snp_calc_launch_digest};
use sev::measurement::vcpu_types::CpuType;
use sev::measurement::vmsa::{GuestFeatures, VMMType};

use super::*;
use crate::image::contents::Contents;
use crate::image::igvm::{Launch, write};
use crate::image::vmsa;

const SECRETS: u32 = 0x80_D000;
const CPUID: u32 = 0x80_E000;

/// A firmware image, no code in it but the tables by which a loader finds its way (OVMF's
/// `ResetVector`): where secrets and CPUID pages go, and that all vCPUs start at the reset vector.
fn firmware() -> Vec<u8> {
    const METADATA: u32 = 0x400;
    let mut image: Vec<u8> = (0..0x2_0000u32).map(|at| ((at * 7) >> 3) as u8).collect();
    let end = image.len();
    let at = end - METADATA as usize;
    let metadata = [
        u32::from_le_bytes(*b"ASEV"),
        16 + 24,
        1,
        2,
        SECRETS,
        4096,
        2,
        CPUID,
        4096,
        3,
    ];
    for (index, word) in metadata.iter().enumerate() {
        image[at + 4 * index..][..4].copy_from_slice(&word.to_le_bytes());
    }
    // The table is read from its end; an entry is data, size, GUID.
    let reset_block = "de71f7007e1acb4f890e68c77e2fb44e";
    let sev_metadata = "6665 88dc 4a98 9847 a75e 5585a7bf67cc";
    let footer = "de82b596b21ff745baeaa366c55a082d";
    let mut table = Vec::new();
    for (data, guid) in [(0xFFFF_FFF0u32, reset_block), (METADATA, sev_metadata)] {
        table.extend_from_slice(&data.to_le_bytes());
        table.extend_from_slice(&22u16.to_le_bytes());
        table.extend(hex(guid));
    }
    table.extend_from_slice(&(table.len() as u16 + 18).to_le_bytes());
    table.extend(hex(footer));
    let start = end - 32 - table.len();
    image[start..end - 32].copy_from_slice(&table);
    image
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .collect();
    digits
        .chunks(2)
        .map(|two| (two[0] * 16 + two[1]) as u8)
        .collect()
}

/// The firmware image as an IGVM file, written by the `igvm` crate.
fn firmware_as_igvm(firmware: &[u8]) -> Vec<u8> {
    let compatibility_mask = 1;
    let page = |gpa: u64, data_type, data: &[u8]| IgvmDirectiveHeader::PageData {
        gpa,
        compatibility_mask,
        flags: IgvmPageDataFlags::new(),
        data_type,
        data: data.to_vec(),
    };
    let base = (1 << 32) - firmware.len() as u64;
    let chunks = firmware.chunks(PAGE as usize).enumerate();
    let mut directives: Vec<IgvmDirectiveHeader> = chunks
        .map(|(index, data)| page(base + index as u64 * PAGE, IgvmPageDataType::NORMAL, data))
        .collect();
    directives.push(page(SECRETS.into(), IgvmPageDataType::SECRETS, &[]));
    directives.push(page(CPUID.into(), IgvmPageDataType::CPUID_DATA, &[]));
    let platform = IGVM_VHS_SUPPORTED_PLATFORM {
        compatibility_mask,
        highest_vtl: 0,
        platform_type: IgvmPlatformType::SEV_SNP,
        platform_version: 1,
        shared_gpa_boundary: 0,
    };
    let policy = IgvmInitializationHeader::GuestPolicy {
        policy: 0x3_0000,
        compatibility_mask,
    };
    let platforms = vec![IgvmPlatformHeader::SupportedPlatform(platform)];
    let file = IgvmFile::new(IgvmRevision::V1, platforms, vec![policy], directives).unwrap();
    let mut bytes = Vec::new();
    file.serialize(&mut bytes).unwrap();
    bytes
}

#[test]
fn the_sev_crate_comes_to_the_same_digest() {
    let firmware = firmware();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("firmware");
    std::fs::write(&path, &firmware).unwrap();
    let image = firmware_as_igvm(&firmware);
    for vcpus in [1, 2, 7] {
        let theirs = snp_calc_launch_digest(SnpMeasurementArgs {
            vcpus,
            vcpu_type: CpuType::EpycV4,
            ovmf_file: path.clone(),
            guest_features: GuestFeatures::default(),
            kernel_file: None,
            initrd_file: None,
            append: None,
            ovmf_hash_str: None,
            vmm_type: Some(VMMType::QEMU),
        })
        .unwrap();
        let ours = measure(&image, Vmsas::Kvm, vcpus, EPYC_V4).unwrap();
        let digest: Vec<u8> = theirs.try_into().unwrap();
        assert_eq!(ours.digest.as_slice(), digest, "{vcpus} vCPUs");
        assert_eq!(ours.vmsas.len() as u32, vcpus);
        assert_eq!((ours.pages, ours.places), (u64::from(vcpus) + 32, 2));
    }
}

/// A small image of ours.
fn image() -> Vec<u8> {
    let mut contents = Contents::default();
    contents.load("text", 0x1000, &[0xC3; 5000]).unwrap();
    contents.zeros("zeros", 0x8000, 0x2000).unwrap();
    contents
        .filled_by_loader("secrets", 0xA000, Kind::Secrets)
        .unwrap();
    contents
        .filled_by_loader("CPUID", 0xB000, Kind::Cpuid)
        .unwrap();
    let launch = Launch {
        policy: 0x3_0000,
        memory_map: Some(0xC000..0xD000),
        required: Vec::from([0xD000..0xE000, 0x10_D000..0x10_E000]),
        vmsa_gpa: 0xF000,
        vmsa: vmsa::boot(&vmsa::Entry {
            rip: 0x1000,
            features: 1 << 3,
            ..vmsa::Entry::default()
        }),
        svsm: true,
    };
    write(&contents, &launch).unwrap()
}

#[test]
fn a_digest_stays_what_it_was() {
    let digest = |vmsas, vcpus| -> String {
        let measured = measure(&image(), vmsas, vcpus, EPYC_V4).unwrap();
        crate::hex::hex(&measured.digest)
    };
    assert_eq!(
        digest(Vmsas::First, 1),
        "5382fb4d22124016f9ae8fa2b3e9fae17c0423941205904838f10f849904fb3d36f452c0173f4e16394b481fc5b04652"
    );
    assert_eq!(digest(Vmsas::First, 2), digest(Vmsas::First, 1));
    assert_eq!(
        digest(Vmsas::Kvm, 1),
        "d73dcabef50ce0e2d5b2e61f6c57dfc2221efe9e6332249f4776e8d633c81f9b1054a5f5cf1e61757b6201c5fd07b267"
    );
    assert_eq!(
        digest(Vmsas::Kvm, 2),
        "ad4fd6f8f3f054ed5de59c829424618979c43741d791f06768167fad5537d6f34c47b5064f4d9d990acf1f2972a2e89d"
    );
}

#[test]
fn all_vcpus_have_the_features_of_the_first() {
    let features = |vcpus| {
        measure(&image(), Vmsas::Kvm, vcpus, EPYC_V4)
            .unwrap()
            .digest
    };
    let reset = vmsa::reset(EPYC_V4, 1 | 1 << 3);
    let mut chain = Chain {
        measurement: measure(&image(), Vmsas::Kvm, 1, EPYC_V4).unwrap(),
    };
    chain.update(
        launch::PAGE_TYPE_VMSA,
        launch::KVM_VMSA_GPA,
        Some(reset.as_bytes()),
    );
    assert_eq!(chain.measurement.digest, features(2));
}

#[test]
fn what_was_measured_is_told() {
    let measured = measure(&image(), Vmsas::First, 4, EPYC_V4).unwrap();
    assert_eq!((measured.pages, measured.places), (5, 3));
    assert_eq!(measured.vmsas, [(0, 0xF000)]);
}

#[test]
fn damaged_files_are_refused() {
    let good = image();
    for at in [0, 4, 20, 30, 60] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(
            measure(&bad, Vmsas::First, 1, EPYC_V4).is_err(),
            "byte {at}"
        );
    }
    for length in 0..good.len() {
        assert!(
            measure(&good[..length], Vmsas::First, 1, EPYC_V4).is_err(),
            "{length} bytes"
        );
    }
}
