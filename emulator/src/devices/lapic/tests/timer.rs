// SPDX-License-Identifier: MIT OR Apache-2.0
//! The timer (SDM vol. 3, 11.5.4).

use proptest::prelude::*;

use super::*;

const TSC_DEADLINE: u32 = 0x6E0;
const ONE_SHOT: u32 = 0x40;
const PERIODIC: u32 = 0x40 | 1 << 17;
const DEADLINE: u32 = 0x40 | 2 << 17;
const MASKED: u32 = 1 << 16;
/// Divide configuration: by 1.
const BY_1: u32 = 0b1011;

fn timer(posted: &Posted, entry: u32, divide: u32) -> Lapic<'_> {
    let mut lapic = enabled(posted);
    lapic.mmio_write(LVT_TIMER, entry, 0);
    lapic.mmio_write(DIVIDE, divide, 0);
    lapic
}

fn take(lapic: &mut Lapic<'_>) -> Option<u8> {
    let vector = lapic.deliverable()?;
    lapic.accept(vector);
    lapic.mmio_write(EOI, 0, 0);
    Some(vector)
}

#[test]
fn one_shot_fires_once() {
    let posted = Posted::new(0);
    let mut lapic = timer(&posted, ONE_SHOT, BY_1);
    assert_eq!(
        lapic.mmio_write(INITIAL_COUNT, 1000, 500),
        Effect::TimerChanged
    );
    assert_eq!(lapic.next_deadline(), Some(1500));
    assert_eq!(lapic.mmio_read(CURRENT_COUNT, 700), 800);
    assert!(!lapic.tick(1499));
    assert!(lapic.tick(1500));
    assert_eq!(take(&mut lapic), Some(0x40));
    assert!(!lapic.tick(5000));
    assert_eq!(lapic.next_deadline(), None);
    assert_eq!(lapic.mmio_read(CURRENT_COUNT, 5000), 0);
    assert_eq!(lapic.mmio_read(INITIAL_COUNT, 5000), 1000);
}

#[test]
fn periodic_keeps_its_beat() {
    let posted = Posted::new(0);
    let mut lapic = timer(&posted, PERIODIC, BY_1);
    lapic.mmio_write(INITIAL_COUNT, 100, 0);
    assert!(lapic.tick(130));
    assert_eq!(lapic.next_deadline(), Some(200), "not 230");
    assert_eq!(lapic.mmio_read(CURRENT_COUNT, 130), 70);
    assert_eq!(take(&mut lapic), Some(0x40));
    assert!(lapic.tick(550));
    assert_eq!(lapic.next_deadline(), Some(600));
    assert_eq!(take(&mut lapic), Some(0x40), "missed periods are one");
    assert_eq!(take(&mut lapic), None);
    lapic.mmio_write(INITIAL_COUNT, 0, 560);
    assert_eq!(lapic.next_deadline(), None, "0 stops it");
}

/// Figure 11-10.
#[test]
fn divide_configuration() {
    let divisors = [
        (0b0000, 2),
        (0b0001, 4),
        (0b0010, 8),
        (0b0011, 16),
        (0b1000, 32),
        (0b1001, 64),
        (0b1010, 128),
        (0b1011, 1),
    ];
    for (configuration, divisor) in divisors {
        let posted = Posted::new(0);
        let mut lapic = timer(&posted, ONE_SHOT, configuration);
        lapic.mmio_write(INITIAL_COUNT, 10, 0);
        assert_eq!(lapic.next_deadline(), Some(10 * divisor));
        assert_eq!(lapic.mmio_read(DIVIDE, 0), configuration);
    }
}

#[test]
fn a_new_divisor_goes_on_from_the_current_count() {
    let posted = Posted::new(0);
    let mut lapic = timer(&posted, ONE_SHOT, BY_1);
    lapic.mmio_write(INITIAL_COUNT, 1000, 0);
    lapic.mmio_write(DIVIDE, 0b0011, 400);
    assert_eq!(lapic.mmio_read(CURRENT_COUNT, 400), 600);
    assert_eq!(lapic.next_deadline(), Some(400 + 600 * 16));
}

/// As Linux measures the timer: the largest count, by 16, against the TSC.
#[test]
fn calibration_against_the_tsc() {
    let posted = Posted::new(0);
    let mut lapic = timer(&posted, ONE_SHOT | MASKED, 0b0011);
    let start = 123_456_789;
    lapic.mmio_write(INITIAL_COUNT, u32::MAX, start);
    let ticks = 250_000_000;
    let first = lapic.mmio_read(CURRENT_COUNT, start);
    let second = lapic.mmio_read(CURRENT_COUNT, start + ticks);
    assert_eq!(u64::from(first - second) * 16, ticks);
}

