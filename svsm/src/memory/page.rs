// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of pages of guest-physical memory.
#![forbid(unsafe_code)]

/// Guest-physical addresses have at most this many bits; the bit that says "private" is not
/// part of an address to the core.
pub const ADDRESS_BITS: u32 = 51;

/// A 4K page of guest-physical memory, named by its first address. That it exists, or whose it is,
/// is not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame(u64);

impl Frame {
    /// The page at `gpa`; `None` where that is not aligned or too great.
    pub const fn new(gpa: u64) -> Option<Self> {
        if gpa.is_multiple_of(PageSize::Size4K.bytes()) && gpa >> ADDRESS_BITS == 0 {
            Some(Self(gpa))
        } else {
            None
        }
    }

    /// The page that holds `gpa`; `None` where that is too great.
    pub const fn containing(gpa: u64) -> Option<Self> {
        Self::new(gpa & !(PageSize::Size4K.bytes() - 1))
    }

    /// First address.
    pub const fn gpa(self) -> u64 {
        self.0
    }
}

/// Size of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageSize {
    /// 4 KiB.
    Size4K,
    /// 2 MiB.
    Size2M,
}

impl PageSize {
    /// Bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Size4K => 4 << 10,
            Self::Size2M => 2 << 20,
        }
    }
}

/// A page of guest-physical memory, of either size, aligned to its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Page {
    frame: Frame,
    size: PageSize,
}

impl Page {
    /// The page at `gpa`; `None` where that is not aligned to the size, or too great.
    pub const fn new(gpa: u64, size: PageSize) -> Option<Self> {
        if !gpa.is_multiple_of(size.bytes()) {
            return None;
        }
        match Frame::new(gpa) {
            Some(frame) => Some(Self { frame, size }),
            None => None,
        }
    }

    /// First address.
    pub const fn gpa(self) -> u64 {
        self.frame.0
    }

    /// Address behind the last byte.
    pub const fn end(self) -> u64 {
        self.frame.0 + self.size.bytes()
    }

    /// Size.
    pub const fn size(self) -> PageSize {
        self.size
    }

    /// Its first 4K page.
    pub const fn frame(self) -> Frame {
        self.frame
    }

    /// Its 4K pages, one or 512.
    pub fn frames(self) -> impl Iterator<Item = Frame> {
        (self.gpa()..self.end())
            .step_by(PageSize::Size4K.bytes() as usize)
            .map(Frame)
    }
}

impl From<Frame> for Page {
    fn from(frame: Frame) -> Self {
        Self {
            frame,
            size: PageSize::Size4K,
        }
    }
}

/// What the guest may do with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    None,
    /// Read, write and execute, at every privilege.
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_aligned_and_in_range() {
        assert!(Frame::new(0x1000).is_some());
        assert!(Frame::new(0x1001).is_none());
        assert!(Frame::new(1 << ADDRESS_BITS).is_none());
        assert!(Frame::containing(u64::MAX).is_none());
        assert_eq!(Frame::containing(0x1FFF), Frame::new(0x1000));
        assert!(Page::new(0x1000, PageSize::Size2M).is_none());
        let last = (1u64 << ADDRESS_BITS) - PageSize::Size2M.bytes();
        let page = Page::new(last, PageSize::Size2M).unwrap();
        assert_eq!(page.end(), 1 << ADDRESS_BITS);
        assert_eq!(page.frames().count(), 512);
        assert_eq!(page.frames().last().unwrap().gpa(), page.end() - 0x1000);
    }
}
