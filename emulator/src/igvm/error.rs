// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a file is no image that can be loaded.

use core::fmt;

use igvm_defs::IgvmVariableHeaderType;

/// What is wrong, and where in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    /// Bytes from the start of the file to the header that is wrong.
    pub offset: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a header or with the file as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// The file ends before its fixed header does.
    TooShort,
    /// The file does not start like an IGVM file.
    Magic,
    /// The file has another version of the format than 1.
    FormatVersion,
    /// The file is not as long as it says.
    FileSize,
    /// The variable headers are not where they may be.
    HeaderBounds,
    /// The checksum of the headers is wrong.
    Checksum,
    /// A header does not have the length of its type, or does not fit.
    HeaderLength,
    /// A header comes after one of a later section.
    SectionOrder,
    /// A type that no section has.
    UnknownType(u32),
    /// A header that this loader does not carry out.
    Unsupported(&'static str),
    /// A compatibility mask is empty, has several bits where one is allowed, or is taken.
    CompatibilityMask,
    /// The platform has a version other than 1.
    PlatformVersion,
    /// Something that may be there once is there twice.
    Duplicate,
    /// A field that is reserved is not zero.
    Reserved,
    /// An address is not aligned to a page, or out of range.
    Address,
    /// A size is zero, not aligned to a page, or out of range.
    Size,
    /// File data lies in the headers or beyond the end.
    DataBounds,
    /// A parameter area is used that does not exist or was inserted already.
    NoSuchArea,
    /// There are more parameter areas than the loader keeps.
    TooManyAreas,
    /// A parameter does not fit in its area.
    AreaBounds,
    /// The file is for other platforms only.
    NoSnpPlatform,
    /// The file does not give the guest's policy.
    NoGuestPolicy,
    /// The file does not say how the first vCPU starts.
    NoFirstContext,
}

impl Error {
    pub(super) const fn at(offset: usize, problem: Problem) -> Self {
        Self { offset, problem }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (at byte {:#x} of the file)",
            self.problem, self.offset
        )
    }
}

impl core::error::Error for Error {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooShort => "the file is too short for an IGVM file",
            Self::Magic => "this is no IGVM file",
            Self::FormatVersion => "the IGVM format version is not 1",
            Self::FileSize => "the file is shorter or longer than its header says",
            Self::HeaderBounds => "the headers lie outside of the file",
            Self::Checksum => "the checksum of the headers is wrong",
            Self::HeaderLength => "a header has the wrong length",
            Self::SectionOrder => "a header comes after one of a later section",
            Self::UnknownType(kind) => return write!(f, "unknown header type {kind:#x}"),
            Self::Unsupported(name) => return write!(f, "{name} is not supported"),
            Self::CompatibilityMask => "a compatibility mask is wrong",
            Self::PlatformVersion => "the SEV-SNP platform has a version other than 1",
            Self::Duplicate => "a header is there twice that may be there once",
            Self::Reserved => "a reserved field is not zero",
            Self::Address => "an address is not page-aligned or too large",
            Self::Size => "a size is zero, not page-aligned or too large",
            Self::DataBounds => "file data lies outside of the file or in its headers",
            Self::NoSuchArea => "a parameter area is used that is not there",
            Self::TooManyAreas => "there are too many parameter areas",
            Self::AreaBounds => "a parameter does not fit in its area",
            Self::NoSnpPlatform => "the file is not for SEV-SNP",
            Self::NoGuestPolicy => "the file has no guest policy",
            Self::NoFirstContext => "the file does not say how the first vCPU starts",
        })
    }
}

/// The name of a header type, for the refusal.
pub(super) const fn name(kind: IgvmVariableHeaderType) -> Option<&'static str> {
    use IgvmVariableHeaderType as Type;
    Some(match kind {
        Type::IGVM_VHT_RELOCATABLE_REGION => "a relocatable region",
        Type::IGVM_VHT_PAGE_TABLE_RELOCATION_REGION => "a page table relocation region",
        Type::IGVM_VHT_CCA_POLICY => "an Arm CCA policy",
        Type::IGVM_VHT_SRAT => "the SRAT parameter",
        Type::IGVM_VHT_MADT => "the MADT parameter",
        Type::IGVM_VHT_SLIT => "the SLIT parameter",
        Type::IGVM_VHT_PPTT => "the PPTT parameter",
        Type::IGVM_VHT_MMIO_RANGES => "the MMIO ranges parameter",
        Type::IGVM_VHT_ERROR_RANGE => "an error range",
        Type::IGVM_VHT_COMMAND_LINE => "the command line parameter",
        Type::IGVM_VHT_DEVICE_TREE => "the device tree parameter",
        Type::IGVM_VHT_VBS_MEASUREMENT => "a VBS measurement",
        Type::RESERVED_DO_NOT_USE => "the reserved type 0x306",
        // The CoRIM headers, which `igvm_defs` names with a feature of its own only.
        IgvmVariableHeaderType(0x104) => "a CoRIM document",
        IgvmVariableHeaderType(0x105) => "a CoRIM signature",
        _ => return None,
    })
}
