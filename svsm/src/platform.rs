// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verbs that a platform supplies, and nothing else.
//!
//! A verb is named for what it does, not for how one vendor does it, and the core never asks which
//! platform it runs on. Everything is resolved at compile time: an image holds one platform.

use crate::guest::{Exit, Registers};
use crate::memory::{Access, Frame, Page};

/// Why a page operation did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageError {
    /// The page has this state already; nothing was changed.
    Unchanged,
    /// The hardware or the host holds the memory in smaller pages: repeat page by page.
    SizeMismatch,
    /// The host took the page away, or never gave it.
    NotPresent,
    /// Refused, with the platform's own code.
    Refused(u32),
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

/// A platform: one value for the machine, shared by all CPUs.
pub trait Platform: Sync + 'static {
    /// What holds a guest vCPU's registers: an opaque page to the core (a VMSA on SNP).
    type Vcpu: GuestVcpu;

    // Memory ---------------------------------------------------------------------------------

    /// Takes a page of the guest's memory into the machine: from now on its contents are protected
    /// from the host, and undefined. The SVSM alone may use it.
    fn accept(&self, page: Page) -> Result<(), PageError>;

    /// Gives up the protection of a page; the guest must have lost access before.
    fn release(&self, page: Page) -> Result<(), PageError>;

    /// Sets what the guest may do with a page. Taking rights away is complete only after
    /// [`Platform::flush`].
    fn protect(&self, page: Page, access: Access) -> Result<(), PageError>;

    /// Returns when no CPU uses a translation that is older than this call.
    fn flush(&self);

    /// Asks the host to hold these pages as protected memory, in one request where the interface
    /// lets it. The host may lie: [`Platform::accept`] tells the truth.
    fn request_private(&self, pages: &mut dyn Iterator<Item = Page>) -> Result<(), HostError>;

    // The guest's vCPUs ----------------------------------------------------------------------

    /// Makes a page of the guest's, which the guest can no longer touch, into the state of a vCPU,
    /// after checks: the guest wrote it. `creator` is the calling vCPU, whose features the new
    /// one must have.
    fn create_vcpu(&self, state: Frame, creator: &Self::Vcpu) -> Result<Self::Vcpu, PageError>;

    /// Makes the first vCPU of the guest from the launch page, in memory of the SVSM's own.
    fn create_boot_vcpu(&self, state: Frame, start: &svsm_launch::GuestStart) -> Result<Self::Vcpu, PageError>;

    /// Undoes [`Platform::create_vcpu`]. [`PageError::Unchanged`] where the vCPU executes just now.
    fn delete_vcpu(&self, vcpu: &Self::Vcpu) -> Result<(), PageError>;

    /// Enters the guest on this CPU, or waits where there is no vCPU to enter, until somebody wants the
    /// SVSM. The host decides when that is and may lie about it.
    fn enter(&self, vcpu: Option<&Self::Vcpu>) -> Exit;

    /// Starts another CPU in the SVSM.
    fn start_cpu(&self, apic_id: u32) -> Result<(), HostError>;

    // The host -------------------------------------------------------------------------------

    /// Writes to an I/O port of the host's, for the log.
    fn port_write(&self, port: u16, value: u8);
    /// Reads from an I/O port of the host's.
    fn port_read(&self, port: u16) -> u8;
    /// Ends the machine with a reason.
    fn terminate(&self, reason: Fatal) -> !;

    // Evidence -------------------------------------------------------------------------------

    /// A report over `data`, written to `report`; returns its length. Certificates that the host has
    /// for it are written to `certificates` and their length is returned too, where some are asked for.
    fn report(
        &self,
        data: &[u8; 64],
        report: &mut [u8],
        certificates: Option<&mut [u8]>,
    ) -> Result<(usize, usize), EvidenceError>;

    /// Random bytes that the host can't know; `false` where the processor gives none just now.
    fn random(&self, bytes: &mut [u8]) -> bool;
}

/// The state of a guest vCPU while it does not run.
pub trait GuestVcpu {
    /// The page that holds it.
    fn frame(&self) -> Frame;
    /// The registers of a call.
    fn call_registers(&self) -> Registers;
    /// Writes the result registers of a call.
    fn set_call_registers(&self, registers: &Registers);
}
