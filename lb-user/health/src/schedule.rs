//! When to probe. Pure: moments are durations since an epoch that all members
//! share.
//!
//! Each member has a place in the interval that its owner derives from who it is,
//! so that probes spread over the interval and keep their places when others come
//! and go or the monitors are told the same again.

use std::time::Duration;

/// The first probe comes within this, whatever the interval: nobody waits a
/// minute to learn whether a new member answers.
const FIRST: Duration = Duration::from_secs(1);

/// Shorter intervals are made this long, so that no mistake makes a busy loop.
const SHORTEST: Duration = Duration::from_millis(10);

/// Longer ones are made this long, so that no sum of them overflows.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A member's place in its interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Schedule {
    delay: Duration,
    /// In 2³² parts of the interval.
    place: u32,
}

impl Schedule {
    /// The schedule of a member that is probed every `delay`, at `place` (in 2³² parts
    /// of the interval).
    pub(crate) fn new(place: u32, delay: Duration) -> Self {
        Self { delay: delay.clamp(SHORTEST, LONGEST), place }
    }

    /// When the first probe starts.
    pub(crate) fn first(&self, now: Duration) -> Duration {
        now + part(self.delay.min(FIRST), self.place)
    }

    /// When the next probe starts, after one that started then and ended `now`:
    /// at the member's place in the interval, half an interval after the last
    /// start at the earliest. A probe that ends after the next one's place (a
    /// timeout as long as the interval does, every time) has that start at once
    /// if it is late by less than half an interval, and else leave it out.
    pub(crate) fn next(&self, started: Duration, now: Duration) -> Duration {
        let half = self.delay / 2;
        self.place_after((started + half).max(now.saturating_sub(half))).max(now)
    }

    fn place_after(&self, moment: Duration) -> Duration {
        let offset = part(self.delay, self.place);
        match moment.checked_sub(offset) {
            Some(after) => offset + times(self.delay, after.as_nanos() / self.delay.as_nanos() + 1),
            None => offset,
        }
    }
}

fn part(of: Duration, place: u32) -> Duration {
    from_nanos((of.as_nanos() * u128::from(place)) >> 32)
}

fn times(duration: Duration, count: u128) -> Duration {
    from_nanos(duration.as_nanos().saturating_mul(count))
}

/// Half a thousand years are enough.
fn from_nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
