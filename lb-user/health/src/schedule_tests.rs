#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;
use crate::machine::{Machine, Pace, Verdict};

/// A place as good as a hash.
fn place(n: u32) -> u32 {
    n.wrapping_mul(0x9e37_79b9).rotate_left(7)
}

#[test]
fn probes_spread_over_the_interval_at_first_and_later() {
    let delay = Duration::from_secs(5);
    let mut first = [0; 10];
    let mut later = [0; 10];
    for n in 0..1000 {
        let schedule = Schedule::new(place(n), delay);
        let start = schedule.first(Duration::ZERO);
        assert!(start < FIRST);
        first[usize::try_from(start.as_millis() / 100).unwrap()] += 1;
        let next = schedule.next(start, start);
        later[usize::try_from(next.as_millis() % 5000 / 500).unwrap()] += 1;
    }
    for count in first.into_iter().chain(later) {
        assert!((60..=140).contains(&count), "{first:?} {later:?}");
    }
}

#[test]
fn absurd_intervals_neither_spin_nor_overflow() {
    for delay in [Duration::ZERO, Duration::MAX] {
        let schedule = Schedule::new(place(1), delay);
        let start = schedule.first(Duration::from_secs(1 << 32));
        assert!(schedule.next(start, start) >= start + SHORTEST / 2);
    }
}

#[test]
fn a_probe_that_takes_the_whole_interval_does_not_cost_the_next_one() {
    let delay = Duration::from_secs(1);
    let schedule = Schedule::new(place(1), delay);
    let first = schedule.next(Duration::ZERO, Duration::ZERO);
    // A timer is never early.
    let took = delay + Duration::from_millis(2);
    let mut start = first;
    for _ in 0..10 {
        start = schedule.next(start, start + took);
    }
    assert_eq!(start, first + took * 10);
}

proptest! {
    /// A member under a virtual clock: what its probes take is given, and it
    /// dies at some moment.
    #[test]
    fn probes_keep_their_places_never_overlap_and_find_a_dead_member_in_time(
        id in any::<u32>(),
        delay in 10u64..5000,
        took in proptest::collection::vec(0u64..8000, 60),
        since in 0u64..100_000,
        dies_after in 1usize..30,
        fall in 1u8..=10,
    ) {
        let delay = Duration::from_millis(delay);
        let schedule = Schedule::new(place(id), delay);
        let offset = schedule.next(Duration::ZERO, Duration::ZERO).as_nanos() % delay.as_nanos();
        let pace = Pace { delay, timeout: delay, rise: 3, fall, damping: true };
        let mut machine = Machine::default();
        let (mut now, mut started) = (Duration::from_millis(since), None);
        let mut failures = 0;
        let mut verdicts = Vec::new();
        for (n, took) in took.into_iter().enumerate() {
            let start = started.map_or_else(|| schedule.first(now), |started| schedule.next(started, now));
            prop_assert!(start >= now, "it starts before the last one ended");
            if let Some(last) = started {
                prop_assert!(start > last + delay / 2);
                // At its place, or at once when that was missed by a little.
                let late = (start.as_nanos() + delay.as_nanos() - offset) % delay.as_nanos();
                prop_assert!(late == 0 || (start == now && late < delay.as_nanos() / 2 + 1));
                // No place in the interval is left out without need.
                prop_assert!(start <= (last + delay / 2 + delay).max(now + delay / 2 + Duration::from_nanos(1)));
            } else {
                prop_assert!(start < now + FIRST.min(delay));
            }
            (now, started) = (start + Duration::from_millis(took), Some(start));
            let answers = n < dies_after;
            failures += u32::from(!answers);
            if let Some(verdict) = machine.take(now, &pace, answers) {
                verdicts.push((verdict, failures));
            }
        }
        let expected = [(Verdict::Up, 0), (Verdict::Down, u32::from(fall))];
        prop_assert_eq!(verdicts, expected);
    }
}
