// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the first line of Rust to the run loop of each vCPU.

use core::sync::atomic::{AtomicBool, Ordering};

use emulator::config::Config;
use emulator_defs::config::FILE_CONFIG;
use emulator_defs::exit::RunEnd;
use log::error;

use crate::host::cpu::{Processor, continue_on_stack};
use crate::host::end::end;
use crate::host::instructions::{halt_forever, out8};
use crate::host::{self, apic, fw_cfg, heap, smp, time, traps};

/// Entry from `host::boot`, on the boot stack.
#[unsafe(no_mangle)]
extern "sysv64" fn boot_main(_start_info: u32) -> ! {
    // The PIC first: its vectors would look like exceptions.
    out8(0x21, 0xFF);
    out8(0xA1, 0xFF);
    host::log::initialize();
    heap::initialize();
    let processor = Processor::create(0);
    processor.activate();
    // SAFETY: the stack was made for this processor and nobody else uses it.
    unsafe { continue_on_stack(processor.stack_top(), bootstrap) }
}

/// Ends the run because an input is missing or wrong.
fn refuse(arguments: core::fmt::Arguments<'_>) -> ! {
    error!("{arguments}");
    end(RunEnd::BadInput)
}

extern "sysv64" fn bootstrap() -> ! {
    Processor::current().set_apic_id(apic::initialize());
    time::calibrate();
    if !fw_cfg::present() {
        refuse(format_args!("QEMU has no fw_cfg device"));
    }
    let Some(file) = fw_cfg::find(FILE_CONFIG) else {
        refuse(format_args!("the fw_cfg file {FILE_CONFIG} is missing"));
    };
    let Some(text) = fw_cfg::bytes(file) else {
        refuse(format_args!("QEMU does not give {FILE_CONFIG}"));
    };
    let config = match Config::parse(text) {
        Ok(config) => config,
        Err(wrong) => refuse(format_args!("{wrong}")),
    };
    log::set_max_level(config.log);
    log::debug!("{config:?}, TSC at {} Hz", time::tsc_hz());
    if let Err(index) = smp::start_all(config.cpus) {
        refuse(format_args!(
            "processor {index} of {} does not start: does QEMU have -smp {}?",
            config.cpus, config.cpus
        ));
    }
    log::info!("{} processors", config.cpus);
    end(RunEnd::PowerOff)
}

/// Entry of every processor but the first, from `host::smp`.
pub(crate) fn application_processor(index: u32) -> ! {
    log::debug!("processor {index} is up");
    halt_forever()
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
