// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits to another base, in memory: each is merged onto the one before, with its parent as
//! the common ancestor, as `git rebase --onto` does it.
//!
//! Lines are compared by git's algorithm `histogram`, as in `git rebase`. `git am -3` before git
//! 2.50 takes `myers`, so of a hundred merges one or two that go through here may stop in a
//! session of `git am -3`, or the other way round.

use git2::Oid;

use crate::apply::{Applier, Error, How, Outcome, Step, Stop};

/// Rebases `commits` (a chain, oldest first) onto the commit `onto`, up to the first that leaves
/// conflicts. The committer is that of the applier's policy, the committer's date the author's.
/// A commit that changes nothing any more becomes [`How::AlreadyApplied`].
///
/// The commits may be ones that `applier` has made and not kept: first apply a series to its old
/// base, then rebase its steps. Nothing is written before [`Applier::keep`].
pub fn dry_run(applier: &mut Applier, commits: &[Oid], onto: Oid) -> Result<Outcome, Error> {
    let mut tree = applier.tree(onto)?;
    let mut before = Step {
        commit: onto,
        tree: applier.tree_id(onto)?,
        how: How::Exact,
    };
    let mut outcome = Outcome {
        steps: Vec::new(),
        stopped: None,
    };
    for (index, commit) in commits.iter().enumerate() {
        match applier.pick(&mut tree, before, *commit)? {
            Ok(step) => {
                outcome.steps.push(step);
                before = step;
            }
            Err(reason) => {
                outcome.stopped = Some(Stop { index, reason });
                break;
            }
        }
    }
    Ok(outcome)
}
