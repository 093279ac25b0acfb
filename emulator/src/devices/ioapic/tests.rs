// SPDX-License-Identifier: MIT OR Apache-2.0
//! The I/O APIC against the 82093AA datasheet, and interrupts from line to guest.

use std::vec::Vec;

use proptest::prelude::*;

use super::super::fake::{Guest, Machine};
use super::super::{Effect, Posted, Width};
use super::*;

const LEVEL: u32 = 1 << 15;
const REMOTE_IRR: u32 = 1 << 14;
const MASKED: u32 = 1 << 16;
const LOGICAL: u32 = 1 << 11;

fn posted(count: u32) -> Vec<Posted> {
    (0..count).map(Posted::new).collect()
}

/// Datasheet 3.1, 3.2.
#[test]
fn registers_after_reset() {
    let (machine, posted) = (Machine::new(1), posted(1));
    let mut guest = Guest::new(&machine, &posted);
    assert_eq!(guest.register(0), 0);
    assert_eq!(guest.register(1), 0x0017_0020, "24 entries, version 0x20");
    for pin in 0..24 {
        assert_eq!(guest.register(0x10 + 2 * pin), MASKED);
        assert_eq!(guest.register(0x11 + 2 * pin), 0);
    }
    assert_eq!(guest.register(0x40), 0);
    assert_eq!(guest.register(0xFF), 0);
}

#[test]
fn writable_bits() {
    let (machine, posted) = (Machine::new(1), posted(1));
    let mut guest = Guest::new(&machine, &posted);
    for (register, value) in [(0, 0x0F00_0000), (1, 0x0017_0020), (2, 0x0F00_0000)] {
        guest.set_register(register, 0xFFFF_FFFF);
        assert_eq!(guest.register(register), value);
    }
    guest.set_register(0x10, 0xFFFF_FFFF);
    guest.set_register(0x11, 0xFFFF_FFFF);
    // Not delivery status (12), not remote IRR (14).
    assert_eq!(guest.register(0x10), 0x0001_AFFF);
    assert_eq!(guest.register(0x11), 0xFF00_0000);
}

#[test]
fn the_window_is_of_32_bits() {
    let (machine, posted) = (Machine::new(1), posted(1));
    let mut guest = Guest::new(&machine, &posted);
    guest.set_register(0x10, 0x41);
    let window = IOAPIC_BASE + 0x10;
    let lapic = &mut guest.lapics[0];
    let byte = guest.bus.mmio_write(lapic, 0, window, Width::Byte, 0xFF);
    assert_eq!(byte, Ok(Effect::None));
    assert_eq!(guest.register(0x10), 0x41);
}

#[test]
fn an_edge_arrives_with_the_guests_vector_at_its_destination() {
    let (machine, posted) = (Machine::new(3), posted(3));
    let mut guest = Guest::new(&machine, &posted);
    guest.entry(4, 2, 0x34);
    machine.line(4, true);
    machine.line(4, false);
    assert_eq!(guest.take(0), None);
    assert_eq!(guest.take(2), Some(0x34));
    guest.end(2);
    assert_eq!(guest.take(2), None);
    // The second edge while the first is in service waits behind it.
    for _ in 0..2 {
        machine.line(4, true);
        machine.line(4, false);
        assert_eq!(guest.take(2), Some(0x34));
        machine.line(4, true);
        machine.line(4, false);
        assert_eq!(guest.take(2), None);
        guest.end(2);
        assert_eq!(guest.take(2), Some(0x34));
        guest.end(2);
    }
}

#[test]
fn logical_destinations_follow_the_guests_logical_ids() {
    let (machine, posted) = (Machine::new(4), posted(4));
    let mut guest = Guest::new(&machine, &posted);
    guest.entry(1, 0b1010, LOGICAL | 0x31);
    machine.line(1, true);
    let taken: Vec<_> = (0..4).map(|cpu| guest.take(cpu)).collect();
    assert_eq!(taken, [None, Some(0x31), None, Some(0x31)]);
    guest.entry(5, 0b1100, LOGICAL | 1 << 8 | 0x45);
    machine.line(5, true);
    let taken: Vec<_> = (0..4).map(|cpu| guest.take(cpu)).collect();
    assert_eq!(
        taken,
        [None, None, Some(0x45), None],
        "lowest priority: one"
    );
}

