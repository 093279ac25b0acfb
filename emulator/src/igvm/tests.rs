// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that the `igvm` crate wrote are read as it meant them; anything else is refused, by name,
//! and nothing panics.

extern crate std;

use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use igvm::snp_defs::SevVmsa;
use igvm::{
    IgvmDirectiveHeader, IgvmFile, IgvmInitializationHeader, IgvmPlatformHeader, IgvmRevision,
};
use igvm_defs::{
    IGVM_VHS_PARAMETER, IGVM_VHS_PARAMETER_INSERT, IGVM_VHS_SUPPORTED_PLATFORM, IgvmPageDataFlags,
    IgvmPageDataType, IgvmPlatformType,
};
use proptest::prelude::*;
use snp_defs::launch::KVM_VMSA_GPA;
use zerocopy::{FromZeros, IntoBytes};

use super::*;

const SNP: u32 = 1;
const NATIVE: u32 = 2;
const POLICY: u64 = 0x3_0000;

fn platform(mask: u32, platform_type: IgvmPlatformType) -> IgvmPlatformHeader {
    IgvmPlatformHeader::SupportedPlatform(IGVM_VHS_SUPPORTED_PLATFORM {
        compatibility_mask: mask,
        highest_vtl: 0,
        platform_type,
        platform_version: 1,
        shared_gpa_boundary: 0,
    })
}

fn policy() -> Vec<IgvmInitializationHeader> {
    vec![IgvmInitializationHeader::GuestPolicy {
        policy: POLICY,
        compatibility_mask: SNP,
    }]
}

fn page(
    mask: u32,
    gpa: u64,
    data_type: IgvmPageDataType,
    flags: IgvmPageDataFlags,
    data: &[u8],
) -> IgvmDirectiveHeader {
    IgvmDirectiveHeader::PageData {
        gpa,
        compatibility_mask: mask,
        flags,
        data_type,
        data: data.to_vec(),
    }
}

fn normal(gpa: u64, data: &[u8]) -> IgvmDirectiveHeader {
    page(
        SNP,
        gpa,
        IgvmPageDataType::NORMAL,
        IgvmPageDataFlags::new(),
        data,
    )
}

fn vmsa(rip: u64) -> Box<SevVmsa> {
    let mut vmsa = SevVmsa::new_box_zeroed().unwrap();
    vmsa.rip = rip;
    vmsa
}

fn context(vp_index: u16) -> IgvmDirectiveHeader {
    IgvmDirectiveHeader::SnpVpContext {
        gpa: KVM_VMSA_GPA,
        compatibility_mask: SNP,
        vp_index,
        vmsa: vmsa(0x1234),
    }
}

fn parameter(index: u32, offset: u32) -> IGVM_VHS_PARAMETER {
    IGVM_VHS_PARAMETER {
        parameter_area_index: index,
        byte_offset: offset,
    }
}

/// A file that has everything that is supported, and a second platform.
fn whole() -> Vec<u8> {
    let plain = IgvmPageDataFlags::new();
    write(
        policy(),
        vec![
            normal(0x1000, &[0xAA; 4096]),
            normal(0x2000, &[0xBB; 10]),
            normal(0x3000, &[]),
            page(
                SNP,
                0x4000,
                IgvmPageDataType::NORMAL,
                plain.with_unmeasured(true),
                &[0xCC; 4096],
            ),
            page(SNP, 0x5000, IgvmPageDataType::SECRETS, plain, &[]),
            page(SNP, 0x6000, IgvmPageDataType::CPUID_DATA, plain, &[]),
            page(
                NATIVE,
                0x1000,
                IgvmPageDataType::NORMAL,
                plain,
                &[0xDD; 4096],
            ),
            IgvmDirectiveHeader::ParameterArea {
                number_of_bytes: 8192,
                parameter_area_index: 7,
                initial_data: vec![],
            },
            IgvmDirectiveHeader::VpCount(parameter(7, 0)),
            IgvmDirectiveHeader::MemoryMap(parameter(7, 4096)),
            IgvmDirectiveHeader::EnvironmentInfo(parameter(7, 8)),
            IgvmDirectiveHeader::ParameterInsert(IGVM_VHS_PARAMETER_INSERT {
                gpa: 0x8000,
                compatibility_mask: SNP,
                parameter_area_index: 7,
            }),
            IgvmDirectiveHeader::RequiredMemory {
                gpa: 0x10_0000,
                compatibility_mask: SNP,
                number_of_bytes: 0x20_0000,
                vtl2_protectable: false,
            },
            context(0),
            context(1),
        ],
    )
}

