// SPDX-License-Identifier: MIT OR Apache-2.0
//! The I/O APIC that the guest programs, over the real one.
