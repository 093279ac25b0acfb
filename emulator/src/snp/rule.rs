// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rules whose violation ends a run. Each has a name, a sentence for the report, and the place in
//! a specification that it comes from.

use core::fmt;

use super::refusal::Refusal;

/// A rule that hardware (or an honest host) enforces and that software just broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A shared access (C-bit clear) to a page that is assigned to the guest.
    SharedAccessToPrivate {
        /// Guest-physical address.
        gpa: u64,
    },
    /// A shared access (C-bit clear) to memory that the guest never asked to be shared.
    SharedAccessToUnshared {
        /// Guest-physical address.
        gpa: u64,
    },
    /// An instruction fetch or a page-table walk through a mapping whose C-bit is clear.
    FetchOrWalkFromShared {
        /// Guest-physical address.
        gpa: u64,
    },
    /// The permissions of this VMPL do not allow the access.
    VmplPermission {
        /// Guest-physical address.
        gpa: u64,
        /// Who tried.
        vmpl: u8,
    },
    /// PVALIDATE, RMPADJUST or RMPQUERY through a mapping whose C-bit is clear.
    InstructionThroughShared {
        /// Guest-physical address.
        gpa: u64,
    },
    /// PVALIDATE, RMPADJUST or RMPQUERY of a page that the firmware holds.
    ImmutablePage {
        /// Guest-physical address.
        gpa: u64,
    },
    /// A VMSA that the host was told to run can't be run.
    VmsaRefused {
        /// Guest-physical address of the VMSA.
        gpa: u64,
        /// Why.
        refusal: Refusal,
    },
    /// VMGEXIT with a GHCB that is not shared memory.
    GhcbNotShared {
        /// Guest-physical address of the GHCB.
        gpa: u64,
    },
    /// The guest reports an exit that it can't handle.
    GuestUnsupportedEvent {
        /// Exit code that its #VC handler saw.
        code: u64,
    },
    /// VMGEXIT with a code of the MSR protocol that does not exist.
    UnknownMsrProtocol {
        /// Value of the GHCB MSR.
        value: u64,
    },
}

impl Rule {
    /// Where the rule is written.
    pub const fn source(&self) -> &'static str {
        match self {
            Self::SharedAccessToPrivate { .. } | Self::FetchOrWalkFromShared { .. } => {
                "APM vol. 2, 15.34.5 and 15.36.10 (memory access checks)"
            }
            Self::SharedAccessToUnshared { .. } => "GHCB spec 56421, SNP page state change",
            Self::VmplPermission { .. } => "APM vol. 2, 15.36.7 (VMPL permissions)",
            Self::InstructionThroughShared { .. } | Self::ImmutablePage { .. } => {
                "APM vol. 3, PVALIDATE, RMPADJUST, RMPQUERY"
            }
            Self::VmsaRefused { .. } => "APM vol. 2, 15.36.12 (VMRUN page checks)",
            Self::GhcbNotShared { .. } => "GHCB spec 56421, GHCB: a shared page",
            Self::GuestUnsupportedEvent { .. } => "GHCB spec 56421, unsupported event",
            Self::UnknownMsrProtocol { .. } => "GHCB spec 56421, GHCB MSR protocol",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SharedAccessToPrivate { gpa } => {
                write!(f, "shared access to the private page at {gpa:#x}")
            }
            Self::SharedAccessToUnshared { gpa } => {
                write!(f, "shared access to {gpa:#x}, which was never made shared")
            }
            Self::FetchOrWalkFromShared { gpa } => write!(
                f,
                "instruction fetch or page-table walk at {gpa:#x} through a shared mapping"
            ),
            Self::VmplPermission { gpa, vmpl } => {
                write!(
                    f,
                    "VMPL{vmpl} lacks the permission for its access to {gpa:#x}"
                )
            }
            Self::InstructionThroughShared { gpa } => write!(
                f,
                "an RMP instruction at {gpa:#x} through a mapping whose C-bit is clear"
            ),
            Self::ImmutablePage { gpa } => {
                write!(
                    f,
                    "an RMP instruction on {gpa:#x}, which the firmware holds"
                )
            }
            Self::VmsaRefused { gpa, refusal } => {
                write!(f, "the VMSA at {gpa:#x} can't be run: {refusal}")
            }
            Self::GhcbNotShared { gpa } => {
                write!(
                    f,
                    "VMGEXIT with a GHCB at {gpa:#x} that is not shared memory"
                )
            }
            Self::GuestUnsupportedEvent { code } => write!(
                f,
                "the guest's #VC handler can't handle exit code {code:#x}"
            ),
            Self::UnknownMsrProtocol { value } => {
                write!(
                    f,
                    "VMGEXIT with {value:#x}, no code of the GHCB MSR protocol"
                )
            }
        }
    }
}
