// SPDX-License-Identifier: MIT OR Apache-2.0
//! Start of the application processors.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::boot::TRAMPOLINE;
use super::cpu::Processor;
use super::instructions::rdtsc;
use super::{apic, physical, time};

unsafe extern "C" {
    static boot_trampoline: u8;
    static boot_trampoline_end: u8;
    static boot_ap_stack: AtomicU64;
    static boot_ap_argument: AtomicU64;
}

/// Processors that have arrived in Rust, the first one not counted.
static ARRIVED: AtomicU32 = AtomicU32::new(0);

/// Starts processors 1 to `count - 1`, whose real APIC ids are their numbers, one after the other.
/// Each of them calls `crate::application_processor`. Says which did not come.
pub(crate) fn start_all(count: u32) -> Result<(), u32> {
    let code = &raw const boot_trampoline as u64;
    let length = &raw const boot_trampoline_end as u64 - code;
    physical::copy(code, TRAMPOLINE, length as usize);
    for index in 1..count {
        let processor = Processor::create(index);
        // SAFETY: two words of the boot code's data, aligned to eight bytes, accessed as atomics
        // only; the processor that reads them is started below.
        unsafe {
            boot_ap_stack.store(processor.stack_top(), Ordering::SeqCst);
            boot_ap_argument.store(processor as *const Processor as u64, Ordering::SeqCst);
        }
        apic::send_init(index);
        apic::send_startup(index, (TRAMPOLINE >> 12) as u8);
        let deadline = rdtsc() + 2 * time::tsc_hz();
        while ARRIVED.load(Ordering::SeqCst) != index {
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
    processor.activate();
    apic::initialize();
    ARRIVED.fetch_add(1, Ordering::SeqCst);
    crate::application_processor(processor.index())
}
