// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the host does for a guest that exits with VMGEXIT: the verbs behind the protocol. The
//! bare-metal half implements them for the vCPU that exited; tests have a fake.

use snp_defs::rmp::RmpSize;

/// An address that is not shared memory of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotShared;

/// Nothing answers: no such register, or the value is not allowed. The guest gets #GP(0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// An answer of CPUID.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "registers; their names are the manual's")]
pub struct CpuidAnswer {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

/// Operation of a page state change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageOp {
    /// Make private.
    Private,
    /// Make shared.
    Shared,
    /// Split a 2M page of the RMP.
    Psmash,
    /// Merge 4K pages of the RMP.
    Unsmash,
}

/// An AP_CREATION request that passed all checks that need no knowledge of other vCPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApRequest {
    /// What is to happen.
    pub kind: ApRequestKind,
    /// APIC id of the vCPU.
    pub apic_id: u32,
    /// VMPL of the vCPU to which the request applies; never below the caller's number.
    pub vmpl: u8,
}

/// Kinds of AP_CREATION.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApRequestKind {
    /// From the next INIT on, run this VMSA (56421, SNP AP creation: CREATE_ON_INIT).
    CreateOnInit {
        /// Guest-physical address of the VMSA page.
        vmsa: u64,
        /// SEV_FEATURES that the caller says the VMSA has.
        sev_features: u64,
    },
    /// Run this VMSA now (CREATE).
    Create {
        /// Guest-physical address of the VMSA page.
        vmsa: u64,
        /// SEV_FEATURES that the caller says the VMSA has.
        sev_features: u64,
    },
    /// Stop, and forget the VMSA (DESTROY).
    Destroy,
}

/// Why a guest ends itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Termination {
    /// Reason set: 0 general, 1 Linux, 2 Parapet.
    pub set: u8,
    /// Reason code in that set.
    pub code: u8,
}

/// Something that the host's log should have: the guest got an answer that it may not like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// A request was answered as malformed; `reason` is one of `snp_defs::ghcb::malformed`.
    Malformed {
        /// Exit code of the request.
        code: u64,
        /// SW_EXITINFO2 of the answer.
        reason: u64,
    },
    /// RDMSR of a register that does not exist here: #GP.
    UnknownMsrRead {
        /// Number of the register.
        msr: u32,
    },
    /// WRMSR of a register that does not exist here, or of a refused value: #GP.
    UnknownMsrWrite {
        /// Number of the register.
        msr: u32,
        /// What was to be written.
        value: u64,
    },
    /// The guest reports an event that it does not support (56421, unsupported event).
    UnsupportedEvent {
        /// Exit code that the guest's #VC handler saw.
        code: u64,
    },
    /// A page state change failed at this page.
    PageStateRefused {
        /// Guest-physical address.
        gpa: u64,
        /// The operation.
        op: PageOp,
    },
    /// An AP_CREATION request was refused.
    ApCreationRefused {
        /// APIC id of the request.
        apic_id: u32,
        /// VMPL of the request.
        vmpl: u8,
    },
}

/// The host, seen from one vCPU at one VMPL.
pub trait HostServices {
    /// APIC id of the vCPU that exited.
    fn apic_id(&self) -> u32;
    /// VMPL that exited.
    fn vmpl(&self) -> u8;

    /// Copies from shared memory of the guest into `to`.
    ///
    /// # Errors
    /// A byte of it is not in a shared page; nothing was copied.
    fn read_shared(&mut self, gpa: u64, to: &mut [u8]) -> Result<(), NotShared>;
    /// Copies `from` into shared memory of the guest.
    ///
    /// # Errors
    /// As [`Self::read_shared`].
    fn write_shared(&mut self, gpa: u64, from: &[u8]) -> Result<(), NotShared>;
    /// Whether `[gpa, gpa + length)` is shared memory of the guest.
    fn is_shared(&self, gpa: u64, length: u64) -> bool;

