// SPDX-License-Identifier: MIT OR Apache-2.0
//! What became of patches.

use git2::Oid;

/// How a patch was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Every hunk at the line that it names; or, rebased, every file as it was.
    Exact,
    /// The farthest hunk was found so many lines away.
    Offset(u64),
    /// A file has another mode than the patch says. It was changed all the same, as git-apply(1)
    /// does with a warning; a mode that the patch does not change stays what it was.
    OtherMode,
    /// By a three-way merge.
    ThreeWay,
    /// It changes nothing any more: no commit was made.
    AlreadyApplied,
}

/// What became of one patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The commit, or the one before where none was made.
    pub commit: Oid,
    /// Its tree.
    pub tree: Oid,
    /// How it was applied.
    pub how: How,
}

/// Where a series could not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Index of the patch in the series, from 0.
    pub index: usize,
    /// Why.
    pub reason: Reason,
}

/// Why a patch was not applied. `Display` says it in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The three-way merge left conflicts.
    #[error("merging leaves conflicts in {}", list(.paths))]
    Conflict {
        /// In these paths, sorted.
        paths: Vec<Vec<u8>>,
    },
    /// The patch does not apply, and merging is not allowed or does not help.
    #[error("{} does not apply{}: {what}", .path.escape_ascii(), number(.hunk))]
    DoesNotApply {
        /// The first file at fault.
        path: Vec<u8>,
        /// Its first hunk at fault, from 1, where it is a matter of hunks.
        hunk: Option<usize>,
        /// What is wrong.
        what: &'static str,
    },
    /// It does not apply, and the blob that a merge would start from is not there.
    #[error("{} does not apply, and {}", .path.escape_ascii(), lacks(.blob.as_deref()))]
    MissingBlob {
        /// The file.
        path: Vec<u8>,
        /// The blob as the `index` line has it, if there is one.
        blob: Option<String>,
    },
}

/// What became of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// One for each patch that was applied.
    pub steps: Vec<Step>,
    /// Set when not all were.
    pub stopped: Option<Stop>,
}

impl Outcome {
    /// Whether every patch was applied, each at the lines that it names.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.stopped.is_none() && self.steps.iter().all(|step| step.how == How::Exact)
    }
}

fn list(paths: &[Vec<u8>]) -> String {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| path.escape_ascii().to_string())
        .collect();
    paths.join(", ")
}

fn lacks(blob: Option<&str>) -> String {
    match blob {
        Some(blob) => format!("the repository lacks its blob {blob} to merge from"),
        None => "the patch has no `index` line, which would name the blob to merge from".to_owned(),
    }
}

fn number(hunk: &Option<usize>) -> String {
    hunk.map(|hunk| format!(" at hunk {hunk}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_without_an_index_line_is_told_so() {
        let told = |blob: Option<&str>| {
            let (path, blob) = (b"a".to_vec(), blob.map(str::to_owned));
            Reason::MissingBlob { path, blob }.to_string()
        };
        assert_eq!(
            told(Some("1234567")),
            "a does not apply, and the repository lacks its blob 1234567 to merge from"
        );
        assert!(told(None).contains("the patch has no `index` line"));
    }
}
