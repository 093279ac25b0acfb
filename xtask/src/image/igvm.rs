// SPDX-License-Identifier: MIT OR Apache-2.0
//! The image as a file: IGVM, version 1, for one platform (crate `igvm_defs` has the format).
//!
//! The order of directives is the order of the launch digest. QEMU's loader joins neighbouring pages
//! and gives a run to the firmware only when the next one begins, but a parameter area at once; so
//! that every loader comes to the same digest, parameter areas are first, then pages by ascending
//! address, then the first vCPU.
//!
//! A page of zeros has a place in the data like any other, one for all of them. The format lets a
//! file leave it out, but then some loaders have it measured as a page of zeros and others as a normal
//! page that happens to hold zeros, and QEMU takes the two for different runs of memory.

use anyhow::{Context as _, Result, bail, ensure};
use igvm_defs::{
    IGVM_FIXED_HEADER, IGVM_FORMAT_VERSION_1, IGVM_MAGIC_VALUE, IGVM_SEV_SNP_PLATFORM_VERSION,
    IGVM_VHS_GUEST_POLICY, IGVM_VHS_PAGE_DATA, IGVM_VHS_PARAMETER, IGVM_VHS_PARAMETER_AREA,
    IGVM_VHS_PARAMETER_INSERT, IGVM_VHS_REQUIRED_MEMORY, IGVM_VHS_SUPPORTED_PLATFORM,
    IGVM_VHS_VARIABLE_HEADER, IGVM_VHS_VP_CONTEXT, IgvmPageDataFlags, IgvmPageDataType,
    IgvmPlatformType, IgvmVariableHeaderType,
};
use snp_defs::vmsa::Vmsa;
use std::ops::Range;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::contents::{Contents, Kind, PAGE};

/// The bit for the SNP platform in all headers of the file.
const MASK: u32 = 1;

/// What a file says beside the pages.
#[derive(Debug)]
pub(crate) struct Launch {
    /// Guest policy (56860, 4.3).
    pub(crate) policy: u64,
    /// Where the loader writes its memory map, unmeasured.
    pub(crate) memory_map: Option<Range<u64>>,
    /// Memory that must be there, but that is no part of the image.
    pub(crate) required: Vec<Range<u64>>,
    /// Where the first vCPU's VMSA lies.
    pub(crate) vmsa_gpa: u64,
    /// The VMSA.
    pub(crate) vmsa: Box<Vmsa>,
    /// A more privileged VMPL than the guest's stays in the machine.
    pub(crate) svsm: bool,
}

