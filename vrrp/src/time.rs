//! The time, as whoever runs a router tells it.

use core::time::Duration;

/// A point in time: microseconds from an origin that the caller chose.
///
/// The runner counts from the boot of the machine, with the time it was
/// suspended; the tests count from zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Instant(u64);

impl Instant {
    /// The point so many microseconds after the origin.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the origin.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The point so much later, to the microsecond below; the end of time if
    /// there is no such point.
    #[must_use]
    pub fn plus(self, later: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(later.as_micros()).unwrap_or(u64::MAX)))
    }

    /// How much later than `earlier` this is; zero if it is not later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_counted_in_microseconds_and_never_wraps() {
        let start = Instant::from_micros(5);
        assert_eq!(start.plus(Duration::from_millis(3)).as_micros(), 3005);
        assert_eq!(start.plus(Duration::from_nanos(1999)).as_micros(), 6);
        assert_eq!(start.plus(Duration::MAX).as_micros(), u64::MAX);
        assert_eq!(start.plus(Duration::from_secs(1)).since(start), Duration::from_secs(1));
        assert_eq!(start.since(start.plus(Duration::from_secs(1))), Duration::ZERO);
    }
}
