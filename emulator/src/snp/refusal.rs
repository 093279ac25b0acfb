// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why VMRUN refuses a VMSA (APM vol. 2, 15.36.12). The RMP has some of the reasons, the page itself
//! has the others.

use core::fmt;

/// Names of the bits of SEV_FEATURES (APM vol. 2, table B-4).
const FEATURE_NAMES: [&str; 18] = [
    "SNPActive",
    "vTOM",
    "ReflectVC",
    "RestrictedInjection",
    "AlternateInjection",
    "DebugSwap",
    "PreventHostIBS",
    "SNPBTBIsolation",
    "VmplSSS",
    "SecureTSC",
    "VmgexitParameter",
    "PmcVirtualization",
    "IbsVirtualization",
    "GuestInterceptControl",
    "VmsaRegProt",
    "SmtProtection",
    "SecureAVIC",
    "reserved",
];

/// Why VMRUN refuses a VMSA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Another vCPU runs it: VMEXIT_BUSY.
    Busy,
    /// Not an assigned, validated page with the VMSA bit in the RMP.
    NotAVmsa,
    /// The host asks to run it at a VMPL that is not its own.
    WrongVmpl {
        /// What the VMSA says.
        vmsa: u8,
    },
    /// EFER.SVME is clear.
    SvmeClear,
    /// SEV_FEATURES lacks SNPActive.
    NotSnpActive,
    /// SEV_FEATURES has a bit that this machine does not offer.
    Feature {
        /// Number of the bit.
        bit: u32,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("it is in use by another vCPU"),
            Self::NotAVmsa => f.write_str("the RMP does not have it as a validated VMSA page"),
            Self::WrongVmpl { vmsa } => write!(f, "its VMPL field is {vmsa}"),
            Self::SvmeClear => f.write_str("EFER.SVME is clear"),
            Self::NotSnpActive => f.write_str("SEV_FEATURES lacks SNPActive"),
            Self::Feature { bit } => {
                let name = FEATURE_NAMES
                    .get(*bit as usize)
                    .unwrap_or(&FEATURE_NAMES[FEATURE_NAMES.len() - 1]);
                write!(f, "SEV_FEATURES bit {bit} ({name}) is not offered")
            }
        }
    }
}
