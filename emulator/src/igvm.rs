// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parser of the image: an IGVM file, read from a byte slice without allocation.
//!
//! [`Image::parse`] checks the whole file once: fixed header, checksum, section order, bounds,
//! alignment, reserved fields, types. What it returns can be walked any number of times and yields
//! nothing that was not checked. Only headers for the SEV-SNP platform of the file are seen; a
//! header that the loader can't carry out is refused by name, unless the file marks it optional.
//!
//! ```
//! # fn load(bytes: &[u8]) -> Result<(), emulator::igvm::Error> {
//! use emulator::igvm::{Directive, Image};
//!
//! let image = Image::parse(bytes)?;
//! for directive in image.directives() {
//!     if let Directive::Page(page) = directive {
//!         let _measured_at = page.gpa;
//!     }
//! }
//! # Ok(())
//! # }
//! # assert!(load(b"not an image").is_err());
//! ```
//!
//! Two pages at one address are not looked for here: the second one is refused where it is loaded,
//! because its page is assigned already, as on hardware.
//!
//! Layouts: crate `igvm_defs`, the published definition of the format, version 1.
#![forbid(unsafe_code)]

mod areas;
mod crc32;
mod error;
mod header;

pub use areas::MAX_PARAMETER_AREAS;
pub use error::{Error, Problem};

use core::fmt;

use igvm_defs::{
    IGVM_FIXED_HEADER, IGVM_FORMAT_VERSION_1, IGVM_MAGIC_VALUE, IGVM_SEV_SNP_PLATFORM_VERSION,
    IGVM_VHS_GUEST_POLICY, IGVM_VHS_SNP_ID_BLOCK, IGVM_VHS_SUPPORTED_PLATFORM, IgvmPlatformType,
    IgvmVariableHeaderType,
};
use zerocopy::{FromBytes, IntoBytes};

use areas::Areas;
use header::{Header, Headers, Section};

/// Bytes of a page, the granularity of everything that is loaded.
pub const PAGE_SIZE: usize = 4096;
/// An `IGVM_VHS_SNP_ID_BLOCK`, as it lies in the file.
pub type IdBlock = [u8; size_of::<IGVM_VHS_SNP_ID_BLOCK>()];
/// The most bytes of one parameter area.
pub const MAX_AREA_SIZE: u64 = 1 << 20;

/// A file that was checked as a whole.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    file: &'a [u8],
    headers: Headers<'a>,
    mask: u32,
    policy: u64,
    shared_gpa_boundary: u64,
}

/// One step of loading, for the SEV-SNP platform.
#[derive(Debug, Clone, Copy)]
pub enum Directive<'a> {
    /// Add a page to the guest and to its launch digest.
    Page(Page<'a>),
    /// Memory at the loader, filled with run-time parameters and inserted later.
    ParameterArea {
        /// The number by which later directives name it.
        index: u32,
        /// Bytes: a multiple of [`PAGE_SIZE`], not zero, at most [`MAX_AREA_SIZE`].
        size: usize,
        /// What it starts with; zeros when absent.
        contents: Option<&'a [u8]>,
    },
    /// Write the number of vCPUs into an area: a little endian `u32`.
    VpCount(Place),
    /// Write the memory map into an area: [`igvm_defs::IGVM_VHS_MEMORY_MAP_ENTRY`] until one with
    /// zero pages, or the end of the area.
    MemoryMap(Place),
    /// Write what the environment is like into an area: a little endian `u32`, bit 0 set when
    /// memory starts out shared.
    EnvironmentInfo(Place),
    /// Add an area's pages to the guest, unmeasured ([`snp_defs::launch::PAGE_TYPE_UNMEASURED`]).
    /// The area is not used afterwards.
    ParameterInsert {
        /// Address of the first page.
        gpa: u64,
        /// The area.
        index: u32,
    },
    /// This range has to be memory of the guest; nothing is loaded or measured.
    RequiredMemory {
        /// Address of the first page.
        gpa: u64,
        /// Bytes, a multiple of [`PAGE_SIZE`].
        size: u64,
    },
    /// The registers with which a vCPU starts.
    VpContext {
        /// Address under which it is measured ([`snp_defs::launch::KVM_VMSA_GPA`] on KVM).
        gpa: u64,
        /// Number of the vCPU; 0 starts first.
        vp_index: u16,
        /// The VMSA page.
        vmsa: &'a [u8; PAGE_SIZE],
    },
    /// Signed expectations that the firmware checks at the end of the launch.
    IdBlock(&'a IdBlock),
}

/// A page to add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page<'a> {
    /// Where.
    pub gpa: u64,
    /// What the firmware does with it.
    pub kind: PageKind,
    /// What it holds; zeros when absent.
    pub contents: Option<&'a [u8; PAGE_SIZE]>,
}

