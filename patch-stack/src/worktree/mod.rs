// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a person works: the worktree of a branch, the operation that waits for one, and what is
//! remembered between commands.
//!
//! A branch is applied in memory first. Only when all that can be known is known does the worktree
//! move, and refs move last. A patch that does not apply is left as `git am -3` leaves it, an
//! ordinary conflict; `continue`, `skip` and `abort` are git's own, and a person may as well use
//! those directly.

mod desk;
mod journal;
mod rebase;
mod recovery;
mod session;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use self::journal::Journal;
pub(crate) use self::state::{applied_files, require_same_files};

pub use self::desk::{Desk, Extent};
pub use self::rebase::{Landed, Rebase, find_landed, rebase_onto, rehearse};
pub use self::recovery::{
    Recovered, finish_interrupted, is_half_written, is_interrupted, require_ours, set_aside,
};
pub use self::session::{Done, Job, Resolved, abort, apply, clean, go_on, skip};
pub use self::state::{Applied, Operation, State};