/// Datasheet 3.2.4: remote IRR is set when a local APIC accepts, reset by the EOI; what is still
/// asserted then is sent again.
#[test]
fn a_level_is_sent_again_after_the_end_if_it_is_still_asserted() {
    let (machine, posted) = (Machine::new(1), posted(1));
    let mut guest = Guest::new(&machine, &posted);
    guest.entry(10, 0, LEVEL | 0x51);
    machine.line(10, true);
    assert_eq!(guest.take(0), Some(0x51));
    assert_eq!(guest.register(0x10 + 20), LEVEL | REMOTE_IRR | 0x51);
    assert_eq!(guest.arrive(), 0, "the real entry is closed");
    guest.end(0);
    assert_eq!(guest.take(0), Some(0x51), "still asserted");
    machine.line(10, false);
    guest.end(0);
    assert_eq!(guest.register(0x10 + 20), LEVEL | 0x51);
    assert_eq!(guest.take(0), None);
    machine.line(10, true);
    assert_eq!(guest.take(0), Some(0x51));
}

#[test]
fn the_eoi_register_ends_a_level() {
    let (machine, posted) = (Machine::new(1), posted(1));
    let mut guest = Guest::new(&machine, &posted);
    guest.entry(10, 0, LEVEL | 0x51);
    machine.line(10, true);
    assert_eq!(guest.take(0), Some(0x51));
    guest.store(0, IOAPIC_BASE + 0x40, 0x52);
    assert_eq!(guest.register(0x10 + 20), LEVEL | REMOTE_IRR | 0x51);
    guest.store(0, IOAPIC_BASE + 0x40, 0x51);
    assert_eq!(guest.arrive(), 1);
}

/// How Linux ends a level where there is no EOI register.
#[test]
fn masked_and_made_an_edge_an_entry_forgets_its_remote_irr() {
    let (machine, posted) = (Machine::new(1), posted(1));
    let mut guest = Guest::new(&machine, &posted);
    guest.entry(10, 0, LEVEL | 0x51);
    machine.line(10, true);
    assert_eq!(guest.take(0), Some(0x51));
    guest.set_register(0x10 + 20, MASKED | 0x51);
    guest.set_register(0x10 + 20, MASKED | LEVEL | 0x51);
    assert_eq!(guest.register(0x10 + 20), MASKED | LEVEL | 0x51);
}

#[test]
fn masked_by_the_guest_it_stays_so_after_the_end() {
    let (machine, posted) = (Machine::new(1), posted(1));
    let mut guest = Guest::new(&machine, &posted);
    guest.entry(10, 0, LEVEL | 0x51);
    machine.line(10, true);
    assert_eq!(guest.take(0), Some(0x51));
    guest.set_register(0x10 + 20, MASKED | LEVEL | 0x51);
    guest.end(0);
    assert_eq!(guest.arrive(), 0);
    guest.set_register(0x10 + 20, LEVEL | 0x51);
    assert_eq!(guest.take(0), Some(0x51));
}

#[test]
fn a_vector_changed_while_its_message_is_on_the_way_loses_nothing() {
    let (machine, posted) = (Machine::new(2), posted(2));
    let mut guest = Guest::new(&machine, &posted);
    guest.entry(10, 0, LEVEL | 0x51);
    machine.line(10, true);
    // It is in the real local APIC. The guest moves the interrupt to vCPU 1.
    guest.entry(10, 1, LEVEL | 0x61);
    assert_eq!(guest.take(0), Some(0x51));
    guest.end(0);
    assert_eq!(guest.take(1), Some(0x61));
    guest.end(1);
    assert_eq!(guest.take(1), Some(0x61));
    machine.line(10, false);
    guest.end(1);
    assert_eq!(guest.take(1), None);
}

#[test]
fn a_level_changed_in_place_while_its_message_is_on_the_way_loses_nothing() {
    let (machine, posted) = (Machine::new(1), posted(1));
    let mut guest = Guest::new(&machine, &posted);
    guest.entry(10, 0, LEVEL | 0x51);
    machine.line(10, true);
    guest.set_register(0x10 + 20, MASKED | LEVEL | 0x61);
    assert_eq!(guest.take(0), Some(0x51));
    guest.end(0);
    guest.set_register(0x10 + 20, LEVEL | 0x61);
    assert_eq!(guest.take(0), Some(0x61));
}