/// What the firmware does with a page.
///
/// A normal page without contents is added as QEMU adds it: with the firmware's page type ZERO.
/// (`igvm_defs` asks for a normal page full of zeros; the two differ in the launch digest, and it
/// is QEMU that Parapet's image is made for.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// Measured with its contents.
    Normal,
    /// Zeros; the address is measured.
    Zero,
    /// The contents are not measured.
    Unmeasured,
    /// The firmware writes the secrets.
    Secrets,
    /// The firmware checks the CPUID table.
    Cpuid,
}

impl PageKind {
    /// The firmware's number for it (one of `snp_defs::launch::PAGE_TYPE_*`).
    pub const fn page_type(self) -> u8 {
        use snp_defs::launch;
        match self {
            Self::Normal => launch::PAGE_TYPE_NORMAL,
            Self::Zero => launch::PAGE_TYPE_ZERO,
            Self::Unmeasured => launch::PAGE_TYPE_UNMEASURED,
            Self::Secrets => launch::PAGE_TYPE_SECRETS,
            Self::Cpuid => launch::PAGE_TYPE_CPUID,
        }
    }
}

/// A place in a parameter area; the area exists, and the place lies in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The area.
    pub index: u32,
    /// Bytes from its start.
    pub offset: usize,
}

impl<'a> Image<'a> {
    /// Checks `file` and finds its SEV-SNP platform.
    ///
    /// # Errors
    /// [`Error`] names the first thing that is wrong, and where.
    pub fn parse(file: &'a [u8]) -> Result<Self, Error> {
        let headers = fixed_header(file)?;
        let mut image = Self {
            file,
            headers,
            mask: 0,
            policy: 0,
            shared_gpa_boundary: 0,
        };
        let mut section = Section::Platform;
        let mut all_masks = 0;
        let mut has_policy = false;
        let mut has_context = false;
        let mut has_id_block = false;
        let mut areas = Areas::default();
        for header in headers {
            let header = header?;
            let Some(at) = header.section()? else {
                continue;
            };
            if at < section {
                return Err(header.error(Problem::SectionOrder));
            }
            section = at;
            match at {
                Section::Platform => image.platform(&header, &mut all_masks)?,
                Section::Initialization => image.initialization(&header, &mut has_policy)?,
                Section::Directive => match image.directive(&header)? {
                    None => {}
                    Some(directive) => {
                        areas
                            .follow(&directive)
                            .map_err(|problem| header.error(problem))?;
                        match directive {
                            Directive::VpContext { vp_index: 0, .. }
                                if core::mem::replace(&mut has_context, true) =>
                            {
                                return Err(header.error(Problem::Duplicate));
                            }
                            Directive::IdBlock(_)
                                if core::mem::replace(&mut has_id_block, true) =>
                            {
                                return Err(header.error(Problem::Duplicate));
                            }
                            _ => {}
                        }
                    }
                },
            }
        }
        let end = headers.end();
        if image.mask == 0 {
            return Err(Error::at(end, Problem::NoSnpPlatform));
        }
        if !has_policy {
            return Err(Error::at(end, Problem::NoGuestPolicy));
        }
        if !has_context {
            return Err(Error::at(end, Problem::NoFirstContext));
        }
        Ok(image)
    }

    /// The guest's policy (56860, table "Guest Policy"), as the file has it.
    pub const fn policy(&self) -> u64 {
        self.policy
    }

    /// Virtual top of memory that the platform header asks for; 0 where there is none.
    pub const fn shared_gpa_boundary(&self) -> u64 {
        self.shared_gpa_boundary
    }

    /// The steps of loading, in the order of the file.
    pub fn directives(&self) -> impl Iterator<Item = Directive<'a>> + use<'a> {
        let image = *self;
        // Nothing can fail here that did not fail in `parse`.
        image
            .headers
            .filter_map(Result::ok)
            .filter(|header| matches!(header.section(), Ok(Some(Section::Directive))))
            .filter_map(move |header| image.directive(&header).ok().flatten())
    }

    fn platform(&mut self, header: &Header<'a>, all_masks: &mut u32) -> Result<(), Error> {
        if header.kind != IgvmVariableHeaderType::IGVM_VHT_SUPPORTED_PLATFORM {
            return header.refuse();
        }
        let platform: IGVM_VHS_SUPPORTED_PLATFORM = header.read()?;
        let mask = platform.compatibility_mask;
        if mask.count_ones() != 1 || *all_masks & mask != 0 {
            return Err(header.error(Problem::CompatibilityMask));
        }
        *all_masks |= mask;
        if platform.platform_type == IgvmPlatformType::SEV_SNP {
            if self.mask != 0 {
                return Err(header.error(Problem::Duplicate));
            }
            if platform.platform_version != IGVM_SEV_SNP_PLATFORM_VERSION {
                return Err(header.error(Problem::PlatformVersion));
            }
            self.mask = mask;
            self.shared_gpa_boundary = platform.shared_gpa_boundary;
        }
        Ok(())
    }

