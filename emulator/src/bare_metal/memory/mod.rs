// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory of the guest: where it lies in the host's ([`backings`]), and the two ways there. The
//! processor goes by nested tables ([`npt`]); the emulator goes by the RMP and remembers what it said
//! ([`access_cache`]).

pub(crate) mod access_cache;
pub(crate) mod backings;
pub(crate) mod npt;
