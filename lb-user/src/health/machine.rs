//! From answers to a verdict. Pure.
//!
//! A member goes down after `fall` failures in a row and comes up after `rise`
//! successes in a row, as in HAProxy and Octavia. At first nothing is known,
//! which counts as up. The first success says so at once. The first failure
//! does not say the opposite at once, as it would in HAProxy: a daemon that was
//! restarted under traffic must not take a member out because one probe was
//! lost, so `fall` failures are needed then too.

use crate::compile::Verdict;

/// The state of one member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Machine {
    rise: u8,
    fall: u8,
    verdict: Option<Verdict>,
    /// Answers in a row that speak against the verdict.
    against: u8,
}

impl Machine {
    /// Nothing is known. Thresholds of zero count as one.
    pub(super) fn new(rise: u8, fall: u8) -> Self {
        Self { rise: rise.max(1), fall: fall.max(1), verdict: None, against: 0 }
    }

    /// Changes the thresholds; what is known stays. The next answer decides.
    pub(super) fn set_thresholds(&mut self, rise: u8, fall: u8) {
        (self.rise, self.fall) = (rise.max(1), fall.max(1));
    }

    /// Takes an answer. Returns the verdict if it is the first or another one.
    pub(super) fn take(&mut self, answers: bool) -> Option<Verdict> {
        let (other, needed) = match (self.verdict, answers) {
            (Some(Verdict::Up), true) | (Some(Verdict::Down), false) => {
                self.against = 0;
                return None;
            }
            (None, true) => (Verdict::Up, 1),
            (Some(Verdict::Down), true) => (Verdict::Up, self.rise),
            (None | Some(Verdict::Up), false) => (Verdict::Down, self.fall),
        };
        self.against = self.against.saturating_add(1);
        if self.against < needed {
            return None;
        }
        self.against = 0;
        self.verdict = Some(other);
        self.verdict
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
