// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which patches of a series a base has already. None of the tests needs a common history; the
//! third needs some history, and a base that is one commit of a tarball has none.

use std::collections::HashMap;

use git2::{Oid, Repository};

use crate::apply::{Applier, Error};
use crate::mail::Patch;
use crate::patch_id;

/// What speaks for a patch having landed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evidence {
    /// What undoes it applies, once what undoes the patches after it was applied, where that
    /// was possible; and the patch itself no longer does. (Where both do, the reverse may have
    /// found lines that look alike.)
    pub reverse_applies: bool,
    /// Merged into the base by itself, it changes nothing.
    pub becomes_empty: bool,
    /// A commit of `upstream` that has the same patch-id.
    pub same_patch_id: Option<Oid>,
}

impl Evidence {
    /// Whether anything speaks for it.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.reverse_applies || self.becomes_empty || self.same_patch_id.is_some()
    }
}

/// The evidence for each of `patches` against the commit `base`. `upstream` are commits of
/// `repository` whose patch-ids are compared; each costs a diff.
pub fn find(
    applier: &mut Applier,
    repository: &Repository,
    base: Oid,
    patches: &[&Patch],
    upstream: &[Oid],
) -> Result<Vec<Evidence>, Error> {
    let mut found = vec![Evidence::default(); patches.len()];

    let mut undone = applier.tree(base)?;
    for (patch, evidence) in patches.iter().zip(&mut found).rev() {
        let files = &patch.diff.files;
        evidence.reverse_applies =
            !applier.would_change(&mut undone, files)? && applier.undo(&mut undone, files)?;
    }

    for (patch, evidence) in patches.iter().zip(&mut found) {
        evidence.becomes_empty = applier.is_in(base, patch)?;
    }

    let mut ids = HashMap::new();
    for commit in upstream {
        if let Some(id) = patch_id::of_commit(repository, *commit)? {
            ids.entry(id).or_insert(*commit);
        }
    }
    if !ids.is_empty() {
        for (patch, evidence) in patches.iter().zip(&mut found) {
            evidence.same_patch_id = ids.get(&patch_id::to_compare(patch)).copied();
        }
    }
    Ok(found)
}