#[test]
fn what_the_emulator_needs_for_itself_stays_masked() {
    let (machine, posted) = (Machine::new(1), posted(1));
    let mut guest = Guest::new(&machine, &posted);
    for low in [0x0200_u32, 0x0400, 0x0500, 0x0700, 0x1F, 0x00] {
        let low = if low > 0xFF { low | 0x41 } else { low };
        guest.entry(3, 0, low);
        assert_eq!(guest.register(0x16), low, "as the guest wrote it");
        assert_ne!(machine.0.borrow().entries[3] & u64::from(MASKED), 0);
        machine.line(3, true);
        machine.line(3, false);
        assert_eq!(guest.arrive(), 0);
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Line(usize, bool),
    Arrive,
    Take(usize),
    End(usize),
    Mask(u32, bool),
    Move(u32, u32),
}

const PINS_USED: u32 = 3;
const CPUS: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let pin = 0..PINS_USED;
    prop_oneof![
        3 => (pin.clone(), any::<bool>()).prop_map(|(pin, on)| Step::Line(pin as usize, on)),
        2 => Just(Step::Arrive),
        3 => (0..CPUS).prop_map(Step::Take),
        3 => (0..CPUS).prop_map(Step::End),
        1 => (pin.clone(), any::<bool>()).prop_map(|(pin, on)| Step::Mask(pin, on)),
        1 => (pin, 0..CPUS as u32).prop_map(|(pin, cpu)| Step::Move(pin, cpu)),
    ]
}

proptest! {
    /// Lines that rise and fall, entries that are masked and moved, interrupts taken and ended in
    /// any order. In the end an open line that is asserted interrupts, and goes on to do so at each
    /// end; no other does.
    #[test]
    fn asserted_levels_arrive_and_no_others(
        steps in prop::collection::vec(step(), 0..80),
        watched in 0..PINS_USED,
    ) {
        let (machine, posted) = (Machine::new(CPUS), posted(CPUS as u32));
        let mut guest = Guest::new(&machine, &posted);
        // Vector and destination of each pin; the vector follows the destination, as in Linux.
        let vector = |pin: u32, cpu: u32| 0x40 + 0x10 * pin + cpu;
        let mut home = [0; PINS_USED as usize];
        let mut masked = [false; PINS_USED as usize];
        let mut asserted = [false; PINS_USED as usize];
        for pin in 0..PINS_USED {
            guest.entry(pin, 0, LEVEL | vector(pin, 0));
        }
        for step in steps {
            match step {
                Step::Line(pin, on) => {
                    machine.line(pin, on);
                    asserted[pin] = on;
                }
                Step::Arrive => {
                    guest.arrive();
                }
                Step::Take(cpu) => {
                    guest.take(cpu);
                }
                Step::End(cpu) => guest.end(cpu),
                Step::Mask(pin, on) => {
                    masked[pin as usize] = on;
                    let low = LEVEL | vector(pin, home[pin as usize]);
                    guest.set_register(0x10 + 2 * pin, low | if on { MASKED } else { 0 });
                }
                Step::Move(pin, cpu) => {
                    // Linux moves a level only when none is in flight: it ends the old one first.
                    let old = vector(pin, home[pin as usize]);
                    guest.set_register(0x10 + 2 * pin, MASKED | LEVEL | old);
                    guest.arrive();
                    guest.store(0, IOAPIC_BASE + 0x40, old);
                    home[pin as usize] = cpu;
                    masked[pin as usize] = false;
                    guest.entry(pin, cpu, LEVEL | vector(pin, cpu));
                }
            }
        }
        // All other lines fall, since one that is asserted for ever starves those below it. What
        // is under way ends.
        for pin in (0..PINS_USED).filter(|pin| *pin != watched) {
            machine.line(pin as usize, false);
        }
        let mut drain = || {
            let mut seen = Vec::new();
            for cpu in (0..CPUS).cycle().take(8 * CPUS) {
                while let Some(vector) = guest.take(cpu) {
                    seen.push(u32::from(vector));
                }
                guest.end(cpu);
            }
            seen
        };
        drain();
        let pin = watched as usize;
        let own = vector(watched, home[pin]);
        let expected = asserted[pin] && !masked[pin];
        for _ in 0..3 {
            let seen = drain();
            prop_assert_eq!(seen.contains(&own), expected, "{:x?}", seen);
            prop_assert!(seen.iter().all(|vector| *vector == own), "{:x?}", seen);
        }
    }
}