#[test]
fn masked_it_counts_but_does_not_interrupt() {
    let posted = Posted::new(0);
    let mut lapic = timer(&posted, ONE_SHOT | MASKED, BY_1);
    lapic.mmio_write(INITIAL_COUNT, 100, 0);
    assert_eq!(lapic.next_deadline(), None);
    assert_eq!(lapic.mmio_read(CURRENT_COUNT, 60), 40);
    lapic.mmio_write(LVT_TIMER, ONE_SHOT, 150);
    assert!(!lapic.tick(200), "it ran out while masked");
    assert_eq!(take(&mut lapic), None);
}

/// 11.5.4.1.
#[test]
fn tsc_deadline() {
    let posted = Posted::new(0);
    let mut lapic = timer(&posted, DEADLINE, BY_1);
    lapic.msr_write(TSC_DEADLINE, 7000, 10).unwrap();
    assert_eq!(lapic.next_deadline(), Some(7000));
    assert_eq!(lapic.msr_read(TSC_DEADLINE, 20), Ok(7000));
    lapic.mmio_write(INITIAL_COUNT, 5, 30);
    assert_eq!(lapic.next_deadline(), Some(7000), "no count in this mode");
    assert_eq!(lapic.mmio_read(CURRENT_COUNT, 30), 0);
    assert!(lapic.tick(7000));
    assert_eq!(take(&mut lapic), Some(0x40));
    assert_eq!(lapic.msr_read(TSC_DEADLINE, 7001), Ok(0));
    assert!(!lapic.tick(9000));

    lapic.msr_write(TSC_DEADLINE, 1, 9000).unwrap();
    assert!(lapic.tick(9000), "a deadline in the past fires at once");
    lapic.msr_write(TSC_DEADLINE, 10_000, 9000).unwrap();
    lapic.msr_write(TSC_DEADLINE, 0, 9000).unwrap();
    assert_eq!(lapic.next_deadline(), None, "0 disarms");
}

#[test]
fn a_change_to_or_from_tsc_deadline_disarms() {
    let posted = Posted::new(0);
    let mut lapic = timer(&posted, ONE_SHOT, BY_1);
    lapic.msr_write(TSC_DEADLINE, 5000, 0).unwrap();
    assert_eq!(lapic.msr_read(TSC_DEADLINE, 0), Ok(0), "not in this mode");
    lapic.mmio_write(INITIAL_COUNT, 100, 0);
    lapic.mmio_write(LVT_TIMER, PERIODIC, 10);
    assert_eq!(
        lapic.next_deadline(),
        Some(100),
        "one-shot to periodic goes on"
    );
    lapic.mmio_write(LVT_TIMER, DEADLINE, 20);
    assert_eq!(lapic.next_deadline(), None);
    lapic.msr_write(TSC_DEADLINE, 5000, 20).unwrap();
    lapic.mmio_write(LVT_TIMER, ONE_SHOT, 30);
    assert_eq!(lapic.next_deadline(), None);
    assert_eq!(lapic.msr_read(TSC_DEADLINE, 30), Ok(0));
}

#[test]
fn an_illegal_vector_is_an_error() {
    let posted = Posted::new(0);
    let mut lapic = timer(&posted, 0x05, BY_1);
    lapic.mmio_write(INITIAL_COUNT, 1, 0);
    assert!(lapic.tick(1));
    assert_eq!(lapic.deliverable(), None);
    lapic.mmio_write(ESR, 0, 1);
    assert_eq!(lapic.mmio_read(ESR, 1), 1 << 6);
}

#[test]
fn far_times_do_not_overflow() {
    let posted = Posted::new(0);
    let mut lapic = timer(&posted, PERIODIC, 0b1010);
    lapic.mmio_write(INITIAL_COUNT, u32::MAX, u64::MAX - 5);
    assert_eq!(lapic.next_deadline(), Some(u64::MAX));
    lapic.tick(u64::MAX);
    lapic.mmio_read(CURRENT_COUNT, u64::MAX);
}

proptest! {
    /// Against a counter that is stepped tick by tick.
    #[test]
    fn counts_like_a_counter(
        initial in 1..40_u32,
        select in 0..8_u32,
        periodic: bool,
        mut looks in prop::collection::vec(1..300_u64, 1..20),
    ) {
        let configuration = select & 3 | (select & 4) << 1;
        let divisor = [2, 4, 8, 16, 32, 64, 128, 1][select as usize];
        let posted = Posted::new(0);
        let entry = if periodic { PERIODIC } else { ONE_SHOT };
        let mut lapic = timer(&posted, entry, configuration);
        lapic.mmio_write(INITIAL_COUNT, initial, 0);
        let (mut now, mut count, mut fired) = (0, initial, false);
        looks.push(5000);
        for look in looks {
            for _ in 0..look {
                now += 1;
                if now % divisor != 0 || count == 0 {
                    continue;
                }
                count -= 1;
                if count == 0 {
                    fired = true;
                    count = if periodic { initial } else { 0 };
                }
            }
            lapic.tick(now);
            prop_assert_eq!(take(&mut lapic).is_some(), core::mem::take(&mut fired));
            prop_assert_eq!(lapic.mmio_read(CURRENT_COUNT, now), count);
        }
    }
}
