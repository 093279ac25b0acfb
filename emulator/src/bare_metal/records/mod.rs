// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is told about a run. While it lasts each vCPU keeps a [`diary`], and the trace, if there is
//! one, gets its events ([`tracing`]); a run that ends badly has a [`report`].

pub(crate) mod diary;
pub(crate) mod report;
pub(crate) mod tracing;
