// SPDX-License-Identifier: MIT OR Apache-2.0
//! The secrets page (56860, table "Secrets Page").
