// SPDX-License-Identifier: MIT OR Apache-2.0
//! SVM exit codes (24593, appendix C) and the codes that the GHCB specification adds (56421, 4.1).

/// Read of CR0; the codes of the other control registers follow.
pub const CR0_READ: u64 = 0x00;
/// Write of CR0; the codes of the other control registers follow.
pub const CR0_WRITE: u64 = 0x10;
/// Write of CR4.
pub const CR4_WRITE: u64 = 0x14;
/// Write of CR8.
pub const CR8_WRITE: u64 = 0x18;
/// Read of DR0; the codes of the other debug registers follow.
pub const DR0_READ: u64 = 0x20;
/// Read of DR7.
pub const DR7_READ: u64 = 0x27;
/// Write of DR0.
pub const DR0_WRITE: u64 = 0x30;
/// Write of DR7.
pub const DR7_WRITE: u64 = 0x37;
/// Exception 0; the code of vector *n* is this plus *n*.
pub const EXCEPTION: u64 = 0x40;
/// #UD.
pub const UD: u64 = 0x46;
/// Physical interrupt.
pub const INTR: u64 = 0x60;
/// Physical NMI.
pub const NMI: u64 = 0x61;
/// Physical SMI.
pub const SMI: u64 = 0x62;
/// Virtual interrupt window.
pub const VINTR: u64 = 0x64;
/// CR0 write that changes more than TS and MP.
pub const CR0_SEL_WRITE: u64 = 0x65;
/// RDTSC.
pub const RDTSC: u64 = 0x6E;
/// RDPMC.
pub const RDPMC: u64 = 0x6F;
/// CPUID.
pub const CPUID: u64 = 0x72;
/// IRET.
pub const IRET: u64 = 0x74;
/// INVD.
pub const INVD: u64 = 0x76;
/// PAUSE.
pub const PAUSE: u64 = 0x77;
/// HLT.
pub const HLT: u64 = 0x78;
/// INVLPG.
pub const INVLPG: u64 = 0x79;
/// INVLPGA.
pub const INVLPGA: u64 = 0x7A;
/// Port input or output.
pub const IOIO: u64 = 0x7B;
/// RDMSR or WRMSR (EXITINFO1 = 1).
pub const MSR: u64 = 0x7C;
/// Shutdown (triple fault).
pub const SHUTDOWN: u64 = 0x7F;
/// VMRUN.
pub const VMRUN: u64 = 0x80;
/// VMMCALL.
pub const VMMCALL: u64 = 0x81;
/// VMLOAD.
pub const VMLOAD: u64 = 0x82;
/// VMSAVE.
pub const VMSAVE: u64 = 0x83;
/// STGI.
pub const STGI: u64 = 0x84;
/// CLGI.
pub const CLGI: u64 = 0x85;
/// SKINIT.
pub const SKINIT: u64 = 0x86;
/// RDTSCP.
pub const RDTSCP: u64 = 0x87;
/// WBINVD or WBNOINVD.
pub const WBINVD: u64 = 0x89;
/// MONITOR or MONITORX.
pub const MONITOR: u64 = 0x8A;
/// MWAIT or MWAITX.
pub const MWAIT: u64 = 0x8B;
/// XSETBV.
pub const XSETBV: u64 = 0x8D;
/// Nested page fault.
pub const NPF: u64 = 0x400;
/// VMGEXIT.
pub const VMGEXIT: u64 = 0x403;
/// #VC error code: access to a private page that is not validated (24593, 15.36.10).
pub const PAGE_NOT_VALIDATED: u64 = 0x404;
/// VMRUN: illegal guest state.
pub const INVALID: u64 = u64::MAX;
/// VMRUN: the VMSA is in use.
pub const BUSY: u64 = u64::MAX - 1;

/// GHCB: read of memory-mapped I/O (56421, 4.1.1 and following for all of these).
pub const MMIO_READ: u64 = 0x8000_0001;
/// GHCB: write of memory-mapped I/O.
pub const MMIO_WRITE: u64 = 0x8000_0002;
/// GHCB: NMI handling is complete.
pub const NMI_COMPLETE: u64 = 0x8000_0003;
/// GHCB: wait for the next start (AP reset hold).
pub const AP_RESET_HOLD: u64 = 0x8000_0004;
/// GHCB: AP jump table.
pub const AP_JUMP_TABLE: u64 = 0x8000_0005;
/// GHCB: page state change.
pub const PAGE_STATE_CHANGE: u64 = 0x8000_0010;
/// GHCB: guest request to the security firmware.
pub const GUEST_REQUEST: u64 = 0x8000_0011;
/// GHCB: guest request with certificate data.
pub const EXT_GUEST_REQUEST: u64 = 0x8000_0012;
/// GHCB: AP creation.
pub const AP_CREATION: u64 = 0x8000_0013;
/// GHCB: #HV doorbell page.
pub const HV_DOORBELL: u64 = 0x8000_0014;
/// GHCB: #HV inter-processor interrupt.
pub const HV_IPI: u64 = 0x8000_0015;
/// GHCB: #HV timer.
pub const HV_TIMER: u64 = 0x8000_0016;
/// GHCB: APIC id list.
pub const APIC_ID_LIST: u64 = 0x8000_0017;
/// GHCB: run a VMPL.
pub const RUN_VMPL: u64 = 0x8000_0018;
/// GHCB: hypervisor features.
pub const HV_FEATURES: u64 = 0x8000_FFFD;
/// GHCB: end the guest.
pub const TERMINATE: u64 = 0x8000_FFFE;
/// GHCB: an event that the guest does not support.
pub const UNSUPPORTED_EVENT: u64 = 0x8000_FFFF;

/// EXITINFO1 of a nested page fault (24593, 15.25.6 and 15.36.10).
pub mod npf {
    /// The translation was present.
    pub const PRESENT: u64 = 1 << 0;
    /// A write.
    pub const WRITE: u64 = 1 << 1;
    /// A user access.
    pub const USER: u64 = 1 << 2;
    /// A reserved bit was set.
    pub const RESERVED: u64 = 1 << 3;
    /// An instruction fetch.
    pub const FETCH: u64 = 1 << 4;
    /// RMP violation.
    pub const RMP: u64 = 1 << 31;
    /// The fault was on the final guest-physical address.
    pub const FINAL: u64 = 1 << 32;
    /// The fault was on a guest page table.
    pub const TABLE: u64 = 1 << 33;
    /// The access had the C-bit set.
    pub const ENCRYPTED: u64 = 1 << 34;
    /// Sizes of the RMP entry and the nested translation differ.
    pub const SIZE_MISMATCH: u64 = 1 << 35;
    /// Refused by the permissions of the VMPL.
    pub const VMPL: u64 = 1 << 36;
}
