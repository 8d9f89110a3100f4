//! When verdicts are followed. Pure.
//!
//! The first verdict after a while is followed at once: packets wait for it. To
//! follow one costs milliseconds in a pool of thousands, most of it for the table,
//! and when many members fail one after the other each would cost as much. So the
//! next ones are collected for as long as the last round took: half of the time
//! at most goes into tables, and a verdict waits no longer than a round.

use std::time::{Duration, Instant};

/// The shortest pause between rounds.
const PAUSE: Duration = Duration::from_millis(2);

/// When verdicts may be followed again, and whether any wait for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Pace {
    free_at: Option<Instant>,
    waits: bool,
}

impl Pace {
    /// Something is to be followed. Whether it is now; if not, it waits until
    /// [`Pace::due`].
    pub(super) fn begins(&mut self, now: Instant) -> bool {
        self.waits = self.free_at.is_some_and(|at| now < at);
        !self.waits
    }

    /// A round is done.
    pub(super) fn ended(&mut self, began: Instant, now: Instant) {
        let took = now.saturating_duration_since(began);
        self.free_at = Some(now + took.max(PAUSE));
    }

    /// When what waits is to be followed; `None` when nothing does.
    pub(super) fn due(&self) -> Option<Instant> {
        self.free_at.filter(|_| self.waits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_followed_at_once_and_a_storm_takes_half_of_the_time() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::default();
        assert_eq!((pace.begins(at(0)), pace.due()), (true, None));
        pace.ended(at(0), at(10));
        assert_eq!(pace.due(), None, "nothing waits");
        assert_eq!((pace.begins(at(11)), pace.due()), (false, Some(at(20))));
        assert_eq!((pace.begins(at(19)), pace.due()), (false, Some(at(20))));
        assert_eq!((pace.begins(at(20)), pace.due()), (true, None));
        // Short rounds have a pause between them all the same.
        pace.ended(at(20), at(20));
        assert_eq!((pace.begins(at(21)), pace.due()), (false, Some(at(22))));
        assert_eq!((pace.begins(at(22)), pace.due()), (true, None));
        pace.ended(at(22), at(23));
        assert_eq!((pace.begins(at(500)), pace.due()), (true, None));
    }
}
