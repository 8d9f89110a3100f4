//! How long everything will still take.

use std::time::{Duration, Instant};

/// Compares what was expected with what was needed.
#[derive(Debug)]
pub(super) struct Pace {
    begun: Instant,
    /// What was expected of everything.
    whole: Duration,
    /// What was expected of what is done.
    done: Duration,
    /// What that needed.
    needed: Duration,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), whole: Duration::ZERO, done: Duration::ZERO, needed: Duration::ZERO }
    }

    /// There is so much more to do.
    pub(super) fn expect(&mut self, more: Duration) {
        self.whole += more;
    }

    /// Something that was expected to take so long has taken so long.
    pub(super) fn did(&mut self, expected: Duration, needed: Duration) {
        self.done += expected;
        self.needed += needed;
    }

    /// What is left, in words.
    pub(super) fn left(&self) -> String {
        let left = estimate(self.whole.saturating_sub(self.done), self.done, self.needed);
        let minutes = |time: Duration| time.as_secs_f64() / 60.0;
        if self.done.is_zero() {
            format!("about {:.0} min", minutes(left).ceil())
        } else {
            format!("{:.1} min so far, about {:.0} min left", minutes(self.begun.elapsed()), minutes(left).ceil())
        }
    }
}

/// What is left, by how much longer or shorter than expected everything took.
fn estimate(left: Duration, done: Duration, needed: Duration) -> Duration {
    if done.is_zero() { left } else { left.mul_f64(needed.as_secs_f64() / done.as_secs_f64()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_corrected_by_what_was_needed() {
        let seconds = Duration::from_secs;
        assert_eq!(estimate(seconds(60), seconds(0), seconds(0)), seconds(60));
        assert_eq!(estimate(seconds(60), seconds(10), seconds(20)), seconds(120));
    }
}
