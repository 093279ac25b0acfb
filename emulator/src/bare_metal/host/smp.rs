// SPDX-License-Identifier: MIT OR Apache-2.0
//! Start of the processors that run vCPUs.
//!
//! QEMU's first processor runs none: it starts the others, launches the guest and sleeps. QEMU
//! keeps FERR# and IGNNE# for all processors in the flags of that first one, and every FXRSTOR or
//! FLDENV of any processor rewrites those flags without a lock (`cpu_clear_ignne`). Whether nested
//! paging is on is one of them: now and then the first processor would have lost it in a guest, or
//! kept it after an exit.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use spin::Once;

use super::boot::TRAMPOLINE;
use super::cpu::Processor;
use super::instructions::{halt_forever, rdtsc};
use super::{apic, physical, time, traps};

unsafe extern "C" {
    static boot_trampoline: u8;
    static boot_trampoline_end: u8;
    static boot_ap_stack: AtomicU64;
    static boot_ap_argument: AtomicU64;
}

/// Real APIC id of the first processor, once vCPU 0 has its own: no guest names it.
const FIRST_ID: u8 = 0xFE;

/// Processors that have arrived in Rust, the first one not counted.
static ARRIVED: AtomicU32 = AtomicU32::new(0);
/// With what they go on.
static RUN: Once<fn(u32) -> !> = Once::new();

/// Starts a processor for each of `count` vCPUs, one after the other. QEMU's processor `n + 1` is
/// that of vCPU `n`, and its real APIC id becomes `n`, so that messages of devices find it. Each
/// of them goes on with `run` of that number. Says which vCPU's did not come.
pub(crate) fn start_all(count: u32, run: fn(u32) -> !) -> Result<(), u32> {
    RUN.call_once(|| run);
    let code = &raw const boot_trampoline as u64;
    let length = &raw const boot_trampoline_end as u64 - code;
    physical::copy(code, TRAMPOLINE, length as usize);
    apic::set_id(FIRST_ID);
    for index in 0..count {
        let processor = Processor::create(index);
        // SAFETY: two words of the boot code's data, aligned to eight bytes, accessed as atomics
        // only; the processor that reads them is started below.
        unsafe {
            boot_ap_stack.store(processor.stack_top(), Ordering::SeqCst);
            boot_ap_argument.store(processor as *const Processor as u64, Ordering::SeqCst);
        }
        apic::send_init(index + 1);
        apic::send_startup(index + 1, (TRAMPOLINE >> 12) as u8);
        let deadline = rdtsc() + 2 * time::tsc_hz();
        while ARRIVED.load(Ordering::SeqCst) != index + 1 {
            if rdtsc() > deadline {
                return Err(index);
            }
            core::hint::spin_loop();
        }
    }
    physical::fill(TRAMPOLINE, 4096, 0);
    Ok(())
}

#[unsafe(no_mangle)]
extern "sysv64" fn boot_ap_main(processor: *const Processor) -> ! {
    // SAFETY: `start_all` passes the block that it made for this processor; it is never freed.
    let processor: &'static Processor = unsafe { &*processor };
    traps::activate(processor);
    apic::initialize();
    apic::set_id(processor.index() as u8);
    ARRIVED.fetch_add(1, Ordering::SeqCst);
    match RUN.get() {
        Some(run) => run(processor.index()),
        None => halt_forever(),
    }
}
