// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which patches of a series a base has already. Needs no common history.

use git2::Oid;

use crate::apply::{Applier, Error};
use crate::mail::Patch;

/// What speaks for a patch having landed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Its reverse applies exactly to the base.
    pub reverse_applies: bool,
    /// Merged into the base, it changes nothing.
    pub becomes_empty: bool,
    /// A commit of the base's history has the same patch-id.
    pub same_patch_id: Option<Oid>,
}

/// The evidence for each of `patches`, each looked at by itself, against the commit `base`.
/// `upstream` are commits whose patch-ids are compared, where there is history.
pub fn find(
    _applier: &mut Applier,
    _base: Oid,
    _patches: &[Patch],
    _upstream: &[Oid],
) -> Result<Vec<Evidence>, Error> {
    unimplemented!("landed lands next")
}
