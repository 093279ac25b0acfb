// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the image builder and the shim agree on.
//!
//! A guest without firmware and without an SVSM finds its memory unvalidated, and a stock kernel
//! expects someone to have validated it before entry. The shim does that and no more: it walks the
//! list of ranges that the builder measured into the image, validates each, and jumps.
#![no_std]
#![forbid(unsafe_code)]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Guest-physical address at which the shim is linked and loaded.
pub const SHIM_BASE: u64 = 0x11_0000;
/// Bytes that the builder keeps for it.
pub const SHIM_SIZE: u64 = 0x8000;
/// The most ranges that a [`BootList`] holds.
pub const MAX_RANGES: usize = 255;

/// A range of guest-physical memory, page-aligned.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Range {
    /// First address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

/// The page whose address the shim gets in RDI. RSI is not the shim's: the guest gets it as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
pub struct BootList {
    /// Where the guest is entered.
    pub entry: u64,
    /// How many of `ranges` count.
    pub count: u64,
    /// Memory of the guest that the image did not load, to be validated.
    pub ranges: [Range; MAX_RANGES],
}

const _: () = assert!(size_of::<BootList>() == 4096);
