// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starts a guest that was loaded with the image: what of its memory is for the SVSM to fill, and its first vCPU.
//! All else (kernel, command line, tables) is measured and in place.
#![forbid(unsafe_code)]

use crate::guest::VcpuState;
use crate::machine::Machine;
use crate::memory::{Fault, Frame, GuestMemory, PAGE};
use crate::platform::{PageError, Platform, VcpuError};
use svsm_launch::{LaunchInfo, Range};

/// Why the guest can't start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BootError {
    /// No page for the vCPU, or no place in the table.
    NoRoom,
    /// The guest's memory is not there.
    Memory,
    /// The pages that the platform fills.
    Pages(PageError),
    /// The vCPU.
    Vcpu(VcpuError),
}

impl From<Fault> for BootError {
    fn from(_: Fault) -> Self {
        Self::Memory
    }
}

/// Fills what the guest finds at its start and makes its first vCPU, ready to be entered.
pub(crate) fn prepare<P: Platform>(
    platform: &P,
    machine: &Machine<'_>,
    launch: &LaunchInfo,
) -> Result<(), BootError> {
    // Calling areas: no call is pending, whatever was in that memory.
    let Range { base, size } = launch.guest.calling_areas;
    for gpa in (base..base + size).step_by(PAGE) {
        platform
            .memory()
            .zero(Frame::new(gpa).ok_or(BootError::Memory)?.into())?;
    }
    platform
        .fill_guest_pages(launch)
        .map_err(BootError::Pages)?;

    let (frame, page) = machine.pool.allocate().ok_or(BootError::NoRoom)?.leak();
    let state = VcpuState::new(frame, page.as_ptr().expose_provenance());
    platform
        .create_boot_vcpu(state, &launch.guest)
        .map_err(BootError::Vcpu)?;
    let area = Frame::new(base).ok_or(BootError::Memory)?;
    machine
        .vcpus
        .reserve(state, area, 0)
        .map_err(|_| BootError::NoRoom)?
        .publish();
    Ok(())
}
