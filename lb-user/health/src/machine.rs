//! From answers to a verdict. Pure: moments are durations since an epoch of the caller's.
//!
//! A member goes down after `fall` failures in a row and comes up after `rise`
//! successes in a row, as in HAProxy and Octavia. At first nothing is known,
//! which counts as up. The first success says so at once. The first failure
//! does not say the opposite at once, as it would in HAProxy: a daemon that was
//! restarted under traffic must not take a member out because one probe was
//! lost, so `fall` failures are needed then too.
//!
//! A member that comes up and soon goes down again flaps: each time the successes it
//! needs to come up double, [`MAX_DAMPING`] times at most, and each quiet period that it
//! stays up halves them again. Going down is never delayed: traffic matters more.

use std::time::Duration;

/// Whether a member answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It does.
    Up,
    /// It does not.
    Down,
}

/// How often the successes needed to come up are doubled at most: 32 times as many.
pub const MAX_DAMPING: u8 = 5;

/// The shortest quiet period.
const SHORTEST_QUIET: Duration = Duration::from_secs(60);

/// Probes in a quiet period, where that is longer.
const QUIET_PROBES: u32 = 20;

/// How often a member is probed, and how many answers make a verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// `delay`: from the start of one probe to the start of the next.
    pub delay: Duration,
    /// `timeout`: how long one probe may take. It may be longer than `delay`: probes are
    /// then left out, never cut short.
    pub timeout: Duration,
    /// `max_retries`: successes in a row that bring it up.
    pub rise: u8,
    /// `max_retries_down`: failures in a row that take it down.
    pub fall: u8,
    /// `flap_damping`: whether one that flaps needs more successes.
    pub damping: bool,
}

impl Pace {
    /// How long a member has to stay up for half of its damping to be forgiven; one that
    /// goes down before that flaps.
    #[must_use]
    pub fn quiet_period(&self) -> Duration {
        self.delay.saturating_mul(QUIET_PROBES).max(SHORTEST_QUIET)
    }
}

/// The state of one member.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Machine {
    verdict: Option<Verdict>,
    /// Answers in a row that speak against the verdict.
    against: u16,
    /// How often `rise` is doubled.
    damping: u8,
    /// When it came up after having been down, or was last forgiven for that.
    quiet_since: Option<Duration>,
}

impl Machine {
    /// What is known.
    pub(crate) const fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }

    /// Answers in a row that speak against what is known.
    pub(crate) const fn against(&self) -> u16 {
        self.against
    }

    /// How often the successes needed to come up are doubled.
    pub(crate) const fn damping(&self) -> u8 {
        self.damping
    }

    /// Answers in a row needed for another verdict.
    pub(crate) fn needed(&self, pace: &Pace) -> u16 {
        match self.verdict {
            Some(Verdict::Down) => {
                let doubled = if pace.damping { self.damping } else { 0 };
                u16::from(pace.rise.max(1)) << doubled
            }
            None | Some(Verdict::Up) => pace.fall.max(1).into(),
        }
    }

    /// Takes an answer. Returns the verdict if it is the first or another one.
    pub(crate) fn take(&mut self, now: Duration, pace: &Pace, answers: bool) -> Option<Verdict> {
        self.forgive(now, pace);
        let (other, needed) = match (self.verdict, answers) {
            (Some(Verdict::Up), true) | (Some(Verdict::Down), false) => {
                self.against = 0;
                return None;
            }
            (None, true) => (Verdict::Up, 1),
            (Some(Verdict::Down), true) => (Verdict::Up, self.needed(pace)),
            (None | Some(Verdict::Up), false) => (Verdict::Down, self.needed(pace)),
        };
        self.against = self.against.saturating_add(1);
        if self.against < needed {
            return None;
        }
        match other {
            Verdict::Up => self.quiet_since = self.verdict.map(|_| now),
            // Within the quiet period after it came up: `forgive` has ended all others.
            Verdict::Down if self.quiet_since.take().is_some() && pace.damping => {
                self.damping = (self.damping + 1).min(MAX_DAMPING);
            }
            Verdict::Down => {}
        }
        self.against = 0;
        self.verdict = Some(other);
        self.verdict
    }

    fn forgive(&mut self, now: Duration, pace: &Pace) {
        if !pace.damping {
            self.damping = 0;
        }
        let quiet = pace.quiet_period();
        while let (Some(Verdict::Up), Some(since)) = (self.verdict, self.quiet_since) {
            if now.saturating_sub(since) < quiet {
                return;
            }
            self.damping = self.damping.saturating_sub(1);
            // Nothing left to forgive: it is as steady as one that was never down.
            self.quiet_since = (self.damping > 0).then(|| since + quiet);
        }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