    /// IN of `size` bytes (1, 2, 4). A port that is hidden reads as all ones.
    fn port_in(&mut self, port: u16, size: u8) -> u32;
    /// OUT of `size` bytes (1, 2, 4).
    fn port_out(&mut self, port: u16, size: u8, value: u32);
    /// Reads `to.len()` bytes (1, 2, 4, 8) of memory-mapped I/O.
    ///
    /// # Errors
    /// No device there.
    fn mmio_read(&mut self, gpa: u64, to: &mut [u8]) -> Result<(), Refused>;
    /// Writes `from` (1, 2, 4, 8 bytes) to memory-mapped I/O.
    ///
    /// # Errors
    /// No device there.
    fn mmio_write(&mut self, gpa: u64, from: &[u8]) -> Result<(), Refused>;

    /// CPUID as the guest is to see it. `xcr0` and `xss` are the caller's.
    fn cpuid(&mut self, leaf: u32, subleaf: u32, xcr0: u64, xss: u64) -> CpuidAnswer;
    /// The guest's time-stamp counter.
    fn tsc(&mut self) -> u64;
    /// RDMSR of IA32_APIC_BASE, IA32_TSC_DEADLINE or an x2APIC register (0x800 to 0x8FF).
    ///
    /// # Errors
    /// #GP(0).
    fn apic_msr_read(&mut self, msr: u32) -> Result<u64, Refused>;
    /// WRMSR of one of those.
    ///
    /// # Errors
    /// #GP(0).
    fn apic_msr_write(&mut self, msr: u32, value: u64) -> Result<(), Refused>;
    /// WRMSR of a register of KVM's clock ([`crate::kvm_clock`]), as far as the host has it.
    ///
    /// # Errors
    /// #GP(0).
    fn clock_msr_write(&mut self, _msr: u32, _value: u64) -> Result<(), Refused> {
        Err(Refused)
    }
    /// The guest has handled an NMI.
    fn nmi_complete(&mut self);

    /// Changes the state of one page; `gpa` is aligned to `size`, PSMASH and unsmash have 2M. Clears
    /// nested leaves, scrambles, and flushes every vCPU before it returns.
    ///
    /// # Errors
    /// No guest memory there, or the page is immutable or in use: nothing changed.
    fn page_state(&mut self, gpa: u64, op: PageOp, size: RmpSize) -> Result<(), Refused>;

    /// Creates or destroys a vCPU's context at a VMPL. The VMSA itself is checked when it is run.
    ///
    /// # Errors
    /// No such vCPU, or the state of that vCPU does not allow it.
    fn ap_create(&mut self, request: &ApRequest) -> Result<(), Refused>;
    /// Whether `vmpl` of this vCPU has a VMSA that could be run.
    fn has_vmpl(&self, vmpl: u8) -> bool;
    /// APIC ids of all vCPUs, in the order of their numbers; none at or after the last.
    fn apic_id_of(&self, index: u32) -> Option<u32>;
    /// Guest-physical address that the AP jump table was set to, 0 before that.
    fn ap_jump_table(&self) -> u64;
    /// Keeps the address of the AP jump table.
    fn set_ap_jump_table(&mut self, gpa: u64);

    /// Hands a guest message to the security firmware; returns its status, 0 for success.
    fn guest_request(&mut self, request: &[u8; 4096], response: &mut [u8; 4096]) -> u32;
    /// The certificate table for extended guest requests, padded to whole pages by the caller.
    fn certificates(&self) -> &[u8];

    /// #HV doorbell: this VMPL uses the page at `gpa` from now on, or none.
    fn set_doorbell(&mut self, gpa: Option<u64>);
    /// #HV IPI: sends what this value of the x2APIC ICR describes.
    ///
    /// # Errors
    /// The value is no valid ICR, or the VMPL does not run with restricted injection.
    fn hv_ipi(&mut self, icr: u64) -> Result<(), Refused>;
    /// Whether this VMPL runs with restricted injection.
    fn restricted_injection(&self) -> bool;

    /// A line for the host's log.
    fn note(&mut self, note: Note);
}