fn write(init: Vec<IgvmInitializationHeader>, directives: Vec<IgvmDirectiveHeader>) -> Vec<u8> {
    let platforms = vec![
        platform(SNP, IgvmPlatformType::SEV_SNP),
        platform(NATIVE, IgvmPlatformType::NATIVE),
    ];
    let file = IgvmFile::new(IgvmRevision::V1, platforms, init, directives).unwrap();
    let mut bytes = Vec::new();
    file.serialize(&mut bytes).unwrap();
    bytes
}

/// Makes the checksum right again after `edit`.
fn edited(mut file: Vec<u8>, edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    edit(&mut file);
    reseal(&mut file);
    file
}

fn reseal(file: &mut [u8]) {
    let Ok((mut fixed, _)) = IGVM_FIXED_HEADER::read_from_prefix(file) else {
        return;
    };
    fixed.checksum = 0;
    let start = fixed.variable_header_offset as usize;
    let end = start.saturating_add(fixed.variable_header_size as usize);
    if let Some(headers) = file.get(start..end) {
        let checksum = crc32::checksum(&[fixed.as_bytes(), headers]);
        file[20..24].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// The offset in `file` of the first header of a type.
fn find(file: &[u8], kind: IgvmVariableHeaderType) -> usize {
    let mut at = 24;
    while file[at..at + 4] != kind.0.to_le_bytes() {
        let length = u32::from_le_bytes(file[at + 4..at + 8].try_into().unwrap());
        at += 8 + (length as usize).next_multiple_of(8);
    }
    at
}

fn problem(file: &[u8]) -> Problem {
    Image::parse(file).unwrap_err().problem
}

#[test]
fn reads_what_the_igvm_crate_writes() {
    let file = whole();
    let image = Image::parse(&file).unwrap();
    assert_eq!(image.policy(), POLICY);
    assert_eq!(image.shared_gpa_boundary(), 0);
    let mut padded = [0; 4096];
    padded[..10].fill(0xBB);
    let pages: Vec<_> = image
        .directives()
        .filter_map(|directive| match directive {
            Directive::Page(page) => Some((page.gpa, page.kind, page.contents.copied())),
            _ => None,
        })
        .collect();
    assert_eq!(
        pages,
        [
            (0x1000, PageKind::Normal, Some([0xAA; 4096])),
            (0x2000, PageKind::Normal, Some(padded)),
            (0x3000, PageKind::Zero, None),
            (0x4000, PageKind::Unmeasured, Some([0xCC; 4096])),
            (0x5000, PageKind::Secrets, None),
            (0x6000, PageKind::Cpuid, None),
        ]
    );
    let rest: Vec<_> = image
        .directives()
        .filter(|directive| !matches!(directive, Directive::Page(_)))
        .collect();
    assert!(matches!(
        rest[..],
        [
            Directive::ParameterArea {
                index: 7,
                size: 8192,
                contents: None,
            },
            Directive::VpCount(Place {
                index: 7,
                offset: 0
            }),
            Directive::MemoryMap(Place {
                index: 7,
                offset: 4096
            }),
            Directive::EnvironmentInfo(Place {
                index: 7,
                offset: 8
            }),
            Directive::ParameterInsert {
                gpa: 0x8000,
                index: 7
            },
            Directive::RequiredMemory {
                gpa: 0x10_0000,
                size: 0x20_0000
            },
            Directive::VpContext {
                gpa: KVM_VMSA_GPA,
                vp_index: 0,
                ..
            },
            Directive::VpContext { vp_index: 1, .. },
        ]
    ));
    let Directive::VpContext { vmsa: found, .. } = rest[6] else {
        unreachable!();
    };
    let expected = vmsa(0x1234);
    assert_eq!(found[..size_of::<SevVmsa>()], *expected.as_bytes());
    let read: &snp_defs::vmsa::Vmsa = &zerocopy::transmute!(*found);
    assert_eq!(read.rip, 0x1234);
}

#[test]
fn an_id_block_is_handed_on_as_it_is() {
    use igvm_defs::{IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY, IGVM_VHS_SNP_ID_BLOCK_SIGNATURE};
    let file = write(
        policy(),
        vec![
            context(0),
            IgvmDirectiveHeader::SnpIdBlock {
                compatibility_mask: SNP,
                author_key_enabled: 0,
                reserved: [0; 3],
                ld: [0x11; 48],
                family_id: [0x22; 16],
                image_id: [0x33; 16],
                version: 1,
                guest_svn: 5,
                id_key_algorithm: 1,
                author_key_algorithm: 0,
                id_key_signature: Box::new(IGVM_VHS_SNP_ID_BLOCK_SIGNATURE::new_zeroed()),
                id_public_key: Box::new(IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY::new_zeroed()),
                author_key_signature: Box::new(IGVM_VHS_SNP_ID_BLOCK_SIGNATURE::new_zeroed()),
                author_public_key: Box::new(IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY::new_zeroed()),
            },
        ],
    );
    let image = Image::parse(&file).unwrap();
    let block = image
        .directives()
        .find_map(|directive| match directive {
            Directive::IdBlock(block) => IGVM_VHS_SNP_ID_BLOCK::read_from_bytes(block).ok(),
            _ => None,
        })
        .unwrap();
    assert_eq!((block.ld, block.guest_svn), ([0x11; 48], 5));
}

#[test]
fn the_file_as_a_whole() {
    let file = whole();
    assert_eq!(problem(&[]), Problem::TooShort);
    assert_eq!(problem(&file[..23]), Problem::TooShort);
    assert_eq!(problem(&file[..file.len() - 1]), Problem::FileSize);
    assert_eq!(
        problem(&[file.as_slice(), &[0]].concat()),
        Problem::FileSize
    );
    assert_eq!(
        problem(&edited(file.clone(), |f| f[0] = b'X')),
        Problem::Magic
    );
    assert_eq!(
        problem(&edited(file.clone(), |f| f[4] = 2)),
        Problem::FormatVersion
    );
    let mut corrupt = file.clone();
    corrupt[40] ^= 1;
    assert_eq!(problem(&corrupt), Problem::Checksum);
    assert_eq!(
        problem(&edited(file.clone(), |f| f[8] = 16)),
        Problem::HeaderBounds
    );
    assert_eq!(
        problem(&edited(file.clone(), |f| f[8] = 25)),
        Problem::HeaderBounds
    );
    assert_eq!(
        problem(&edited(file.clone(), |f| f[15] = 0xFF)),
        Problem::HeaderBounds
    );
    assert_eq!(
        problem(&edited(file, |f| f[12] -= 8)),
        Problem::HeaderLength
    );
}

#[test]
fn what_a_machine_needs_has_to_be_there() {
    assert_eq!(problem(&write(policy(), vec![])), Problem::NoFirstContext);
    assert_eq!(
        problem(&write(policy(), vec![context(1)])),
        Problem::NoFirstContext
    );
    assert_eq!(
        problem(&write(vec![], vec![context(0)])),
        Problem::NoGuestPolicy
    );
    let native = IgvmFile::new(
        IgvmRevision::V1,
        vec![platform(NATIVE, IgvmPlatformType::NATIVE)],
        vec![],
        vec![],
    )
    .unwrap();
    let mut bytes = Vec::new();
    native.serialize(&mut bytes).unwrap();
    assert_eq!(problem(&bytes), Problem::NoSnpPlatform);
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let plain = IgvmPageDataFlags::new();
    let with = |directive| problem(&write(policy(), vec![context(0), directive]));
    let area = || IgvmDirectiveHeader::ParameterArea {
        number_of_bytes: 4096,
        parameter_area_index: 0,
        initial_data: vec![],
    };
    assert_eq!(
        with(page(
            SNP,
            0x1000,
            IgvmPageDataType::NORMAL,
            plain.with_shared(true),
            &[]
        )),
        Problem::Unsupported("a shared page")
    );
    assert_eq!(
        problem(&write(
            policy(),
            vec![
                area(),
                IgvmDirectiveHeader::Madt(parameter(0, 0)),
                context(0)
            ]
        )),
        Problem::Unsupported("the MADT parameter")
    );
    let mut file = whole();
    let at = find(&file, IgvmVariableHeaderType::IGVM_VHT_REQUIRED_MEMORY);
    file = edited(file, |f| {
        f[at..at + 4].copy_from_slice(&0x3F0_u32.to_le_bytes())
    });
    assert_eq!(problem(&file), Problem::UnknownType(0x3F0));
    // The same header, marked as one that may be passed over.
    file = edited(file, |f| f[at + 3] = 0x80);
    let image = Image::parse(&file).unwrap();
    assert!(
        !image
            .directives()
            .any(|d| matches!(d, Directive::RequiredMemory { .. }))
    );
    // A type outside of all sections.
    let unknown = edited(file.clone(), |f| f[at + 1] = 0x7F);
    assert!(Image::parse(&unknown).is_ok());
    let unknown = edited(unknown, |f| f[at + 3] = 0);
    assert_eq!(problem(&unknown), Problem::UnknownType(0x7FF0));
}

#[test]
fn sections_keep_their_order() {
    let file = edited(whole(), |f| {
        // The policy and the platform before it have the same size.
        let init = find(f, IgvmVariableHeaderType::IGVM_VHT_GUEST_POLICY);
        let (front, back) = f.split_at_mut(init);
        front[init - 24..].swap_with_slice(&mut back[..24]);
    });
    assert_eq!(problem(&file), Problem::SectionOrder);
}

#[test]
fn fields_of_a_page_are_checked() {
    let at = find(&whole(), IgvmVariableHeaderType::IGVM_VHT_PAGE_DATA) + 8;
    let with = |offset: usize, byte: u8| problem(&edited(whole(), |f| f[at + offset] = byte));
    assert_eq!(with(0, 1), Problem::Address);
    assert_eq!(with(7, 1), Problem::Address);
    assert_eq!(with(8, 0), Problem::CompatibilityMask);
    assert_eq!(with(13, 1), Problem::DataBounds);
    assert_eq!(with(15, 0x7F), Problem::DataBounds);
    assert_eq!(with(16, 1), Problem::Unsupported("a 2M page"));
    assert_eq!(with(16, 8), Problem::Reserved);
    assert_eq!(with(20, 3), Problem::Unsupported("a page of type CPUID_XF"));
    assert_eq!(with(20, 9), Problem::Unsupported("an unknown page type"));
    assert_eq!(with(22, 1), Problem::Reserved);
    // The last page of the file, but one byte too far.
    let file = edited(whole(), |f| {
        let last = (f.len() - 4095) as u32;
        f[at + 12..at + 16].copy_from_slice(&last.to_le_bytes());
    });
    assert_eq!(problem(&file), Problem::DataBounds);
}

#[test]
fn parameters_stay_in_their_area() {
    let area = |index, number_of_bytes| IgvmDirectiveHeader::ParameterArea {
        number_of_bytes,
        parameter_area_index: index,
        initial_data: vec![1],
    };
    let insert = |index| {
        IgvmDirectiveHeader::ParameterInsert(IGVM_VHS_PARAMETER_INSERT {
            gpa: 0x1000,
            compatibility_mask: SNP,
            parameter_area_index: index,
        })
    };
    let count = |index, offset| IgvmDirectiveHeader::VpCount(parameter(index, offset));
    // The `igvm` crate itself refuses to write some of these, so the valid file is edited instead.
    let file = write(
        policy(),
        vec![area(0, 4096), count(0, 4092), insert(0), context(0)],
    );
    let image = Image::parse(&file).unwrap();
    let Some(Directive::ParameterArea {
        contents: Some(contents),
        ..
    }) = image.directives().next()
    else {
        panic!("the area's contents are gone");
    };
    assert_eq!(contents[..2], [1, 0]);
    let at = find(&file, IgvmVariableHeaderType::IGVM_VHT_VP_COUNT_PARAMETER) + 8;
    assert_eq!(
        problem(&edited(file.clone(), |f| f[at + 4] += 1)),
        Problem::AreaBounds
    );
    assert_eq!(
        problem(&edited(file.clone(), |f| f[at + 7] = 0xFF)),
        Problem::AreaBounds
    );
    assert_eq!(
        problem(&edited(file.clone(), |f| f[at] = 1)),
        Problem::NoSuchArea
    );
    let at = find(&file, IgvmVariableHeaderType::IGVM_VHT_PARAMETER_AREA) + 8;
    for (offset, byte) in [(0, 1), (1, 0), (3, 1)] {
        assert_eq!(
            problem(&edited(file.clone(), |f| f[at + offset] = byte)),
            Problem::Size
        );
    }
    let after = edited(file, |f| {
        // Insert first, count afterwards; both headers have a content of up to 16 bytes.
        let count = find(f, IgvmVariableHeaderType::IGVM_VHT_VP_COUNT_PARAMETER);
        f[count..count + 40].rotate_left(16);
    });
    assert_eq!(problem(&after), Problem::NoSuchArea);
    let many = (0..=MAX_PARAMETER_AREAS as u32).map(|index| area(index, 4096));
    assert_eq!(
        problem(&write(policy(), many.chain([context(0)]).collect())),
        Problem::TooManyAreas
    );
}

/// Walks everything that a file yields.
fn walk(file: &[u8]) -> usize {
    match Image::parse(file) {
        Ok(image) => image.directives().count(),
        Err(error) => std::format!("{error}").len(),
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        walk(&bytes);
        let mut file = b"IGVM\x01\0\0\0\x18\0\0\0".to_vec();
        file.extend(bytes);
        if file.len() >= 24 {
            let total = file.len() as u32;
            file[12..16].copy_from_slice(&(total - 24).to_le_bytes());
            file[16..20].copy_from_slice(&total.to_le_bytes());
            reseal(&mut file);
        }
        walk(&file);
    }

    #[test]
    fn no_change_to_a_good_file_makes_it_panic(
        changes in prop::collection::vec((24_usize..480, any::<u8>()), 1..6),
    ) {
        let mut file = whole();
        for (at, byte) in changes {
            file[at] = byte;
        }
        reseal(&mut file);
        walk(&file);
    }
}
