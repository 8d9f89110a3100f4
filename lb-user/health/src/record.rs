//! What is kept of each member's probes for whoever looks: the last result, those before
//! it, and the transitions. Bounded per member.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    machine::{Pace, Verdict},
    outcome::{Answer, Outcome},
    question::Question,
};

/// Results kept of a member.
pub(crate) const RESULTS: usize = 8;
/// Transitions kept of a member.
pub(crate) const TRANSITIONS: usize = 8;

/// What came of one probe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Result {
    /// When it ended.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub outcome: Outcome,
}

/// A [`Result`] as it is kept: there are several of each member, and nearly all of them
/// are of probes that were answered as they should be. 32 bytes.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Since 1970.
    at_nanos: u64,
    took_nanos: u64,
    outcome: Brief,
}

#[derive(Debug)]
enum Brief {
    Answers(Answer),
    Other(Box<Outcome>),
}

impl Kept {
    /// What came of a probe.
    pub(crate) fn new(at: SystemTime, took: Duration, outcome: &Outcome) -> Self {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            at_nanos: nanos(at.duration_since(UNIX_EPOCH).unwrap_or_default()),
            took_nanos: nanos(took),
            outcome: match outcome {
                Outcome::Answers(answer) => Brief::Answers(*answer),
                other => Brief::Other(Box::new(other.clone())),
            },
        }
    }

    /// Any part of it.
    pub(crate) const fn touch(&self) -> u64 {
        self.at_nanos
    }

    /// The same for whoever looks.
    pub(crate) fn result(&self) -> Result {
        Result {
            at: UNIX_EPOCH + Duration::from_nanos(self.at_nanos),
            took: Duration::from_nanos(self.took_nanos),
            outcome: match &self.outcome {
                Brief::Answers(answer) => Outcome::Answers(*answer),
                Brief::Other(outcome) => Outcome::clone(outcome),
            },
        }
    }
}

/// A change of the verdict, or the first one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transition {
    /// When.
    pub at: SystemTime,
    /// To what.
    pub verdict: Verdict,
    /// What the probe met that decided it.
    pub outcome: Outcome,
}

/// What is known of one member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// What it is asked.
    pub question: Arc<Question>,
    /// How often, and how many answers make a verdict.
    pub pace: Pace,
    /// Up, down, or nothing yet.
    pub verdict: Option<Verdict>,
    /// Answers in a row that speak against the verdict.
    pub against: u16,
    /// Answers in a row needed for another verdict, damping included.
    pub needed: u16,
    /// How often the successes it needs to come up are doubled because it flaps.
    pub damping: u8,
    /// Whether a probe is under way.
    pub asking: bool,
    /// Probes that said something about it since it is watched.
    pub probes: u64,
    /// Of those, the ones that failed.
    pub failures: u64,
    /// The last results, newest first, 8 at most.
    pub results: VecDeque<Result>,
    /// The last transitions, newest first, 8 at most.
    pub transitions: VecDeque<Transition>,
}

impl Record {
    /// What came of the last probe.
    #[must_use]
    pub fn last(&self) -> Option<&Result> {
        self.results.front()
    }
}

/// How late probes started, since the monitors were started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lateness {
    /// Probes that started.
    pub probes: u64,
    /// Of those, the ones late by more than 5 % of their delay.
    pub late: u64,
    /// The latest, in microseconds.
    pub max_us: u64,
    /// The latest, in thousandths of its delay.
    pub max_per_mille: u64,
}

/// What the monitors as a whole are doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Workload {
    /// Members watched.
    pub members: usize,
    /// Of those, the ones that are up.
    pub up: usize,
    /// And those that are down.
    pub down: usize,
    /// Those that need more successes to come up because they flap.
    pub damped: usize,
    /// Probes under way.
    pub in_flight: usize,
    /// Most probes that have been under way at once.
    pub most_in_flight: usize,
    /// Probes that did not start for something this host lacks.
    pub not_asked: u64,
    /// How late they start.
    pub lateness: Lateness,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Failure;

    #[test]
    fn what_is_kept_is_small_and_says_what_came_of_the_probe() {
        assert!(size_of::<Kept>() <= 32);
        let at = UNIX_EPOCH + Duration::new(1_800_000_000, 123_456_789);
        let took = Duration::from_nanos(1_234_567);
        let timeout = Failure::Timeout { patience: Duration::from_secs(3), missing: "SYN-ACK" };
        for outcome in [
            Outcome::Answers(Answer::Status(204)),
            Outcome::Fails(timeout),
            Outcome::Fails(Failure::Tls("no".into())),
            Outcome::NotAsked("no descriptors".into()),
        ] {
            let result = Result { at, took, outcome };
            assert_eq!(Kept::new(at, took, &result.outcome).result(), result);
        }
    }
}
