// SPDX-License-Identifier: MIT OR Apache-2.0
//! Walks the variable headers and decodes one at a time.

use igvm_defs::{
    IGVM_VHS_PAGE_DATA, IGVM_VHS_PARAMETER, IGVM_VHS_PARAMETER_AREA, IGVM_VHS_PARAMETER_INSERT,
    IGVM_VHS_REQUIRED_MEMORY, IGVM_VHS_VARIABLE_HEADER, IGVM_VHS_VP_CONTEXT, IGVM_VHT_OPTIONAL_BIT,
    IGVM_VHT_RANGE_DIRECTIVE, IGVM_VHT_RANGE_INIT, IGVM_VHT_RANGE_PLATFORM, IgvmPageDataType,
    IgvmVariableHeaderType,
};
use zerocopy::FromBytes;

use super::error::name;
use super::{
    Directive, Error, IdBlock, Image, MAX_AREA_SIZE, PAGE_SIZE, Page, PageKind, Place, Problem,
};

/// End (exclusive) of the addresses that a guest can have.
const GPA_END: u64 = 1 << 52;

/// Headers that are still to come. After the first error there are none.
#[derive(Clone, Copy)]
pub(super) struct Headers<'a> {
    rest: &'a [u8],
    offset: usize,
}

/// One header.
pub(super) struct Header<'a> {
    pub(super) kind: IgvmVariableHeaderType,
    optional: bool,
    content: &'a [u8],
    offset: usize,
}

/// The parts of the variable headers, in the order that the file has to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Section {
    Platform,
    Initialization,
    Directive,
}

impl<'a> Headers<'a> {
    pub(super) const fn new(headers: &'a [u8], offset: usize) -> Self {
        Self {
            rest: headers,
            offset,
        }
    }

    /// Bytes from the start of the file to the end of the headers.
    pub(super) const fn end(&self) -> usize {
        self.offset + self.rest.len()
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Result<Header<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let offset = self.offset;
        let item = self.split();
        if item.is_none() {
            self.rest = &[];
        }
        Some(item.ok_or(Error::at(offset, Problem::HeaderLength)))
    }
}

impl<'a> Headers<'a> {
    /// Takes one header off the front; `None` when its length does not fit.
    fn split(&mut self) -> Option<Header<'a>> {
        let (fixed, after) = IGVM_VHS_VARIABLE_HEADER::read_from_prefix(self.rest).ok()?;
        let length = fixed.length as usize;
        // The next header starts at a multiple of 8 bytes; the padding is zero.
        let (padded, rest) = after.split_at_checked(length.checked_next_multiple_of(8)?)?;
        let (content, padding) = padded.split_at_checked(length)?;
        if padding.iter().any(|byte| *byte != 0) {
            return None;
        }
        let offset = self.offset;
        self.offset += self.rest.len() - rest.len();
        self.rest = rest;
        Some(Header {
            kind: IgvmVariableHeaderType(fixed.typ.0 & !IGVM_VHT_OPTIONAL_BIT),
            optional: fixed.typ.0 & IGVM_VHT_OPTIONAL_BIT != 0,
            content,
            offset,
        })
    }
}

impl<'a> Header<'a> {
    pub(super) const fn error(&self, problem: Problem) -> Error {
        Error::at(self.offset, problem)
    }

    /// The section it belongs to; `None` for an unknown type that may be passed over.
    pub(super) fn section(&self) -> Result<Option<Section>, Error> {
        let kind = self.kind.0;
        Ok(Some(if IGVM_VHT_RANGE_PLATFORM.contains(&kind) {
            Section::Platform
        } else if IGVM_VHT_RANGE_INIT.contains(&kind) {
            Section::Initialization
        } else if IGVM_VHT_RANGE_DIRECTIVE.contains(&kind) {
            Section::Directive
        } else if self.optional {
            return Ok(None);
        } else {
            return Err(self.error(Problem::UnknownType(kind)));
        }))
    }

    /// Passes over a header that is optional and refuses any other.
    pub(super) fn refuse(&self) -> Result<(), Error> {
        if self.optional {
            return Ok(());
        }
        Err(self.error(match name(self.kind) {
            Some(name) => Problem::Unsupported(name),
            None => Problem::UnknownType(self.kind.0),
        }))
    }

    /// The content, which has to be as long as `T`.
    pub(super) fn read<T: FromBytes>(&self) -> Result<T, Error> {
        T::read_from_bytes(self.content).map_err(|_| self.error(Problem::HeaderLength))
    }

    /// The content's first field.
    pub(super) fn read_prefix<T: FromBytes>(&self) -> Result<T, Error> {
        match T::read_from_prefix(self.content) {
            Ok((value, _)) => Ok(value),
            Err(_) => Err(self.error(Problem::HeaderLength)),
        }
    }

    pub(super) fn zero(&self, reserved: u32) -> Result<(), Error> {
        match reserved {
            0 => Ok(()),
            _ => Err(self.error(Problem::Reserved)),
        }
    }

    /// A parameter's place; that it lies in its area is checked elsewhere.
    pub(super) fn place(&self) -> Result<Place, Error> {
        let parameter: IGVM_VHS_PARAMETER = self.read()?;
        Ok(Place {
            index: parameter.parameter_area_index,
            offset: parameter.byte_offset as usize,
        })
    }

    fn page_address(&self, gpa: u64) -> Result<u64, Error> {
        if gpa < GPA_END && gpa.is_multiple_of(PAGE_SIZE as u64) {
            Ok(gpa)
        } else {
            Err(self.error(Problem::Address))
        }
    }

