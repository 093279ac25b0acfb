// SPDX-License-Identifier: MIT OR Apache-2.0
//! Result codes: what a call returns in RAX (58019, 5, table 4).

/// The result of a call, as RAX has it. A number of its own type, since protocols add codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct ResultCode(pub u64);

impl ResultCode {
    /// The call did what was asked.
    pub const SUCCESS: Self = Self(0);
    /// Not done yet: issue the call again with the registers and memory as they are now.
    pub const INCOMPLETE: Self = Self(0x8000_0000);
    /// No such protocol.
    pub const UNSUPPORTED_PROTOCOL: Self = Self(0x8000_0001);
    /// No such call in the protocol.
    pub const UNSUPPORTED_CALL: Self = Self(0x8000_0002);
    /// An address is outside of what the caller may name.
    pub const INVALID_ADDRESS: Self = Self(0x8000_0003);
    /// A reserved value in `SVSM_CALL_PENDING`.
    pub const INVALID_FORMAT: Self = Self(0x8000_0004);
    /// A value is out of range.
    pub const INVALID_PARAMETER: Self = Self(0x8000_0005);
    /// The call can't be done in the present state.
    pub const INVALID_REQUEST: Self = Self(0x8000_0006);
    /// Something that the call needs is in use: try again.
    pub const BUSY: Self = Self(0x8000_0007);
    /// First code that a protocol defines for itself.
    pub const PROTOCOL_BASE: Self = Self(0x8000_1000);

    /// A code of the protocol's own.
    pub const fn protocol(offset: u64) -> Self {
        Self(Self::PROTOCOL_BASE.0 + offset)
    }
}