/// Makes the file.
pub(crate) fn write(contents: &Contents, launch: &Launch) -> Result<Vec<u8>> {
    use IgvmVariableHeaderType as Type;
    let mut headers = Vec::new();
    let platform = IGVM_VHS_SUPPORTED_PLATFORM {
        compatibility_mask: MASK,
        highest_vtl: if launch.svsm { 2 } else { 0 },
        platform_type: IgvmPlatformType::SEV_SNP,
        platform_version: IGVM_SEV_SNP_PLATFORM_VERSION,
        // The guest tells private from shared memory by the C-bit, not by an address.
        shared_gpa_boundary: 0,
    };
    append(&mut headers, Type::IGVM_VHT_SUPPORTED_PLATFORM, &platform);
    let policy = IGVM_VHS_GUEST_POLICY {
        policy: launch.policy,
        compatibility_mask: MASK,
        reserved: 0,
    };
    append(&mut headers, Type::IGVM_VHT_GUEST_POLICY, &policy);
    if let Some(range) = &launch.memory_map {
        let (parameter_area_index, compatibility_mask) = (0, MASK);
        let number_of_bytes = range.end - range.start;
        let area = IGVM_VHS_PARAMETER_AREA {
            number_of_bytes,
            parameter_area_index,
            file_offset: 0,
        };
        append(&mut headers, Type::IGVM_VHT_PARAMETER_AREA, &area);
        let map = IGVM_VHS_PARAMETER {
            parameter_area_index,
            byte_offset: 0,
        };
        append(&mut headers, Type::IGVM_VHT_MEMORY_MAP, &map);
        let insert = IGVM_VHS_PARAMETER_INSERT {
            gpa: range.start,
            compatibility_mask,
            parameter_area_index,
        };
        append(&mut headers, Type::IGVM_VHT_PARAMETER_INSERT, &insert);
    }
    for range in &launch.required {
        let mut required = IGVM_VHS_REQUIRED_MEMORY::new_zeroed();
        required.gpa = range.start;
        required.compatibility_mask = MASK;
        required.number_of_bytes = (range.end - range.start) as u32;
        append(&mut headers, Type::IGVM_VHT_REQUIRED_MEMORY, &required);
    }
    // The length of all headers must be known before the first offset into the data behind them.
    let page_header = size_of::<IGVM_VHS_VARIABLE_HEADER>() + size_of::<IGVM_VHS_PAGE_DATA>();
    let vp_header = size_of::<IGVM_VHS_VARIABLE_HEADER>() + size_of::<IGVM_VHS_VP_CONTEXT>();
    let headers_size =
        headers.len() + contents.pages().count() * page_header + vp_header.next_multiple_of(8);
    let data_start = size_of::<IGVM_FIXED_HEADER>() + headers_size;
    let zeros_start = data_start + contents.data().len();
    let vmsa_start = zeros_start + PAGE as usize;
    let total = vmsa_start + size_of::<Vmsa>();
    let total_file_size = u32::try_from(total).context("an image has at most 4 GiB")?;

    for (gpa, page) in contents.pages() {
        let file_offset = match (page.kind, page.data) {
            (_, Some(offset)) => data_start + offset,
            (Kind::Normal, None) => zeros_start,
            (Kind::Secrets | Kind::Cpuid, None) => 0,
        };
        let header = IGVM_VHS_PAGE_DATA {
            gpa,
            compatibility_mask: MASK,
            file_offset: file_offset as u32,
            flags: IgvmPageDataFlags::new(),
            data_type: match page.kind {
                Kind::Normal => IgvmPageDataType::NORMAL,
                Kind::Secrets => IgvmPageDataType::SECRETS,
                Kind::Cpuid => IgvmPageDataType::CPUID_DATA,
            },
            reserved: 0,
        };
        append(&mut headers, Type::IGVM_VHT_PAGE_DATA, &header);
    }
    let mut vp = IGVM_VHS_VP_CONTEXT::new_zeroed();
    vp.gpa = launch.vmsa_gpa.into();
    vp.compatibility_mask = MASK;
    vp.file_offset = vmsa_start as u32;
    append(&mut headers, Type::IGVM_VHT_VP_CONTEXT, &vp);
    ensure!(
        headers.len() == headers_size,
        "the image's headers have another size than planned"
    );

    let mut fixed = IGVM_FIXED_HEADER {
        magic: IGVM_MAGIC_VALUE,
        format_version: IGVM_FORMAT_VERSION_1,
        variable_header_offset: size_of::<IGVM_FIXED_HEADER>() as u32,
        variable_header_size: headers_size as u32,
        total_file_size,
        checksum: 0,
    };
    fixed.checksum = crc32(&[fixed.as_bytes(), &headers]);
    let mut file = Vec::with_capacity(total);
    file.extend_from_slice(fixed.as_bytes());
    file.extend_from_slice(&headers);
    file.extend_from_slice(contents.data());
    file.resize(vmsa_start, 0);
    file.extend_from_slice(launch.vmsa.as_bytes());
    Ok(file)
}

fn append<T: IntoBytes + Immutable>(
    headers: &mut Vec<u8>,
    typ: IgvmVariableHeaderType,
    structure: &T,
) {
    let length = size_of::<T>() as u32;
    headers.extend_from_slice(IGVM_VHS_VARIABLE_HEADER { typ, length }.as_bytes());
    headers.extend_from_slice(structure.as_bytes());
    headers.resize(headers.len().next_multiple_of(8), 0);
}

/// What a loader does, in order.
#[derive(Debug)]
pub(crate) enum Directive<'a> {
    /// A page; zeros where there are no bytes.
    Page {
        /// Where.
        gpa: u64,
        /// What kind.
        kind: Kind,
        /// Loaded, but not measured.
        unmeasured: bool,
        /// Contents.
        bytes: Option<&'a [u8]>,
    },
    /// Pages that the loader fills, not measured.
    Parameters {
        /// Where.
        gpa: u64,
        /// How many bytes.
        size: u64,
    },
    /// A vCPU's registers.
    Vcpu {
        /// Where its VMSA lies.
        gpa: u64,
        /// Which vCPU.
        index: u16,
        /// The VMSA.
        vmsa: &'a [u8],
    },
}

