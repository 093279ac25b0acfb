// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands, one file each, named as the user types them: help text, arguments, action.

pub(crate) mod bench;
pub(crate) mod branch;
pub(crate) mod build;
pub(crate) mod doctor;
pub(crate) mod measure;
pub(crate) mod run;
pub(crate) mod test;
