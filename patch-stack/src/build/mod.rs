// SPDX-License-Identifier: MIT OR Apache-2.0
//! Building a state of a project, and knowing that what was built is that state.
//!
//! A [`Yard`] is a source tree and a build folder that stay between builds, so that going from one
//! patch to the next costs what changed. A build's [`Key`] names all that it depends on: the tree,
//! the declaration with the files that it reads, and the compilers; what was built under a key is
//! [kept](Kept) and never built again. A build that left out a file that the branch touches is no
//! pass: [`objects`] looks.

mod kept;
mod key;
pub mod objects;
pub mod packages;
mod run;
mod yard;

pub use self::kept::Kept;
pub use self::key::{Key, Purpose, versions};
pub use self::run::{last_words, run};
pub use self::yard::Yard;