/// Reads what a file has the loader do on SNP: what counts for the digest. A file of another
/// builder is read as well, as far as its headers are known.
pub(crate) fn read(file: &[u8]) -> Result<Vec<Directive<'_>>> {
    use IgvmVariableHeaderType as Type;
    let fixed = prefix::<IGVM_FIXED_HEADER>(file)?;
    ensure!(fixed.magic == IGVM_MAGIC_VALUE, "it is no IGVM file");
    ensure!(
        fixed.format_version == IGVM_FORMAT_VERSION_1,
        "its format version is not 1"
    );
    let start = fixed.variable_header_offset as usize;
    let size = fixed.variable_header_size as usize;
    let mut headers = slice(file, start, size)?;
    let unsummed = IGVM_FIXED_HEADER {
        checksum: 0,
        ..fixed
    };
    ensure!(
        crc32(&[unsummed.as_bytes(), headers]) == fixed.checksum,
        "its checksum is wrong"
    );

    let mut mask = 0;
    let mut areas = Vec::new();
    let mut directives = Vec::new();
    while !headers.is_empty() {
        let header = prefix::<IGVM_VHS_VARIABLE_HEADER>(headers)?;
        let length = header.length as usize;
        let body = slice(headers, size_of::<IGVM_VHS_VARIABLE_HEADER>(), length)?;
        let next = (size_of::<IGVM_VHS_VARIABLE_HEADER>() + length).next_multiple_of(8);
        headers = headers.get(next..).unwrap_or_default();
        match header.typ {
            Type::IGVM_VHT_SUPPORTED_PLATFORM => {
                let platform = prefix::<IGVM_VHS_SUPPORTED_PLATFORM>(body)?;
                if platform.platform_type == IgvmPlatformType::SEV_SNP {
                    mask = platform.compatibility_mask;
                }
            }
            Type::IGVM_VHT_PAGE_DATA => {
                let page = prefix::<IGVM_VHS_PAGE_DATA>(body)?;
                if page.compatibility_mask & mask == 0 {
                    continue;
                }
                ensure!(
                    !page.flags.is_2mb_page(),
                    "pages of 2 MiB are not supported"
                );
                let bytes = match page.file_offset {
                    0 => None,
                    offset => Some(slice(file, offset as usize, PAGE as usize)?),
                };
                let kind = match page.data_type {
                    IgvmPageDataType::NORMAL => Kind::Normal,
                    IgvmPageDataType::SECRETS => Kind::Secrets,
                    IgvmPageDataType::CPUID_DATA | IgvmPageDataType::CPUID_XF => Kind::Cpuid,
                    other => bail!("its page type {other:?} is unknown"),
                };
                let unmeasured = page.flags.unmeasured();
                directives.push(Directive::Page {
                    gpa: page.gpa,
                    kind,
                    unmeasured,
                    bytes,
                });
            }
            Type::IGVM_VHT_PARAMETER_AREA => {
                let area = prefix::<IGVM_VHS_PARAMETER_AREA>(body)?;
                ensure!(
                    area.number_of_bytes <= 1 << 30,
                    "a parameter area is too large"
                );
                areas.push((area.parameter_area_index, area.number_of_bytes));
            }
            Type::IGVM_VHT_PARAMETER_INSERT => {
                let insert = prefix::<IGVM_VHS_PARAMETER_INSERT>(body)?;
                if insert.compatibility_mask & mask == 0 {
                    continue;
                }
                let area = areas
                    .iter()
                    .find(|area| area.0 == insert.parameter_area_index);
                let size = area
                    .context("it inserts a parameter area that it does not have")?
                    .1;
                directives.push(Directive::Parameters {
                    gpa: insert.gpa,
                    size,
                });
            }
            Type::IGVM_VHT_VP_CONTEXT => {
                let vp = prefix::<IGVM_VHS_VP_CONTEXT>(body)?;
                if vp.compatibility_mask & mask == 0 {
                    continue;
                }
                let vmsa = slice(file, vp.file_offset as usize, size_of::<Vmsa>())?;
                directives.push(Directive::Vcpu {
                    gpa: vp.gpa.get(),
                    index: vp.vp_index,
                    vmsa,
                });
            }
            // These say nothing that is measured.
            Type::IGVM_VHT_GUEST_POLICY
            | Type::IGVM_VHT_MEMORY_MAP
            | Type::IGVM_VHT_VP_COUNT_PARAMETER
            | Type::IGVM_VHT_REQUIRED_MEMORY
            | Type::IGVM_VHT_ENVIRONMENT_INFO_PARAMETER => {}
            other => bail!("its header {other:?} is unknown"),
        }
    }
    ensure!(mask != 0, "it is not for SEV-SNP");
    Ok(directives)
}

fn prefix<T: FromBytes>(bytes: &[u8]) -> Result<T> {
    match T::read_from_prefix(bytes) {
        Ok((value, _)) => Ok(value),
        Err(_) => bail!("it is cut short"),
    }
}

fn slice(bytes: &[u8], start: usize, size: usize) -> Result<&[u8]> {
    let end = start.checked_add(size);
    end.and_then(|end| bytes.get(start..end))
        .context("it is cut short")
}

/// CRC-32 as in IEEE 802.3, over the parts one after the other.
fn crc32(parts: &[&[u8]]) -> u32 {
    let mut crc = u32::MAX;
    for byte in parts.iter().copied().flatten() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ (0xEDB8_8320 & 0u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}
