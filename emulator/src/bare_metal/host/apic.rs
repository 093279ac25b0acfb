// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real local APIC, in xAPIC mode: QEMU 7.2's TCG has no x2APIC.

use emulator::devices::{LogicalId, RealLapic};

use super::physical::{read_volatile, write_volatile};
use super::vectors::{VECTOR_KICK, VECTOR_SPURIOUS, VECTOR_TIMER};

const BASE: u64 = 0xFEE0_0000;
const ID: u64 = BASE + 0x20;
const TASK_PRIORITY: u64 = BASE + 0x80;
const END_OF_INTERRUPT: u64 = BASE + 0xB0;
const LOGICAL_DESTINATION: u64 = BASE + 0xD0;
const DESTINATION_FORMAT: u64 = BASE + 0xE0;
const SPURIOUS: u64 = BASE + 0xF0;
const TRIGGER_MODE: u64 = BASE + 0x180;
const COMMAND_LOW: u64 = BASE + 0x300;
const COMMAND_HIGH: u64 = BASE + 0x310;
const LVT_TIMER: u64 = BASE + 0x320;
const LVT_LINT0: u64 = BASE + 0x350;
const LVT_LINT1: u64 = BASE + 0x360;
const LVT_ERROR: u64 = BASE + 0x370;
const TIMER_INITIAL: u64 = BASE + 0x380;
const TIMER_CURRENT: u64 = BASE + 0x390;
const TIMER_DIVIDE: u64 = BASE + 0x3E0;

const MASKED: u32 = 1 << 16;
const ENABLED: u32 = 1 << 8;
const DIVIDE_BY_1: u32 = 0b1011;
const DELIVERY_PENDING: u32 = 1 << 12;
const ASSERT: u32 = 1 << 14;
const MODE_INIT: u32 = 5 << 8;
const MODE_STARTUP: u32 = 6 << 8;

fn get(register: u64) -> u32 {
    read_volatile(register)
}

fn set(register: u64, value: u32) {
    write_volatile(register, value);
}

/// Enables this processor's local APIC. Its id is the number of QEMU's vCPU.
pub(crate) fn initialize() {
    set(SPURIOUS, ENABLED | u32::from(VECTOR_SPURIOUS));
    set(TASK_PRIORITY, 0);
    set(LVT_LINT0, MASKED);
    set(LVT_LINT1, MASKED);
    set(LVT_ERROR, MASKED);
    set(TIMER_DIVIDE, DIVIDE_BY_1);
    set(LVT_TIMER, u32::from(VECTOR_TIMER));
}

/// Changes the id of this processor's local APIC.
pub(crate) fn set_id(id: u8) {
    set(ID, u32::from(id) << 24);
}

/// Ends the interrupt in service.
pub(crate) fn end_of_interrupt() {
    set(END_OF_INTERRUPT, 0);
}

fn command(target: u32, low: u32) {
    set(COMMAND_HIGH, target << 24);
    set(COMMAND_LOW, low | ASSERT);
    while get(COMMAND_LOW) & DELIVERY_PENDING != 0 {
        core::hint::spin_loop();
    }
}

/// Makes the processor with this id look at its requests: out of its guest, or out of its sleep.
pub(crate) fn send_kick(target: u32) {
    command(target, u32::from(VECTOR_KICK));
}

/// Resets the processor with this id.
pub(crate) fn send_init(target: u32) {
    command(target, MODE_INIT);
}

/// Starts the processor with this id at `page << 12` in real mode.
pub(crate) fn send_startup(target: u32, page: u8) {
    command(target, MODE_STARTUP | u32::from(page));
}

/// Raises [`VECTOR_TIMER`] after so many ticks of the local APIC's timer. 0 stops the timer.
pub(crate) fn start_timer(ticks: u32) {
    set(TIMER_INITIAL, ticks);
}

/// What is left of the ticks.
pub(crate) fn timer_ticks() -> u32 {
    get(TIMER_CURRENT)
}

/// The local APIC of the processor that uses it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Real;

impl RealLapic for Real {
    fn is_level(&self, vector: u8) -> bool {
        let register = TRIGGER_MODE + 0x10 * u64::from(vector / 32);
        get(register) & (1 << (vector % 32)) != 0
    }

    fn end_of_interrupt(&self) {
        end_of_interrupt();
    }

    fn set_logical(&self, id: LogicalId) {
        set(
            DESTINATION_FORMAT,
            if id.flat { u32::MAX } else { 0x0FFF_FFFF },
        );
        set(LOGICAL_DESTINATION, u32::from(id.ldr) << 24);
    }
}
