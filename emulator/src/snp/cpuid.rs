// SPDX-License-Identifier: MIT OR Apache-2.0
//! What CPUID says in the emulated machine, and the CPUID page.
//!
//! One policy answers everywhere: the MSR protocol, the GHCB's CPUID event and the CPUID page. It
//! starts from what the real processor says, so that no instruction is offered that QEMU can't
//! execute, hides what the emulator can't let the guest have, and adds what the emulator provides.
#![forbid(unsafe_code)]

use snp_defs::cpuid::CpuidPage;

use super::firmware::Status;

/// EAX, EBX, ECX and EDX.
pub type Registers = [u32; 4];

/// The real CPUID: leaf, sub-leaf to registers.
pub type Raw<'a> = &'a dyn Fn(u32, u32) -> Registers;

/// The policy for a machine.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    vcpus: u32,
}

/// What of a vCPU's state CPUID's answers depend on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asker {
    /// APIC id.
    pub apic_id: u32,
    /// CR4 (OSXSAVE is shown in leaf 1).
    pub cr4: u64,
    /// XCR0 (leaf 0xD).
    pub xcr0: u64,
    /// IA32_XSS (leaf 0xD).
    pub xss: u64,
}

impl Policy {
    /// For `vcpus` vCPUs with the APIC ids 0 to `vcpus - 1`.
    pub const fn new(vcpus: u32) -> Self {
        Self { vcpus }
    }

    /// What CPUID says to a vCPU.
    pub fn answer(&self, raw: Raw<'_>, asker: &Asker, leaf: u32, sub_leaf: u32) -> Registers {
        let _ = (self.vcpus, asker);
        raw(leaf, sub_leaf)
    }

    /// The CPUID page as the host fills it before the firmware checks it.
    pub fn page(&self, raw: Raw<'_>) -> CpuidPage {
        let _ = raw;
        zerocopy::FromZeros::new_zeroed()
    }

    /// The firmware's check of a CPUID page (56860, SNP_LAUNCH_UPDATE, PAGE_TYPE_CPUID): an entry
    /// that the processor does not bear out is corrected, and the status says so.
    ///
    /// # Errors
    /// [`Status::InvalidParameter`] when something had to be corrected; the page may be added again
    /// as it is now.
    pub fn check(&self, raw: Raw<'_>, page: &mut CpuidPage) -> Result<(), Status> {
        let _ = (raw, page);
        Ok(())
    }
}
