// SPDX-License-Identifier: MIT OR Apache-2.0
//! Model-specific registers of SEV-SNP, and the GHCB MSR protocol (56421, 2.3.1).

/// Page attribute table and others are architectural; these are SEV's.
/// GHCB: the GHCB's guest-physical address, or a request of the MSR protocol.
pub const GHCB: u32 = 0xC001_0130;
/// SEV_STATUS: which features this VMPL runs with; read without an exit.
pub const SEV_STATUS: u32 = 0xC001_0131;
/// Extended features; SVME is bit 12.
pub const EFER: u32 = 0xC000_0080;

/// Bits of SEV_STATUS; bits from 2 on are the SEV features of the VMSA, moved up by two.
pub mod status {
    /// SEV is on.
    pub const SEV: u64 = 1 << 0;
    /// SEV-ES is on.
    pub const ES: u64 = 1 << 1;
    /// SEV-SNP is on.
    pub const SNP: u64 = 1 << 2;
    /// Restricted injection.
    pub const RESTRICTED_INJECTION: u64 = 1 << 5;
    /// Alternate injection.
    pub const ALTERNATE_INJECTION: u64 = 1 << 6;
}

/// The low twelve bits of the GHCB MSR: what the rest of it means.
pub mod protocol {
    /// Mask of the code.
    pub const CODE_MASK: u64 = 0xFFF;
    /// Answer: SEV information. Bits 63:48 greatest, 47:32 least protocol version, 31:24 C-bit.
    pub const SEV_INFO_RESPONSE: u64 = 0x001;
    /// Request: SEV information.
    pub const SEV_INFO_REQUEST: u64 = 0x002;
    /// Request: CPUID. Bits 63:32 function, 31:30 register (0 = EAX ... 3 = EDX).
    pub const CPUID_REQUEST: u64 = 0x004;
    /// Answer: CPUID. Bits 63:32 value, 31:30 register.
    pub const CPUID_RESPONSE: u64 = 0x005;
    /// Request: AP reset hold.
    pub const AP_RESET_HOLD_REQUEST: u64 = 0x006;
    /// Answer: AP reset hold. Bits 63:12 nonzero when started.
    pub const AP_RESET_HOLD_RESPONSE: u64 = 0x007;
    /// Request: preferred GHCB.
    pub const PREFERRED_GHCB_REQUEST: u64 = 0x010;
    /// Answer: preferred GHCB. Bits 63:12 page number, all ones for none.
    pub const PREFERRED_GHCB_RESPONSE: u64 = 0x011;
    /// Request: register the GHCB. Bits 63:12 page number.
    pub const REGISTER_GHCB_REQUEST: u64 = 0x012;
    /// Answer: register the GHCB. Bits 63:12 the same page number, all ones when refused.
    pub const REGISTER_GHCB_RESPONSE: u64 = 0x013;
    /// Request: page state change. Bits 55:52 operation, 51:12 page number.
    pub const PSC_REQUEST: u64 = 0x014;
    /// Answer: page state change. Bits 63:32 error, 0 when done.
    pub const PSC_RESPONSE: u64 = 0x015;
    /// Request: run a VMPL. Bits 39:32 the VMPL.
    pub const RUN_VMPL_REQUEST: u64 = 0x016;
    /// Answer: run a VMPL. Bits 63:32 error, 0 when done.
    pub const RUN_VMPL_RESPONSE: u64 = 0x017;
    /// Request: hypervisor features.
    pub const HV_FEATURES_REQUEST: u64 = 0x080;
    /// Answer: hypervisor features. Bits 63:12 the features.
    pub const HV_FEATURES_RESPONSE: u64 = 0x081;
    /// Request: end the guest. Bits 23:16 reason code, 15:12 reason set.
    pub const TERMINATE_REQUEST: u64 = 0x100;
}

/// Bits of the hypervisor features (56421, 4.1.12).
pub mod hv_features {
    /// SEV-SNP.
    pub const SNP: u64 = 1 << 0;
    /// AP creation.
    pub const AP_CREATION: u64 = 1 << 1;
    /// Restricted injection.
    pub const RESTRICTED_INJECTION: u64 = 1 << 2;
    /// Restricted injection's timer.
    pub const RESTRICTED_INJECTION_TIMER: u64 = 1 << 3;
    /// APIC id list.
    pub const APIC_ID_LIST: u64 = 1 << 4;
    /// Several VMPLs.
    pub const MULTI_VMPL: u64 = 1 << 5;
}

/// Reason codes of a termination request, by set (56421, 2.3.1; set 1 is Linux's, from
/// `arch/x86/include/asm/sev-common.h`; set 2 is Parapet's own).
pub mod terminate {
    /// The set that the GHCB specification defines.
    pub const SET_GENERAL: u8 = 0;
    /// The set that Linux uses.
    pub const SET_LINUX: u8 = 1;
    /// The set that the SVSM uses.
    pub const SET_PARAPET: u8 = 2;

    /// What a general reason code means.
    pub const GENERAL: [&str; 3] = [
        "general termination request",
        "no common version of the GHCB protocol",
        "a required SEV-SNP feature is not offered",
    ];

    /// What a reason code of Linux means.
    pub const LINUX: [&str; 12] = [
        "the GHCB could not be registered",
        "a page state change failed",
        "a page could not be validated",
        "not running at VMPL0, and no SVSM",
        "the CPUID page is missing or wrong",
        "the CPUID page differs from what the hypervisor says",
        "the secrets page is missing or wrong",
        "running below VMPL0 without an SVSM",
        "running at VMPL0 although an SVSM is present",
        "the SVSM's calling area is missing or wrong",
        "secure TSC could not be set up",
        "the SVSM refused the new calling area",
    ];

    /// What a reason code of Parapet's set means; the index is the code.
    pub const PARAPET: [&str; 7] = [
        "general termination request",
        "a panic: a fault of the SVSM's own",
        "an exception that nothing expects",
        "what the host gave at launch contradicts the measured launch page",
        "the host broke its protocol",
        "memory of the SVSM was taken away or replaced",
        "processor or features are not those that the image was made for",
    ];

    /// Reason codes of Parapet's set.
    pub mod parapet {
        /// A panic: the SVSM's own fault.
        pub const PANIC: u8 = 0x01;
        /// An exception that nothing in the SVSM expects.
        pub const EXCEPTION: u8 = 0x02;
        /// The host gave something that the measured launch page rules out.
        pub const LAUNCH: u8 = 0x03;
        /// The host answered a request against the specification.
        pub const HOST_PROTOCOL: u8 = 0x04;
        /// Memory that the SVSM owns was taken away or replaced.
        pub const MEMORY: u8 = 0x05;
        /// The processor or the SEV features are not those that the image was made for.
        pub const FEATURES: u8 = 0x06;
    }
}
