// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands, one file each, named as the user types them: help text, arguments, action.

pub(crate) mod apply;
pub(crate) mod bench;
pub(crate) mod boot;
pub(crate) mod build;
pub(crate) mod check;
pub(crate) mod clean;
pub(crate) mod doctor;
pub(crate) mod edit;
pub(crate) mod export;
pub(crate) mod fetch;
pub(crate) mod format;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod lock;
pub(crate) mod new;
pub(crate) mod rebase;
pub(crate) mod resume;
pub(crate) mod stack;
pub(crate) mod status;
pub(crate) mod verify;

pub(crate) const ABOUT: &str = "Keep the downstream branches of Linux and QEMU";
pub(crate) const LONG_ABOUT: &str = "\
Keep, apply, check, build and boot-test the downstream branches that branches.toml declares.

The patch files under patches/ are the truth; a branch is made from them, always to the same
commits. Mirrors, worktrees and caches are in the cache folder, outside this repository.

Exit status: 0 good, 1 failed, 2 usage, 3 needs refresh, 4 conflict, 5 a source can't be had,
6 refused (a precondition does not hold, nothing was touched), 128+N stopped by signal N.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask branch status
  cargo xtask branch fetch planes && cargo xtask branch apply planes
  cargo xtask branch edit planes          then commit as usual, and: branch export planes";
