//! How late deadlines were handled, in a fixed amount of memory.

use std::time::Duration;

/// Steps an octave is cut into: a quantile is at most an eighth too high.
const STEPS: u64 = 8;
/// The last octave begins at about a minute; what is later counts there.
const OCTAVES: u64 = 24;
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const BUCKETS: usize = ((OCTAVES + 1) * STEPS) as usize;

/// A histogram of delays in microseconds, finer where they are small.
#[derive(Clone, Debug)]
pub(super) struct Lateness {
    buckets: [u64; BUCKETS],
    count: u64,
    max: Duration,
}

impl Lateness {
    /// Nothing measured yet.
    pub(super) fn new() -> Self {
        Self { buckets: [0; BUCKETS], count: 0, max: Duration::ZERO }
    }

    /// Enters one delay.
    pub(super) fn record(&mut self, delay: Duration) {
        self.buckets[bucket_of(micros(delay))] += 1;
        self.count += 1;
        self.max = self.max.max(delay);
    }

    /// The longest one.
    pub(super) fn max(&self) -> Duration {
        self.max
    }

    /// How many were entered.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The delay that `per_mille` of all do not exceed, rounded up to the end
    /// of its step; zero when there are none.
    pub(super) fn quantile(&self, per_mille: u64) -> Duration {
        let wanted = (u128::from(self.count) * u128::from(per_mille)).div_ceil(1000);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += u128::from(*count);
            if *count > 0 && seen >= wanted {
                return Duration::from_micros(end_of(index)).min(self.max);
            }
        }
        Duration::ZERO
    }
}

fn micros(delay: Duration) -> u64 {
    u64::try_from(delay.as_micros()).unwrap_or(u64::MAX)
}

fn bucket_of(micros: u64) -> usize {
    let index = if micros < STEPS {
        micros
    } else {
        let octave = u64::from(micros.ilog2()) - u64::from(STEPS.ilog2());
        let step = (micros >> octave) & (STEPS - 1);
        (octave + 1) * STEPS + step
    };
    usize::try_from(index).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The largest number of microseconds that falls into a bucket.
fn end_of(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS {
        return index;
    }
    let octave = index / STEPS - 1;
    ((STEPS + index % STEPS + 1) << octave) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_delay_falls_into_the_bucket_that_ends_at_or_after_it_and_no_earlier_one() {
        let powers = (0..25).flat_map(|p| [(1u64 << p) - 1, 1 << p, (1 << p) + 1, (1 << p) * 3 / 2]);
        for micros in powers {
            let bucket = bucket_of(micros);
            assert!(end_of(bucket) >= micros, "{micros}");
            assert!(bucket == 0 || end_of(bucket - 1) < micros, "{micros}");
            // An eighth is the promise.
            assert!(end_of(bucket) <= micros + micros / STEPS, "{micros}");
        }
    }

    #[test]
    fn a_delay_beyond_the_last_octave_is_counted_all_the_same() {
        let mut lateness = Lateness::new();
        lateness.record(Duration::from_secs(100_000));
        lateness.record(Duration::MAX);
        assert_eq!((lateness.count(), lateness.max()), (2, Duration::MAX));
        assert!(lateness.quantile(1000) > Duration::from_secs(60));
    }

    #[test]
    fn a_quantile_is_reached_by_that_share_and_never_exceeds_the_maximum() {
        let mut lateness = Lateness::new();
        assert_eq!(lateness.quantile(990), Duration::ZERO);
        for _ in 0..989 {
            lateness.record(Duration::from_micros(40));
        }
        for _ in 0..11 {
            lateness.record(Duration::from_micros(5000));
        }
        assert_eq!(lateness.quantile(500), Duration::from_micros(43));
        assert_eq!(lateness.quantile(989), Duration::from_micros(43));
        assert_eq!(lateness.quantile(990), Duration::from_micros(5000));
        assert_eq!(lateness.quantile(1000), Duration::from_micros(5000));
    }
}
