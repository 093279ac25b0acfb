// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits to another base, in memory: each is merged onto the one before, with its parent as
//! the common ancestor, as `git rebase --onto` does it.

use git2::Oid;

use crate::apply::{Applier, Error, Outcome};

/// Rebases `commits` (a chain, oldest first) onto `onto`, with the applier's policy for the
/// committer. A commit that changes nothing any more becomes
/// [`How::AlreadyApplied`](crate::apply::How::AlreadyApplied).
///
/// The commits may be ones that `applier` has made and not kept: first apply a series to its old
/// base, then rebase its steps. Nothing is written before [`Applier::keep`].
pub fn dry_run(_applier: &mut Applier, _commits: &[Oid], _onto: Oid) -> Result<Outcome, Error> {
    unimplemented!("rebase lands next")
}
