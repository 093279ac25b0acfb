// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the first line of Rust to the run loop of each vCPU.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use emulator::config::Config;
use emulator::hostile::Script;
use emulator_defs::config::{FILE_CONFIG, FILE_HOSTILE, FILE_IGVM};
use emulator_defs::exit::RunEnd;
use log::error;

use crate::host::cpu::{Processor, continue_on_stack};
use crate::host::end::end;
use crate::host::instructions::{halt_forever, out8, rdtsc};
use crate::host::{self, apic, fw_cfg, heap, smp, time, traps};
use crate::machine::Machine;
use crate::machine::hostile_host::HostileHost;
use crate::{loader, run};

/// Entry from `host::boot`, on the boot stack.
#[unsafe(no_mangle)]
extern "sysv64" fn boot_main(_start_info: u32) -> ! {
    // The PIC first: its vectors would look like exceptions.
    out8(0x21, 0xFF);
    out8(0xA1, 0xFF);
    host::log::initialize();
    heap::initialize();
    let processor = Processor::create(0);
    traps::activate(processor);
    // SAFETY: the stack was made for this processor and nobody else uses it.
    unsafe { continue_on_stack(processor.stack_top(), bootstrap) }
}

/// Ends the run because an input is missing or wrong.
fn refuse(why: fmt::Arguments<'_>) -> ! {
    error!("{why}");
    end(RunEnd::BadInput)
}

/// A file that has to be there.
fn input(name: &str) -> &'static [u8] {
    let Some(file) = fw_cfg::find(name) else {
        refuse(format_args!("the fw_cfg file {name} is missing"));
    };
    let Some(bytes) = fw_cfg::bytes(file) else {
        refuse(format_args!("QEMU does not give the fw_cfg file {name}"));
    };
    bytes
}

/// The hostile host, if there is a script for one.
fn hostile(seed: u64) -> Option<HostileHost> {
    fw_cfg::find(FILE_HOSTILE)?;
    match Script::parse(input(FILE_HOSTILE)) {
        Ok(script) => Some(HostileHost::new(script, seed)),
        Err(wrong) => refuse(format_args!("{wrong}")),
    }
}

extern "sysv64" fn bootstrap() -> ! {
    apic::initialize();
    if !time::calibrate() {
        refuse(format_args!("QEMU has no HPET"));
    }
    if !fw_cfg::present() {
        refuse(format_args!("QEMU has no fw_cfg device"));
    }
    let config = match Config::parse(input(FILE_CONFIG)) {
        Ok(config) => config,
        Err(wrong) => refuse(format_args!("{wrong}")),
    };
    log::set_max_level(config.log);
    log::debug!("{config:?}, TSC at {} Hz", time::tsc_hz());
    let machine = match Machine::create(config, hostile(config.seed)) {
        Ok(machine) => machine,
        Err(needed) => refuse(format_args!(
            "QEMU has too little memory: a guest with {} MiB takes -m {}M",
            config.memory >> 20,
            needed >> 20
        )),
    };
    if let Err(index) = smp::start_all(config.cpus, application_processor) {
        refuse(format_args!(
            "vCPU {index} has no processor: for {} vCPUs QEMU's -smp is one more",
            config.cpus
        ));
    }
    let started = rdtsc();
    if let Err(refused) = loader::load(machine, input(FILE_IGVM)) {
        refuse(format_args!("{refused}"));
    }
    machine.started.store(rdtsc(), Ordering::SeqCst);
    log::debug!(
        "loaded in {} ms",
        (rdtsc() - started) * 1000 / time::tsc_hz()
    );
    // The first processor runs no vCPU: see `host::smp`.
    halt_forever()
}

/// Entry of the processor of vCPU `index`, from `host::smp`.
fn application_processor(index: u32) -> ! {
    match Machine::get() {
        Some(machine) => run::run(machine, index),
        None => halt_forever(),
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    static PANICKED: AtomicBool = AtomicBool::new(false);
    if PANICKED.swap(true, Ordering::SeqCst) {
        halt_forever();
    }
    host::log::run_is_ending();
    traps::stop_on_nmi();
    error!("the emulator failed: {info}");
    end(RunEnd::EmulatorFault)
}
