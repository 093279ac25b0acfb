// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verbs that a platform supplies, and nothing else.
//!
//! A verb is named for what it does, not for how one vendor does it, and the core never asks which
//! platform it runs on. Everything but [`Host`] is resolved at compile time: an image holds one
//! platform.
//!
//! # Order
//! 1. The platform's entry code (its own, on the stack that the image builder gave) makes its value, without
//!    talking to the host, and calls `run::boot`, or `run::secondary` on every other CPU.
//! 2. The core loads descriptor tables and calls [`Platform::start_here`]. Only from then on does it use
//!    the other verbs on that CPU.
//!
//! # Who checks what
//! The core has asked its page tracker before it calls a verb with a page of the guest's (`memory::custody`,
//! which alone may): the page lies in the guest's memory, nobody else changes its state, and its state
//! allows the change. The platform answers for what the hardware and the host say.

use crate::cpu::TrapFrame;
use crate::guest::{Exit, Registers, VcpuState};
use crate::memory::{Access, GuestMemory, Page, Pages};
use svsm_launch::{GuestStart, LaunchInfo};

/// Why a page operation did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageError {
    /// The page has this state already; nothing was changed.
    Unchanged,
    /// The hardware or the host holds the memory in pages of another size: repeat page by page.
    SizeMismatch,
    /// The host took the page away, or never gave it.
    NotPresent,
    /// Refused, with the platform's own code (on SNP: EAX of the instruction), never 0.
    Refused(u32),
}

/// Why a page can't become, or cease to be, the state of a vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VcpuError {
    /// What the guest wrote into it is not a state that it may run.
    Malformed,
    /// It executes just now.
    Running,
    /// The page itself.
    Page(PageError),
}

/// Why a request to the host did not succeed. None of these is trusted: a host may also lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostError {
    /// The host says that it can't.
    Refused(u64),
    /// The host's answer is not one that the specification allows.
    Malformed,
    /// The host does not offer this.
    Unsupported,
}

/// Why no evidence could be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceError {
    /// The buffer for certificates is too small; this many bytes are needed.
    CertificatesNeed(usize),
    /// The host or the firmware is busy; nothing was lost, try again.
    Busy,
    /// No more evidence can be had in this run: the channel to the firmware was closed for safety.
    Closed,
    /// The firmware refused, with its status.
    Refused(u32),
}

/// Why the SVSM ends the machine. Each platform maps these to the reason codes of its host interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fatal {
    /// A fault of the SVSM's own.
    Panic,
    /// An exception that nothing expects.
    Exception,
    /// What the host gave at launch contradicts the measured launch page.
    Launch,
    /// The host broke its protocol in a way that can't be answered by an error.
    HostProtocol,
    /// Memory of the SVSM was taken away or replaced.
    Memory,
    /// The processor lacks what the image needs.
    Features,
}

/// What became of an exception that only the platform understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trap {
    /// Done; the interrupted code goes on, as the frame now says.
    Handled,
    /// The interrupted code touched memory that is not there. The core resumes it at
    /// its fix-up if it has one, as copies of the guest's memory do, and ends the machine otherwise.
    Access,
    /// Nothing to be done: the machine ends.
    Fatal(Fatal),
}

/// A line of CPUID.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "registers")]
pub struct Cpuid {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

/// What the log, the trap entry and a fatal error need: code that is not generic. The only verbs
/// called through a pointer, and all of them must work, after
/// [`Platform::start_here`], in whatever state the CPU is, locks held or not.
pub trait Host: Sync {
    /// Writes to an I/O port of the host's, for the log. A host that refuses is ignored.
    fn port_write(&self, port: u16, value: u8);
    /// Reads from an I/O port of the host's; all ones where the host refuses.
    fn port_read(&self, port: u16) -> u8;
    /// Ends the machine with a reason; should the host not obey, this CPU never goes on.
    fn terminate(&self, reason: Fatal) -> !;
    /// An exception that is none of the core's, which serves page faults and double faults (on SNP: #VC
    /// and #HV mean something). Interrupts are off, and the stack is the interrupted one but for NMI and
    /// #MC, which have one that a second of them would overwrite: these are not for going on.
    fn trap(&self, frame: &mut TrapFrame) -> Trap;
}

/// A platform: one value for the machine, shared by all CPUs.
///
/// # Safety
/// The core hands out references to memory because of what these verbs promise: a page that was
/// accepted is the machine's, a page without access is the SVSM's alone once [`Platform::flush`] returned,
/// a vCPU state page is touched in the named windows only, and [`Platform::Memory`] writes nowhere else.
pub unsafe trait Platform: Host + Sized + 'static {
    /// Bytes of a report.
    const REPORT_SIZE: usize;

    /// How the guest's memory is read and written; `memory::DirectMap` on hardware.
    type Memory: GuestMemory;

    /// Prepares the platform on this CPU (on SNP: registers its page shared with the host). The first
    /// verb on each CPU; `cpu` is 0 on the boot CPU. Checks, on the boot CPU, that the
    /// processor and the host offer what the platform needs.
    fn start_here(&self, cpu: usize) -> Result<(), Fatal>;

