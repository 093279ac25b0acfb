// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which commit is which patch file. A file's name is the patch's identity: it is kept through a
//! new subject or a new diff, as long as one of the two stays.

use std::collections::HashSet;

use git2::Oid;

use crate::failure::Result;
use crate::patch_id;

/// A commit of the branch.
#[derive(Debug, Clone)]
pub(super) struct Commit {
    pub(super) id: Oid,
    pub(super) subject: String,
}

/// A patch file that was applied.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) commit: Option<Oid>,
    pub(super) subject: String,
    pub(super) patch_id: Oid,
}

/// For each commit the index of its file, or none for a new one. No file is taken twice.
pub(super) fn assign(
    repository: &git2::Repository,
    commits: &[Commit],
    known: &[Known],
) -> Result<Vec<Option<usize>>> {
    let mut found = vec![None; commits.len()];
    let mut taken = HashSet::new();
    // From the surest sign to the weakest.
    take(&mut found, &mut taken, |at| {
        known
            .iter()
            .position(|file| file.commit == Some(commits[at].id))
    });
    take(&mut found, &mut taken, |at| {
        only(known, |file| file.subject == commits[at].subject)
    });
    let ids: Vec<_> = commits
        .iter()
        .zip(&found)
        .map(|(commit, found)| match found {
            Some(_) => Ok(None),
            None => patch_id::of_commit(repository, commit.id),
        })
        .collect::<std::result::Result<_, _>>()?;
    take(&mut found, &mut taken, |at| {
        let id = ids[at]?;
        only(known, |file| file.patch_id == id)
    });
    Ok(found)
}

fn take(
    found: &mut [Option<usize>],
    taken: &mut HashSet<usize>,
    look: impl Fn(usize) -> Option<usize>,
) {
    for (at, slot) in found.iter_mut().enumerate() {
        if slot.is_none()
            && let Some(index) = look(at)
            && taken.insert(index)
        {
            *slot = Some(index);
        }
    }
}

/// The index of the only element that is so; two that are so are no sign.
fn only<T>(all: &[T], is_so: impl Fn(&T) -> bool) -> Option<usize> {
    let mut found = all.iter().enumerate().filter(|(_, one)| is_so(one));
    let (index, _) = found.next()?;
    found.next().is_none().then_some(index)
}
