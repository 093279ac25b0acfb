// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one loop: enter the guest, take its exit, serve it, enter again. And how each CPU gets there.

use crate::calls::{self, Scratch};
use crate::guest::{Exit, VcpuState};
use crate::machine::Machine;
use crate::platform::Platform;

/// Serves the exit that brought this CPU here, and returns the vCPU to enter.
///
/// Nothing says that the guest exited, or that it is the vCPU that was entered: the host resumes this CPU when it
/// likes, and the guest may have given the CPU another vCPU meanwhile. What is so, the vCPU's own page
/// and its calling area tell.
pub fn step<P: Platform>(
    platform: &P,
    machine: &Machine<'_>,
    cpu: usize,
    scratch: &mut Scratch,
) -> Option<VcpuState> {
    let vcpu = machine.vcpus.claim(cpu)?;
    match platform.stop(vcpu.state()) {
        Exit::Running => return Some(vcpu.state()),
        Exit::Other => {}
        Exit::Call => calls::serve(platform, machine, &vcpu, cpu, scratch),
    }
    // While the vCPU is claimed, since its page may go when it is not.
    platform.permit(vcpu.state());
    Some(vcpu.state())
}

#[cfg(target_os = "none")]
pub use bare_metal::{boot, secondary};

#[cfg(target_os = "none")]
mod bare_metal {
    use super::step;
    use crate::calls::Scratch;
    use crate::cpu::{self, Lock, Once};
    use crate::guest::{Marks, Vcpus};
    use crate::machine::Machine;
    use crate::memory::{Pool, Tracker, region::Region};
    use crate::platform::{Fatal, Platform};
    use crate::start::{StartError, host_map, layout, populate};
    use crate::{direct_boot, fatal, log};
    use ::log::{debug, info};
    use svsm_launch::LaunchInfo;
    use zerocopy::FromBytes;

    static POOL: Pool = Pool::new();
    static VCPUS: Vcpus = Vcpus::new();
    static MARKS: Marks = Marks::new();
    static TELLING: Lock<()> = Lock::new(());
    #[unsafe(link_section = ".ro_after_init")]
    static MACHINE: Once<Machine<'static>> = Once::new();

    /// Starts the SVSM on the boot CPU, and the guest; never returns.
    ///
    /// The platform's entry code calls it first thing, on the stack of CPU 0's block, with the page tables of the
    /// image builder in force, interrupts off, and nothing of the region written before but `platform`.
    ///
    /// # Safety
    /// Called once, on the boot CPU, and `launch` is the measured launch page.
    pub unsafe fn boot<P: Platform>(platform: &'static P, launch: &'static LaunchInfo) -> ! {
        // SAFETY: the boot CPU is number 0, and the caller vouches for the launch page.
        unsafe { cpu::adopt(launch, 0) };
        fatal::set_host(platform);
        start_here(platform, 0);
        log::start(launch.log_port, launch.log_level);
        info!("CPU 0 of {} started", launch.vcpus);

        let machine = or_end(start(platform, launch), |error| match error {
            StartError::Layout(_) | StartError::NotInHostMap(_) => Fatal::Launch,
            StartError::Page(..) => Fatal::Memory,
            StartError::Host(_) => Fatal::HostProtocol,
        });
        for cpu in 1..machine.cpus {
            if let Err(error) = platform.start_cpu(cpu) {
                fatal::end(
                    Fatal::HostProtocol,
                    format_args!("CPU {cpu} can't start: {error:?}"),
                );
            }
        }
        info!("the guest starts");
        serve(platform, machine, 0)
    }

    /// Brings everything up to the point where the guest can be entered and other CPUs can come.
    fn start<P: Platform>(
        platform: &'static P,
        launch: &'static LaunchInfo,
    ) -> Result<&'static Machine<'static>, StartError> {
        layout::check(launch)?;
        // SAFETY: the caller of `boot` vouches for the launch page, it was just checked, and this is the only call.
        let region = unsafe { Region::new(launch) };
        host_map::check_if_any(region.host_memory_map(), &launch.guest_memory)?;
        region.fill_pool(&POOL);
        let tracker = Tracker::new(&launch.guest_memory, region.tracker_storage())
            .map_err(|_| StartError::Layout("tracker"))?;
        populate::populate(platform, launch, &tracker)?;
        debug!("the guest's memory is in the machine");
        region.touch();

        let cpus = launch.vcpus as usize;
        let machine = Machine {
            tracker,
            pool: &POOL,
            vcpus: &VCPUS,
            marks: &MARKS,
            telling: &TELLING,
            cpus,
        };
        let machine = MACHINE
            .set(machine)
            .map_err(|_| StartError::Layout("started twice"))?;
        if let Err(error) = direct_boot::prepare(platform, machine, launch) {
            fatal::end(
                Fatal::Launch,
                format_args!("the guest can't start: {error:?}"),
            );
        }
        if let Err(error) = region.seal() {
            fatal::end(Fatal::Launch, format_args!("page tables: {error:x?}"));
        }
        Ok(machine)
    }

    /// Starts the SVSM on another CPU, which [`Platform::start_cpu`] had started; never returns.
    ///
    /// # Safety
    /// Called once on each CPU, on the stack of its block, with the index that `start_cpu` was given.
    pub unsafe fn secondary<P: Platform>(
        platform: &'static P,
        launch: &'static LaunchInfo,
        cpu: usize,
    ) -> ! {
        // SAFETY: the caller vouches for the index and the launch page.
        unsafe { cpu::adopt(launch, cpu) };
        start_here(platform, cpu);
        match MACHINE.get() {
            Some(machine) => serve(platform, machine, cpu),
            None => fatal::end(
                Fatal::HostProtocol,
                format_args!("CPU {cpu} came too early"),
            ),
        }
    }

    /// What every CPU does before anything else.
    fn start_here<P: Platform>(platform: &'static P, cpu: usize) {
        if let Err(reason) = platform.start_here(cpu) {
            fatal::end(reason, format_args!("CPU {cpu} can't start"));
        }
        if !cpu::harden(platform.cpuid(7, 0), platform.cpuid(0x8000_0001, 0)) {
            fatal::end(Fatal::Features, format_args!("the processor has no NX"));
        }
    }

    /// The loop of one CPU.
    fn serve<P: Platform>(
        platform: &'static P,
        machine: &'static Machine<'static>,
        cpu: usize,
    ) -> ! {
        let no_room = || -> ! { fatal::end(Fatal::Launch, format_args!("heap")) };
        let Some(mut page) = machine.pool.allocate() else {
            no_room()
        };
        let Ok(scratch) = Scratch::mut_from_bytes(page.as_mut_slice()) else {
            no_room()
        };
        let mut vcpu = machine.vcpus.claim(cpu).map(|vcpu| vcpu.state());
        loop {
            platform.enter(vcpu);
            vcpu = step(platform, machine, cpu, scratch);
        }
    }

    fn or_end<T, E: core::fmt::Display>(result: Result<T, E>, why: impl Fn(&E) -> Fatal) -> T {
        match result {
            Ok(value) => value,
            Err(error) => fatal::end(why(&error), format_args!("{error}")),
        }
    }
}
