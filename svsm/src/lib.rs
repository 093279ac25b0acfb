// SPDX-License-Identifier: MIT OR Apache-2.0
//! Placeholder page, replaced by its owner.
#![no_std]