    /// CPUID as the platform vouches for it, never by the instruction where the host answers that.
    /// Zero where there is no such leaf.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> Cpuid;

    /// The guest's memory.
    fn memory(&self) -> &Self::Memory;

    // Memory ---------------------------------------------------------------------------------

    /// Takes a page of the guest's memory into the machine: from now on its contents are protected
    /// from the host, and undefined. The SVSM alone may use it. (SNP: PVALIDATE.)
    ///
    /// [`PageError::Unchanged`] where it is in the machine already: hardware found what the tracker should have.
    ///
    /// # Safety
    /// The caller made the page busy in the tracker, and no object of Rust's lies in it.
    unsafe fn accept(&self, page: Page) -> Result<(), PageError>;

    /// Gives up the protection of a page; the guest must have lost access before. (SNP: PVALIDATE.)
    ///
    /// # Safety
    /// As for [`Platform::accept`].
    unsafe fn release(&self, page: Page) -> Result<(), PageError>;

    /// Sets what the guest may do with a page. Taking rights away is complete only after
    /// [`Platform::flush`]. (SNP: RMPADJUST.)
    ///
    /// # Safety
    /// As for [`Platform::accept`].
    unsafe fn protect(&self, page: Page, access: Access) -> Result<(), PageError>;

    /// Returns when no CPU uses a translation that is older than this call. (SNP: INVLPGB, TLBSYNC.)
    fn flush(&self);

    /// Asks the host to hold these pages as protected memory, in as few requests as the interface
    /// lets it. The host may lie: [`Platform::accept`] tells the truth. (SNP: page-state change.)
    fn request_private(&self, pages: &mut dyn Iterator<Item = Page>) -> Result<(), HostError>;

    // The guest's vCPUs ----------------------------------------------------------------------

    /// Makes the page `state` of the guest's memory into the state of a vCPU. The guest wrote it and
    /// can no longer touch it (revoked and flushed): check it now, once. `creator` is the calling
    /// vCPU, whose features the new one must have. After an error the page is an ordinary one.
    fn create_vcpu(&self, state: VcpuState, creator: VcpuState) -> Result<(), VcpuError>;

    /// Fills `state`, a zeroed page of the SVSM's own, as the guest's first vCPU.
    fn create_boot_vcpu(&self, state: VcpuState, start: &GuestStart) -> Result<(), VcpuError>;

    /// Makes the page an ordinary one again, so that no processor can run it any more.
    /// [`VcpuError::Running`] where it executes just now; it then stays as it was.
    fn delete_vcpu(&self, state: VcpuState) -> Result<(), VcpuError>;

    /// Sees to it that the host can't run the vCPU until [`Platform::permit`], and tells why it stopped
    /// (SNP: clears EFER.SVME, then looks at the exit code; 58019, 5). After [`Exit::Running`]
    /// nothing was changed, and no `permit` follows.
    fn stop(&self, vcpu: VcpuState) -> Exit;

    /// The registers of a call. Only between [`Platform::stop`] and [`Platform::permit`].
    fn registers(&self, vcpu: VcpuState) -> Registers;

    /// Writes the result registers of a call (RAX, RCX, RDX, R8, R9).
    /// Only between [`Platform::stop`] and [`Platform::permit`].
    fn set_registers(&self, vcpu: VcpuState, registers: &Registers);

    /// Lets the host run the vCPU again (SNP: sets EFER.SVME). The last touch of its page: from
    /// here on another CPU may delete it.
    fn permit(&self, vcpu: VcpuState);

    /// Lets the guest run on this CPU until somebody wants the SVSM; with `None`, or where the
    /// host has nothing to run, waits for that. The host decides when it is and may lie: the core
    /// then asks [`Platform::stop`], perhaps of a vCPU that took the place of this one meanwhile.
    /// Does not touch the page of a vCPU that the guest made: it may be deleted by now.
    fn enter(&self, vcpu: Option<VcpuState>);

    /// Has the host start CPU `cpu` (its index, and APIC id) in the platform's secondary entry.
    fn start_cpu(&self, cpu: usize) -> Result<(), HostError>;

    /// Fills the pages in the guest's memory that hold what only the platform knows: on SNP
    /// secrets and CPUID. Keys that the guest must not have are left out. Called once, before the guest
    /// runs: none of its pages was lent yet.
    fn fill_guest_pages(&self, launch: &LaunchInfo) -> Result<(), PageError>;

    // Evidence -------------------------------------------------------------------------------

    /// A report over `data`, written to the start of `report`, which has at least
    /// [`Platform::REPORT_SIZE`] bytes. Certificates that the host has for it are
    /// written to `certificates`, page after page, and their length in bytes is returned; none are
    /// asked for where there is no page. They are the host's word, nothing more.
    fn report(
        &self,
        data: &[u8; 64],
        report: &mut [u8],
        certificates: &mut Pages<'_>,
    ) -> Result<usize, EvidenceError>;
}