    /// A size in whole pages, with the whole range in reach.
    fn page_range(&self, gpa: u64, size: u64) -> Result<(), Error> {
        self.page_address(gpa)?;
        if size == 0 || !size.is_multiple_of(PAGE_SIZE as u64) || size > GPA_END - gpa {
            return Err(self.error(Problem::Size));
        }
        Ok(())
    }
}

impl<'a> Image<'a> {
    pub(super) fn page(&self, header: &Header<'a>) -> Result<Option<Directive<'a>>, Error> {
        let data: IGVM_VHS_PAGE_DATA = header.read()?;
        header.zero(u32::from(data.reserved) | data.flags.reserved())?;
        if !self.concerns(header, data.compatibility_mask)? {
            return Ok(None);
        }
        if data.flags.is_2mb_page() {
            return Err(header.error(Problem::Unsupported("a 2M page")));
        }
        if data.flags.shared() {
            return Err(header.error(Problem::Unsupported("a shared page")));
        }
        let gpa = header.page_address(data.gpa)?;
        let contents = match data.file_offset {
            0 => None,
            offset => Some(self.file_page(header, offset)?),
        };
        // As in QEMU, being unmeasured means something for normal pages only.
        let kind = match data.data_type {
            IgvmPageDataType::NORMAL if data.flags.unmeasured() => PageKind::Unmeasured,
            IgvmPageDataType::NORMAL if contents.is_none() => PageKind::Zero,
            IgvmPageDataType::NORMAL => PageKind::Normal,
            IgvmPageDataType::SECRETS => PageKind::Secrets,
            IgvmPageDataType::CPUID_DATA => PageKind::Cpuid,
            IgvmPageDataType::CPUID_XF => {
                return Err(header.error(Problem::Unsupported("a page of type CPUID_XF")));
            }
            _ => return Err(header.error(Problem::Unsupported("an unknown page type"))),
        };
        Ok(Some(Directive::Page(Page {
            gpa,
            kind,
            contents,
        })))
    }

    pub(super) fn parameter_area(&self, header: &Header<'a>) -> Result<Directive<'a>, Error> {
        let area: IGVM_VHS_PARAMETER_AREA = header.read()?;
        header.page_range(0, area.number_of_bytes)?;
        if area.number_of_bytes > MAX_AREA_SIZE {
            return Err(header.error(Problem::Size));
        }
        let size = area.number_of_bytes as usize;
        Ok(Directive::ParameterArea {
            index: area.parameter_area_index,
            size,
            contents: match area.file_offset {
                0 => None,
                offset => Some(self.file_data(header, offset, size)?),
            },
        })
    }

    pub(super) fn parameter_insert(
        &self,
        header: &Header<'a>,
    ) -> Result<Option<Directive<'a>>, Error> {
        let insert: IGVM_VHS_PARAMETER_INSERT = header.read()?;
        if !self.concerns(header, insert.compatibility_mask)? {
            return Ok(None);
        }
        header.page_range(insert.gpa, MAX_AREA_SIZE)?;
        Ok(Some(Directive::ParameterInsert {
            gpa: insert.gpa,
            index: insert.parameter_area_index,
        }))
    }

    pub(super) fn required_memory(
        &self,
        header: &Header<'a>,
    ) -> Result<Option<Directive<'a>>, Error> {
        let memory: IGVM_VHS_REQUIRED_MEMORY = header.read()?;
        header.zero(memory.reserved | memory.flags.reserved())?;
        if !self.concerns(header, memory.compatibility_mask)? {
            return Ok(None);
        }
        let size = u64::from(memory.number_of_bytes);
        header.page_range(memory.gpa, size)?;
        Ok(Some(Directive::RequiredMemory {
            gpa: memory.gpa,
            size,
        }))
    }

    pub(super) fn vp_context(&self, header: &Header<'a>) -> Result<Option<Directive<'a>>, Error> {
        let context: IGVM_VHS_VP_CONTEXT = header.read()?;
        header.zero(u32::from(context.reserved))?;
        if !self.concerns(header, context.compatibility_mask)? {
            return Ok(None);
        }
        Ok(Some(Directive::VpContext {
            gpa: header.page_address(context.gpa.get())?,
            vp_index: context.vp_index,
            vmsa: self.file_page(header, context.file_offset)?,
        }))
    }

    pub(super) fn id_block(&self, header: &Header<'a>) -> Result<Option<Directive<'a>>, Error> {
        let block: &IdBlock = header
            .content
            .try_into()
            .map_err(|_| header.error(Problem::HeaderLength))?;
        Ok(self
            .concerns(header, header.read_prefix()?)?
            .then_some(Directive::IdBlock(block)))
    }

    fn file_page(&self, header: &Header<'a>, offset: u32) -> Result<&'a [u8; PAGE_SIZE], Error> {
        self.file_data(header, offset, PAGE_SIZE)?
            .try_into()
            .map_err(|_| header.error(Problem::DataBounds))
    }

    /// Data of the file, behind the headers. Two headers may have the same data.
    fn file_data(&self, header: &Header<'a>, offset: u32, size: usize) -> Result<&'a [u8], Error> {
        let start = offset as usize;
        if start < self.headers.end() {
            return Err(header.error(Problem::DataBounds));
        }
        start
            .checked_add(size)
            .and_then(|end| self.file.get(start..end))
            .ok_or(header.error(Problem::DataBounds))
    }
}