    fn initialization(&mut self, header: &Header<'a>, has_policy: &mut bool) -> Result<(), Error> {
        use IgvmVariableHeaderType as Type;
        match header.kind {
            Type::IGVM_VHT_GUEST_POLICY => {
                let policy: IGVM_VHS_GUEST_POLICY = header.read()?;
                header.zero(policy.reserved)?;
                if !self.concerns(header, policy.compatibility_mask)? {
                    return Ok(());
                }
                if core::mem::replace(has_policy, true) {
                    return Err(header.error(Problem::Duplicate));
                }
                self.policy = policy.policy;
                Ok(())
            }
            // It says who made the file, in text, and asks for nothing.
            Type::IGVM_VHT_VERSION_STRING => Ok(()),
            // The mask comes first in these and in all other headers of this section.
            _ if !self.concerns(header, header.read_prefix()?)? => Ok(()),
            _ => header.refuse(),
        }
    }

    /// Whether a header with this compatibility mask is for our platform.
    fn concerns(&self, header: &Header<'a>, mask: u32) -> Result<bool, Error> {
        if mask == 0 {
            return Err(header.error(Problem::CompatibilityMask));
        }
        Ok(mask & self.mask != 0)
    }

    /// Decodes a header of the directive section; `None` when it is for another platform.
    fn directive(&self, header: &Header<'a>) -> Result<Option<Directive<'a>>, Error> {
        use IgvmVariableHeaderType as Type;
        match header.kind {
            Type::IGVM_VHT_PAGE_DATA => self.page(header),
            Type::IGVM_VHT_PARAMETER_AREA => self.parameter_area(header).map(Some),
            Type::IGVM_VHT_VP_COUNT_PARAMETER => Ok(Some(Directive::VpCount(header.place()?))),
            Type::IGVM_VHT_MEMORY_MAP => Ok(Some(Directive::MemoryMap(header.place()?))),
            Type::IGVM_VHT_ENVIRONMENT_INFO_PARAMETER => {
                Ok(Some(Directive::EnvironmentInfo(header.place()?)))
            }
            Type::IGVM_VHT_PARAMETER_INSERT => self.parameter_insert(header),
            Type::IGVM_VHT_REQUIRED_MEMORY => self.required_memory(header),
            Type::IGVM_VHT_VP_CONTEXT => self.vp_context(header),
            Type::IGVM_VHT_SNP_ID_BLOCK => self.id_block(header),
            // The mask is the first field here, and the only one that matters where the header is
            // for another platform.
            Type::IGVM_VHT_VBS_MEASUREMENT if !self.concerns(header, header.read_prefix()?)? => {
                Ok(None)
            }
            _ => header.refuse().map(|()| None),
        }
    }
}

impl fmt::Debug for Image<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("bytes", &self.file.len())
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// Checks the fixed header and the checksum; returns the variable headers.
fn fixed_header(file: &[u8]) -> Result<Headers<'_>, Error> {
    let fail = |problem| Err(Error::at(0, problem));
    let Ok((mut fixed, _)) = IGVM_FIXED_HEADER::read_from_prefix(file) else {
        return fail(Problem::TooShort);
    };
    if fixed.magic != IGVM_MAGIC_VALUE {
        return fail(Problem::Magic);
    }
    if fixed.format_version != IGVM_FORMAT_VERSION_1 {
        return fail(Problem::FormatVersion);
    }
    if fixed.total_file_size as usize != file.len() {
        return fail(Problem::FileSize);
    }
    let start = fixed.variable_header_offset as usize;
    if start < size_of::<IGVM_FIXED_HEADER>() || !start.is_multiple_of(8) {
        return fail(Problem::HeaderBounds);
    }
    let Some(headers) = start
        .checked_add(fixed.variable_header_size as usize)
        .and_then(|end| file.get(start..end))
    else {
        return fail(Problem::HeaderBounds);
    };
    let checksum = core::mem::take(&mut fixed.checksum);
    if crc32::checksum(&[fixed.as_bytes(), headers]) != checksum {
        return fail(Problem::Checksum);
    }
    Ok(Headers::new(headers, start))
}

#[cfg(test)]
mod tests;
