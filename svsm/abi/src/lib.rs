// SPDX-License-Identifier: MIT OR Apache-2.0
//! The SVSM protocols as AMD publication 58019 writes them down: numbers and layouts, no behaviour.
#![no_std]
#![forbid(unsafe_code)]

pub mod attestation;
pub mod calling_area;
pub mod core_protocol;
pub mod result;

/// RAX of a call: the protocol in bits 63:32, the call in bits 31:0 (58019, 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallId {
    /// Number of the protocol.
    pub protocol: u32,
    /// Number of the call within it.
    pub call: u32,
}

impl CallId {
    /// From the caller's RAX.
    pub const fn from_rax(rax: u64) -> Self {
        Self {
            protocol: (rax >> 32) as u32,
            call: rax as u32,
        }
    }

    /// As the caller's RAX.
    pub const fn to_rax(self) -> u64 {
        ((self.protocol as u64) << 32) | self.call as u64
    }
}
