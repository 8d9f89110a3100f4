//! Whether the thread runs when it should.
//!
//! A thread that was not scheduled for a while does not know it unless it
//! meant to run meanwhile. So it does: the pulse is a fraction of the shortest
//! `Active_Down` interval. What it was away for then is known, up to that
//! fraction, even if no deadline fell into it.

use std::time::Duration;

use super::limiter::WINDOW;
use crate::time::Instant;

/// How often in one `Active_Down` interval the thread wakes at least.
const PULSES: u32 = 4;

/// When the thread meant to run, and when it did.
#[derive(Debug)]
pub(super) struct Punctuality {
    /// When it last ran.
    awake: Instant,
    /// When it means to run again.
    expected: Option<Instant>,
    /// The worst since it was last told.
    worst: Duration,
    told: Option<Instant>,
}

impl Punctuality {
    pub(super) fn new(now: Instant) -> Self {
        Self { awake: now, expected: None, worst: Duration::ZERO, told: None }
    }

    /// When to wake at the latest, where that is the shortest time that
    /// somebody waits for an advert.
    pub(super) fn pulse(&self, active_down: Duration) -> Instant {
        self.awake.plus((active_down / PULSES).max(Duration::from_millis(1)))
    }

    /// The thread is about to sleep until then.
    pub(super) fn expect(&mut self, until: Option<Instant>) {
        self.expected = until;
    }

    /// It has woken. Returns how long it was away, sleep that was meant and
    /// work included.
    pub(super) fn wake(&mut self, now: Instant) -> Duration {
        let late = self.expected.map_or(Duration::ZERO, |expected| now.since(expected));
        self.worst = self.worst.max(late);
        let away = now.since(self.awake);
        self.awake = now;
        away
    }

    /// How late it was at worst, if that matters to somebody who waits so long
    /// for an advert and has not been told just now.
    pub(super) fn worth_telling(&mut self, now: Instant, active_down: Option<Duration>) -> Option<Duration> {
        let matters = active_down.is_some_and(|down| self.worst > down / PULSES);
        let told = self.told.is_some_and(|told| now.since(told) < WINDOW);
        if !matters || told {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.worst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: Duration = Duration::from_millis(40);

    fn millis(at: u64) -> Instant {
        Instant::from_micros(at * 1000)
    }

    #[test]
    fn the_pulse_is_a_quarter_of_the_time_somebody_waits_for_an_advert() {
        let punctuality = Punctuality::new(millis(100));
        assert_eq!(punctuality.pulse(DOWN), millis(110));
        assert_eq!(punctuality.pulse(Duration::ZERO), millis(101), "and never none at all");
    }

    #[test]
    fn being_away_counts_from_the_last_time_awake() {
        let mut punctuality = Punctuality::new(millis(100));
        punctuality.expect(Some(millis(110)));
        assert_eq!(punctuality.wake(millis(110)), Duration::from_millis(10));
        assert_eq!(punctuality.wake(millis(160)), Duration::from_millis(50));
    }

    #[test]
    fn lateness_is_told_with_its_worst_when_it_matters_and_once_a_window() {
        let mut punctuality = Punctuality::new(millis(0));
        let mut late = |now: u64, by: u64| {
            punctuality.expect(Some(millis(now - by)));
            punctuality.wake(millis(now));
            punctuality.worth_telling(millis(now), Some(DOWN)).map(|by| by.as_millis())
        };
        assert_eq!(late(100, 10), None, "a quarter of the interval is the pulse itself");
        assert_eq!(late(200, 11), Some(11));
        assert_eq!(late(300, 50), None);
        assert_eq!(late(400, 20), None);
        assert_eq!(late(10_200, 0), Some(50));
        assert_eq!(late(30_000, 0), None);
        assert_eq!(punctuality.worth_telling(millis(60_000), None), None);
    }
}
