// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that others write, found by address.
//!
//! # Soundness
//! Each address here is that of a mapped page which Rust knows as a [`ForeignPage`],
//! atomics, and as nothing else, for as long as the machine runs. The launch page, which is
//! measured, vouches for the layout of the region.

use parapet_snp::foreign::ForeignPage;
use parapet_snp::ghcb::Ghcb;
use parapet_snp::vmsa::Vmsa;
use snp_defs::PAGE_SIZE;
use snp_defs::cpuid::CpuidPage;
use svsm::cpu::address_of_block;
use svsm::guest::VcpuState;
use svsm_launch::{LaunchInfo, REGION_VA, per_cpu};

/// Virtual address of a page of the region.
fn address(launch: &LaunchInfo, gpa: u64) -> usize {
    (REGION_VA + (gpa - launch.region.base)) as usize
}

/// The page at `address`.
///
/// # Safety
/// It is mapped for good, and no other type is put on it.
unsafe fn page(address: usize) -> &'static ForeignPage {
    let page: *const ForeignPage = core::ptr::with_exposed_provenance(address);
    // SAFETY: mapped, aligned, and every bit pattern is a value; all access is atomic.
    unsafe { &*page }
}

/// The GHCB of a CPU.
pub(crate) fn ghcb(launch: &LaunchInfo, cpu: usize) -> Ghcb<'static> {
    let address = address_of_block(launch, cpu) + per_cpu::HOST_PAGE as usize;
    // SAFETY: the block's page for the host, which nothing else names.
    Ghcb::new(unsafe { page(address) }, ghcb_gpa(launch, cpu))
}

/// Guest-physical address of the GHCB of a CPU.
pub(crate) fn ghcb_gpa(launch: &LaunchInfo, cpu: usize) -> u64 {
    launch.per_cpu.base + cpu as u64 * per_cpu::SIZE + per_cpu::HOST_PAGE
}

/// A page shared with the host for messages, and its guest-physical address; `None` where there are
/// not so many.
pub(crate) fn shared(launch: &LaunchInfo, index: u64) -> Option<(&'static ForeignPage, u64)> {
    if index >= launch.shared.size / PAGE_SIZE as u64 {
        return None;
    }
    let gpa = launch.shared.base + index * PAGE_SIZE as u64;
    // SAFETY: one of the pages for messages, which nothing else names.
    Some((unsafe { page(address(launch, gpa)) }, gpa))
}

/// The SVSM's secrets page.
pub(crate) fn secrets(launch: &LaunchInfo) -> &'static ForeignPage {
    // SAFETY: the secrets page, which nothing else names.
    unsafe { page(address(launch, launch.secrets_page)) }
}

/// The CPUID page.
pub(crate) fn cpuid(launch: &LaunchInfo) -> &'static CpuidPage {
    let page: *const CpuidPage =
        core::ptr::with_exposed_provenance(address(launch, launch.cpuid_page));
    // SAFETY: mapped, private, and after launch nobody writes it.
    unsafe { &*page }
}

/// The VMSA of a vCPU of the guest's.
pub(crate) fn vmsa(state: VcpuState) -> Vmsa<'static> {
    // SAFETY: the core says that the page is mapped and holds a vCPU's state; a page of the
    // guest's, or one of its own that it uses for nothing else.
    Vmsa::new(unsafe { page(state.address()) })
}

/// Where the VMSA of the SVSM itself on a CPU lies: its virtual and its guest-physical address.
pub(crate) fn own_vmsa(launch: &LaunchInfo, cpu: usize) -> (Vmsa<'static>, usize, u64) {
    let address = address_of_block(launch, cpu) + per_cpu::STATE as usize;
    let gpa = launch.per_cpu.base + cpu as u64 * per_cpu::SIZE + per_cpu::STATE;
    // SAFETY: the block's page for this, which nothing else names.
    (Vmsa::new(unsafe { page(address) }), address, gpa)
}
