// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole images, read back by a parser that is not ours.
