// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starts a guest that was loaded with the image: what of its memory is for the SVSM to fill, and its first vCPU.
//! All else (kernel, command line, tables) is measured and in place.
#![forbid(unsafe_code)]

use crate::machine::Machine;
use crate::memory::custody::into_state;
use crate::memory::{Fault, Frame, PAGE};
use crate::platform::{PageError, Platform, VcpuError};
use svsm_launch::{LaunchInfo, Range};

/// Why the guest can't start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BootError {
    /// No page for the vCPU, or no place in the table; or the boot CPU is in the middle of a call.
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
    let view = machine
        .view(platform.memory(), 0)
        .ok_or(BootError::NoRoom)?;
    for gpa in (base..base + size).step_by(PAGE) {
        view.zero(Frame::new(gpa).ok_or(BootError::Memory)?)?;
    }
    drop(view);
    platform
        .fill_guest_pages(launch)
        .map_err(BootError::Pages)?;

    let state = into_state(machine.pool.allocate().ok_or(BootError::NoRoom)?);
    platform
        .create_boot_vcpu(state, &launch.guest)
        .map_err(BootError::Vcpu)?;
    let area = Frame::new(base).ok_or(BootError::Memory)?;
    machine
        .vcpus
        .reserve(state.frame(), area, 0)
        .map_err(|_| BootError::NoRoom)?
        .publish(state);
    Ok(())
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::testing::with_rig;

    #[test]
    fn the_guest_finds_what_it_expects() {
        with_rig(|rig| {
            let boot = rig.vcpu(0).unwrap();
            let region = rig.launch.region;
            assert!((region.base..region.base + region.size).contains(&boot.gpa()));
            assert_eq!(rig.calling_area(0), rig.launch.guest.calling_areas.base);
            assert_eq!(rig.vcpu(1), None);
            for gpa in [rig.launch.guest.secrets_page, rig.launch.guest.cpuid_page] {
                let mut bytes = [0; 6];
                rig.memory().peek(gpa, &mut bytes);
                assert_eq!(&bytes, b"filled");
            }
        });
    }

    /// What the host found for the calling areas must not look like a call that the guest made.
    #[test]
    fn no_call_is_pending_at_first() {
        with_rig(|rig| {
            let Range { base, size } = rig.launch.guest.calling_areas;
            for gpa in (base..base + size).step_by(4096) {
                let mut bytes = [1; 4096];
                rig.memory().peek(gpa, &mut bytes);
                assert_eq!(bytes, [0; 4096]);
            }
        });
    }

    #[test]
    fn no_room_for_the_first_vcpu() {
        with_rig(|rig| {
            let all: std::vec::Vec<_> =
                core::iter::from_fn(|| rig.machine.pool.allocate()).collect();
            let result = prepare(rig.platform, rig.machine, rig.launch);
            assert_eq!(result, Err(BootError::NoRoom));
            drop(all);
        });
    }

    #[test]
    fn memory_that_is_not_there() {
        with_rig(|rig| {
            rig.memory()
                .steal(rig.launch.guest.calling_areas.base + 4096);
            let result = prepare(rig.platform, rig.machine, rig.launch);
            assert_eq!(result, Err(BootError::Memory));
            rig.memory().steal(rig.launch.guest.cpuid_page);
        });
    }
}
