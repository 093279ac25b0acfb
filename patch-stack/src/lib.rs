// SPDX-License-Identifier: MIT OR Apache-2.0
//! The engine of the downstream branches.
//!
//! A *stack* is a base commit and a list of patch files in order. The files are the truth: the
//! commits are made from them, always the same ones, and nothing else is needed to make them
//! again. Four principles hold that up:
//!
//! 1. **As git does it, to the byte.** The commit made for a patch is the one that
//!    `git am --keep-non-patch -3` makes, by its name. Where git would guess, ask or use the
//!    clock, this engine refuses.
//! 2. **No fuzz.** Every line of context has to be there. A hunk may have moved, and a three-way
//!    merge may stand in for it, but the caller is told.
//! 3. **In memory, and only what is touched.** No worktree, no index; a tree is read and written
//!    along the paths of a patch, so cost grows with the patches and not with the tree.
//! 4. **A mailbox is hostile.** What comes from outside is an error or a checked type, and never
//!    a panic.
//!
//! The rooms:
//!
//! * [`mail`]: a mailbox, and one patch file: author, date, subject, message
//! * [`diff`]: what the patch does to which file, as a checked type
//! * [`series`]: a folder with a `series` file and its patches
//! * [`apply`]: patches to commits
//! * [`rebase`]: commits to another base
//! * [`landed`]: which patches a base has already
//! * [`patch_id`]: the name of a change that survives a move
//!
//! And around the engine, what keeps branches of it:
//!
//! * [`declare`], [`lock`]: `branches.toml` and `branches.lock`
//! * [`branch`]: a base and layers of patch files, applied in memory
//! * [`git`]: the git command line in an environment of its own
//! * [`mirror`]: the bare repository with the bases, and where they come from
//! * [`worktree`]: where a person works, and resolves conflicts
//! * [`export`], [`mod@format`]: commits back to patch files, and to mails
//! * [`checks`], [`tools`]: checks of single patches, with the project's own scripts
//! * [`import`], [`send`]: a mailed series taken in, and one made ready for mail
//! * [`begin`]: a new branch, and a mailed series in its place
//! * [`history`]: a branch as it was
//! * [`build`]: builds that are kept, and the objects that show what was built
//! * [`failure`], [`watch`]: what is told to people

pub mod apply;
pub mod begin;
pub mod branch;
pub mod build;
pub mod checks;
pub mod declare;
pub mod diff;
pub mod export;
pub mod failure;
pub mod format;
pub mod git;
pub mod hash;
pub mod history;
pub mod import;
pub mod landed;
pub mod lock;
pub mod mail;
pub mod mirror;
pub mod patch_id;
pub mod rebase;
pub mod send;
pub mod series;
#[cfg(test)]
mod testing;
pub mod tools;
pub mod watch;
pub mod worktree;
